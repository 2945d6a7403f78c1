#include "common/base/file_system.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace dtrpo::base {

absl::StatusOr<std::optional<std::string>> ReadIfThere(FileSystem* files, const std::string& path) {
  absl::StatusOr<std::string> text = files->Read(path);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  DTRPO_RETURN_IF_ERROR(text.status());
  return *std::move(text);
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  if (directory.empty()) return std::string(name);
  return absl::StrCat(absl::StripSuffix(directory, "/"), "/", name);
}

std::string ParentPath(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  if (slash == 0) return "/";
  return std::string(path.substr(0, slash));
}

std::string BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path : path.substr(slash + 1));
}

}  // namespace dtrpo::base
