#include "services/coordinator/data_path.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::coordinator {

absl::Status CheckPairFile(base::FileSystem* files, const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(const bool folder, files->IsDirectory(path));
  if (folder) return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder"));
  DTRPO_ASSIGN_OR_RETURN(const uint64_t size, files->FileSizeBytes(path));
  if (size == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no pair"));
  return absl::OkStatus();
}

}  // namespace dtrpo::coordinator
