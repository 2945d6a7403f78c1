#include "common/job/job_paths.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace dtrpo::job {
namespace {

// Empty when the system can't tell, for example because of a loop of links.
std::filesystem::path Resolved(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return {};
  std::filesystem::path resolved = std::filesystem::weakly_canonical(absolute, error);
  if (error) return {};
  return resolved;
}

bool IsBelow(const std::filesystem::path& path, const std::string& root) {
  const std::filesystem::path folder = Resolved(root + "/.");
  if (path.empty() || folder.empty()) return false;
  const std::filesystem::path relative = path.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != ".." && relative != ".";
}

}  // namespace

absl::Status CheckPathIsBelow(const std::string& path, const std::vector<std::string>& roots) {
  if (path.empty() || roots.empty()) return absl::OkStatus();
  const std::filesystem::path resolved = Resolved(path);
  if (std::any_of(roots.begin(), roots.end(),
                  [&](const std::string& root) { return IsBelow(resolved, root); })) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      absl::StrCat(path, ": is outside the data_roots (", absl::StrJoin(roots, ", "), ")"));
}

absl::Status CheckJobPaths(const JobSpec& spec, const std::vector<std::string>& roots) {
  const std::pair<const char*, const std::string*> paths[] = {
      {"model.path", &spec.model.path},
      {"data.prompts", &spec.data.prompts},
      {"data.heldout", &spec.data.heldout},
      {"data.pairs", &spec.data.pairs},
      {"output", &spec.output},
      {"evaluation.template", &spec.evaluation.prompt_template}};
  for (const auto& [field, path] : paths) {
    DTRPO_RETURN_IF_ERROR(base::Annotate(CheckPathIsBelow(*path, roots), field));
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::job
