// Thread safety: a pure function but for the disk.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace dtrpo::tools {

// Before hours of training, not after them: the folder will be replaced whole, so it must be absent
// or a checkpoint of ours. ALREADY_EXISTS naming --output otherwise.
absl::Status CheckOutputFolder(const std::string& path);

}  // namespace dtrpo::tools
