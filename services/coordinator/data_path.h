// Thread safety: pure functions but for the disk, which is passed in.
//
// Which files a job may name as its data.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/base/file_system.h"

namespace dtrpo::coordinator {

// OK for an empty path, and for one below one of `roots` (none: anywhere) once "." and ".." are
// taken out. Links inside a root are its owner's business. PERMISSION_DENIED names path and roots.
absl::Status CheckDataPath(const std::string& path, const std::vector<std::string>& roots);

// A file of preference pairs is read by the learner, line by line; here it only has to be a file
// with something in it. NOT_FOUND, INVALID_ARGUMENT.
absl::Status CheckPairFile(base::FileSystem* files, const std::string& path);

}  // namespace dtrpo::coordinator
