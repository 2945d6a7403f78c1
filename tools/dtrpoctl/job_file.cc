#include "tools/dtrpoctl/job_file.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/runtime/config_loader.h"
#include "common/wire/job_codec.h"

namespace dtrpo::ctl {
namespace {

// The domain's check says "field: problem"; with the field known, the loader can tell the line.
std::vector<runtime::FieldProblem> Check(const v1::JobSpec& spec) {
  const auto checked = wire::FromProto(spec);
  if (checked.ok()) return {};
  const std::string message(checked.status().message());
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(message, absl::MaxSplits(": ", 1));
  return {{parts.first, parts.second}};
}

void MakeAbsolute(const std::string& directory, std::string* path) {
  if (path->empty() || absl::StartsWith(*path, "/")) return;
  *path = base::JoinPath(directory, *path);
}

}  // namespace

absl::StatusOr<v1::JobSpec> LoadJobFile(base::FileSystem* files, const std::string& path,
                                        const std::string& directory) {
  v1::JobSpec written;
  DTRPO_RETURN_IF_ERROR(runtime::LoadConfig(files, path, &written, [&] { return Check(written); }));
  DTRPO_ASSIGN_OR_RETURN(const job::JobSpec resolved, wire::FromProto(written));
  v1::JobSpec spec;
  wire::ToProto(resolved, &spec);
  MakeAbsolute(directory, spec.mutable_model()->mutable_path());
  MakeAbsolute(directory, spec.mutable_data()->mutable_prompts());
  MakeAbsolute(directory, spec.mutable_data()->mutable_heldout());
  MakeAbsolute(directory, spec.mutable_data()->mutable_pairs());
  MakeAbsolute(directory, spec.mutable_output());
  return spec;
}

}  // namespace dtrpo::ctl
