#include "common/runtime/build_info.h"

namespace dtrpo::runtime {

const char* GitCommit() { return DTRPO_GIT_COMMIT; }

}  // namespace dtrpo::runtime
