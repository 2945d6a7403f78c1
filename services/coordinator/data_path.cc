#include "services/coordinator/data_path.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace dtrpo::coordinator {
namespace {

std::filesystem::path Normal(const std::string& path) {
  std::error_code error;  // of an unknown working folder: then the path stays relative
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return (error ? std::filesystem::path(path) : absolute).lexically_normal();
}

bool IsBelow(const std::filesystem::path& path, const std::string& root) {
  const std::filesystem::path folder = Normal(root + "/.");  // ends with a slash
  const std::filesystem::path relative = path.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != ".." && relative != ".";
}

}  // namespace

absl::Status CheckDataPath(const std::string& path, const std::vector<std::string>& roots) {
  if (path.empty() || roots.empty()) return absl::OkStatus();
  const std::filesystem::path normal = Normal(path);
  const auto holds = [&](const std::string& root) { return IsBelow(normal, root); };
  if (std::any_of(roots.begin(), roots.end(), holds)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(
      path, ": is outside the coordinator's data_roots (", absl::StrJoin(roots, ", "), ")"));
}

absl::Status CheckPairFile(base::FileSystem* files, const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(const bool folder, files->IsDirectory(path));
  if (folder) return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder"));
  DTRPO_ASSIGN_OR_RETURN(const uint64_t size, files->FileSizeBytes(path));
  if (size == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": holds no pair"));
  return absl::OkStatus();
}

}  // namespace dtrpo::coordinator
