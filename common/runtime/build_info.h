// Thread safety: constants. Which binary this is.
#pragma once

namespace dtrpo::runtime {

inline constexpr char kVersion[] = "0.1.0";

// The commit that the build tree was configured at (cmake -DDTRPO_GIT_COMMIT=.. where there is no
// repository); "unknown" without one.
const char* GitCommit();

}  // namespace dtrpo::runtime
