#include "tools/dtrpo/output_folder.h"

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_writer.h"

namespace dtrpo::tools {

absl::Status CheckOutputFolder(const std::string& path) {
  base::FileSystem* const files = base::PosixFileSystem();
  if (!files->Exists(path) || files->Exists(base::JoinPath(path, checkpoint::kMarkerFile))) {
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(absl::StrCat(
      "--output ", path, ": exists and is no checkpoint of this program; name another folder"));
}

}  // namespace dtrpo::tools
