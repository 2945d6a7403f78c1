// The part of Coordinator that accepts jobs: checks, dry runs, models of other jobs.
#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "common/job/job_paths.h"
#include "common/wire/job_codec.h"
#include "services/coordinator/coordinator.h"
#include "services/coordinator/data_path.h"
#include "services/coordinator/evaluation_results.h"
#include "services/coordinator/job_sizes.h"
#include "services/coordinator/vocabulary.h"

namespace dtrpo::coordinator {

absl::Status Coordinator::CheckFiles(const job::JobSpec& spec, PromptLines& prompts,
                                     PromptLines& heldout, std::vector<std::string>& notes) {
  DTRPO_RETURN_IF_ERROR(job::CheckReplayLimits(spec));
  DTRPO_RETURN_IF_ERROR(job::CheckMessageSizes(spec, options_.max_message_bytes));
  DTRPO_RETURN_IF_ERROR(job::CheckJobPaths(spec, options_.data_roots));
  const std::string config = base::JoinPath(spec.model.path, "config.json");
  if (!deps_.files->Exists(config)) {
    return absl::InvalidArgumentError(absl::StrCat("model.path: there is no ", config));
  }
  DTRPO_ASSIGN_OR_RETURN(const PromptCheck check,
                         base::Annotate(deps_.prompt_check(spec), "model.path"));
  if (!spec.data.pairs.empty()) {
    DTRPO_RETURN_IF_ERROR(
        base::Annotate(CheckPairFile(deps_.files, spec.data.pairs), "data.pairs"));
  }
  if (!spec.data.prompts.empty()) {
    DTRPO_ASSIGN_OR_RETURN(
        prompts,
        base::Annotate(ReadPromptFile(deps_.files, spec.data.prompts, check), "data.prompts"));
  }
  if (spec.data.heldout.empty()) return absl::OkStatus();
  DTRPO_RETURN_IF_ERROR(CheckVerifier(spec));
  const bool only_evaluates = spec.kind == job::JobKind::kEval;
  if (only_evaluates) DTRPO_RETURN_IF_ERROR(CheckResults(spec, deps_.files));
  // What is trained on and what is held out may be lines of one layout, then without ids.
  DTRPO_ASSIGN_OR_RETURN(heldout,
                         base::Annotate(only_evaluates || spec.evaluation.layout != "prompts"
                                            ? ReadQuestionFile(deps_.files, spec, check)
                                            : ReadPromptFile(deps_.files, spec.data.heldout, check),
                                        "data.heldout"));
  const std::set<absl::string_view> trained_on(prompts.begin(), prompts.end());
  const auto shared = std::count_if(heldout.begin(), heldout.end(), [&](const std::string& line) {
    return trained_on.count(line) > 0;
  });
  if (shared > 0) {
    notes.push_back(absl::StrCat(
        shared, " held-out prompts are trained on as well: their accuracy ", "will flatter"));
  }
  return absl::OkStatus();
}

absl::Status Coordinator::ResolveModel(v1::ModelSpec* model) {
  if (model->from_job().empty()) return absl::OkStatus();
  if (!model->path().empty()) {
    return absl::InvalidArgumentError("model.from_job: and model.path exclude each other");
  }
  DTRPO_ASSIGN_OR_RETURN(const JobRun* job,
                         base::Annotate(FindJob(model->from_job()), "model.from_job"));
  if (!job->final()) {
    return absl::FailedPreconditionError(absl::StrCat("model.from_job: job ", job->id(), " is ",
                                                      Name(job->state()), ", not over yet"));
  }
  const JobCheckpoints& checkpoints = job->checkpoints();
  const SavedCheckpoint& chosen =
      checkpoints.best().step >= 0 ? checkpoints.best() : checkpoints.newest();
  if (chosen.path.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("model.from_job: job ", job->id(), " has no checkpoint"));
  }
  if (job->spec().training.lora.save == "adapter") {
    return absl::InvalidArgumentError(
        absl::StrCat("model.from_job: job ", job->id(),
                     " saved adapters alone (training.lora.save), which are no model"));
  }
  model->set_path(chosen.path);
  return absl::OkStatus();
}

absl::Status Coordinator::DescribeDryRun(const job::JobSpec& spec,
                                         v1::SubmitJobResponse* response) const {
  wire::ToProto(spec, response->mutable_spec());
  DTRPO_ASSIGN_OR_RETURN(*response->mutable_sizes(), SizesOf(spec, deps_.files));
  return absl::OkStatus();
}

absl::StatusOr<v1::SubmitJobResponse> Coordinator::SubmitJob(const v1::SubmitJobRequest& asked) {
  v1::SubmitJobRequest request = asked;
  const std::string key = request.dry_run() ? "" : request.idempotency_key();
  v1::SubmitJobResponse response;
  auto known = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    auto it = key.empty() ? by_key_.end() : by_key_.find(key);
    if (it != by_key_.end()) response.set_job_id(it->second);
    return it != by_key_.end();
  };
  {
    // Before the files are read: they may be gone by the time of a repeated request.
    absl::MutexLock lock(&mutex_);
    if (known()) return response;
    DTRPO_RETURN_IF_ERROR(ResolveModel(request.mutable_spec()->mutable_model()));
  }
  DTRPO_ASSIGN_OR_RETURN(job::JobSpec spec, wire::FromProto(request.spec()));
  PromptLines prompts;
  PromptLines heldout;
  std::vector<std::string> notes;
  DTRPO_RETURN_IF_ERROR(CheckFiles(spec, prompts, heldout, notes));
  if (request.dry_run()) {
    DTRPO_RETURN_IF_ERROR(DescribeDryRun(spec, &response));
    response.mutable_sizes()->set_prompts(static_cast<int64_t>(prompts.size()));
    response.mutable_sizes()->set_heldout(static_cast<int64_t>(heldout.size()));
    response.mutable_notes()->Add(notes.begin(), notes.end());
    return response;
  }
  for (const std::string& note : notes) base::LogWarning(note, {{"job", spec.name}});

  absl::MutexLock lock(&mutex_);
  if (known()) return response;
  int unfinished = 0;
  for (const auto& job : jobs_) unfinished += job->final() ? 0 : 1;
  if (unfinished >= options_.max_unfinished_jobs) {
    return base::BackPressureError(absl::StrCat(unfinished, " jobs are waiting or running"),
                                   "too_many_jobs", absl::Seconds(10));
  }
  JobRun::Options options = options_.job;
  options.vocabulary_size = VocabularySize(deps_.files, spec.model.path);
  response.set_job_id(
      Accept(request, std::move(spec), std::move(prompts), std::move(heldout), options));
  return response;
}

}  // namespace dtrpo::coordinator
