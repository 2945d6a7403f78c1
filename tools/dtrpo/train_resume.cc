#include "tools/dtrpo/train_resume.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/training/training_state.h"
#include "common/wire/job_codec.h"

namespace dtrpo::tools {

absl::StatusOr<std::string> TrainingHash(const job::JobSpec& job,
                                         const std::string& pairs_fingerprint) {
  v1::JobSpec spec;
  wire::ToProto(job, &spec);
  return base::Sha256Hex(absl::StrCat(spec.SerializeAsString(), pairs_fingerprint));
}

absl::Status RecoverOutput(base::FileSystem* files, const std::string& output) {
  const std::string replaced = absl::StrCat(absl::StripSuffix(output, "/"), ".old");
  if (files->Exists(output) || !files->Exists(replaced)) return absl::OkStatus();
  DTRPO_RETURN_IF_ERROR(checkpoint::CheckComplete(files, replaced, checkpoint::Verify::kSizes));
  return files->Rename(replaced, output);
}

absl::StatusOr<int64_t> StepToResume(base::FileSystem* files, const std::string& output,
                                     const std::string& hash, bool restart) {
  if (restart || !files->Exists(base::JoinPath(output, training::kTrainingStateFile))) return 0;
  DTRPO_RETURN_IF_ERROR(checkpoint::CheckComplete(files, output, checkpoint::Verify::kSizes));
  DTRPO_ASSIGN_OR_RETURN(const training::TrainingProgress progress,
                         training::ReadTrainingProgress(files, output));
  if (progress.job_id == kTrainJobId && progress.job_hash == hash) return progress.step;
  const bool ours = progress.job_id == kTrainJobId;
  return absl::FailedPreconditionError(absl::StrCat(
      "--output ", output, ": holds ",
      ours ? "an interrupted training with other options, pairs or model"
           : absl::StrCat("a checkpoint of job ", progress.job_id),
      ", at step ", progress.step, "; ", ours ? "repeat its command to go on, or " : "",
      "name another folder, or say --restart to replace it"));
}

}  // namespace dtrpo::tools
