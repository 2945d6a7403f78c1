#include "services/coordinator/coordinator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/base/logging.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "common/wire/job_codec.h"
#include "services/coordinator/coordinator_operation.h"
#include "services/coordinator/data_path.h"

namespace dtrpo::coordinator {
namespace {

constexpr char kRoles[][10] = {"rollout", "reference", "learner"};

}  // namespace

Coordinator::Coordinator(Options options, Deps deps)
    : options_(std::move(options)), deps_(std::move(deps)), workers_(options_.worker_timeout) {
  DTRPO_CHECK(deps_.metrics != nullptr);
}

// ------------------------------------------------------------------ clients

absl::Status Coordinator::CheckFiles(const job::JobSpec& spec, PromptLines& prompts,
                                     PromptLines& heldout) {
  DTRPO_RETURN_IF_ERROR(job::CheckReplayLimits(spec));
  const std::string config = base::JoinPath(spec.model.path, "config.json");
  if (!deps_.files->Exists(config)) {
    return absl::InvalidArgumentError(absl::StrCat("model.path: there is no ", config));
  }
  DTRPO_ASSIGN_OR_RETURN(const PromptCheck check,
                         base::Annotate(deps_.prompt_check(spec), "model.path"));
  const std::pair<const char*, const std::string*> paths[] = {{"data.prompts", &spec.data.prompts},
                                                              {"data.heldout", &spec.data.heldout},
                                                              {"data.pairs", &spec.data.pairs}};
  for (const auto& [field, path] : paths) {
    DTRPO_RETURN_IF_ERROR(base::Annotate(CheckDataPath(*path, options_.data_roots), field));
  }
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
  DTRPO_ASSIGN_OR_RETURN(
      heldout,
      base::Annotate(ReadPromptFile(deps_.files, spec.data.heldout, check), "data.heldout"));
  const std::set<absl::string_view> trained_on(prompts.begin(), prompts.end());
  const auto shared = std::count_if(heldout.begin(), heldout.end(), [&](const std::string& line) {
    return trained_on.count(line) > 0;
  });
  if (shared > 0) {
    base::LogWarning("held-out prompts are trained on as well: their accuracy will flatter",
                     {{"job", spec.name}, {"prompts", shared}});
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::SubmitJobResponse> Coordinator::SubmitJob(const v1::SubmitJobRequest& request) {
  DTRPO_ASSIGN_OR_RETURN(job::JobSpec spec, wire::FromProto(request.spec()));
  const std::string& key = request.idempotency_key();
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
  }
  PromptLines prompts;
  PromptLines heldout;
  DTRPO_RETURN_IF_ERROR(CheckFiles(spec, prompts, heldout));

  absl::MutexLock lock(&mutex_);
  if (known()) return response;
  int unfinished = 0;
  for (const auto& job : jobs_) unfinished += job->final() ? 0 : 1;
  if (unfinished >= options_.max_unfinished_jobs) {
    return base::BackPressureError(absl::StrCat(unfinished, " jobs are waiting or running"),
                                   "too_many_jobs", absl::Seconds(10));
  }
  response.set_job_id(
      Accept(request, std::move(spec), std::move(prompts), std::move(heldout), options_.job));
  return response;
}

absl::StatusOr<v1::JobStatus> Coordinator::GetJob(const v1::GetJobRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(const JobRun* job, FindJob(request.job_id()));
  return job->Status(deps_.clock->Now(), request.include_steps() ? 0 : -1);
}

v1::ListJobsResponse Coordinator::ListJobs() {
  absl::MutexLock lock(&mutex_);
  v1::ListJobsResponse response;
  for (const auto& job : jobs_) *response.add_jobs() = job->Status(deps_.clock->Now(), -1);
  return response;
}

absl::StatusOr<v1::JobStatus> Coordinator::CancelJob(const v1::CancelJobRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job_id()));
  const Operation operation(this, OperationKind::kCancelJob, "", &request);
  DTRPO_RETURN_IF_ERROR(job->Cancel(request.reason(), operation.now()));
  TickLocked(operation.now());
  return job->Status(operation.now(), -1);
}

absl::StatusOr<v1::JobStatus> Coordinator::PauseJob(const v1::PauseJobRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job_id()));
  const Operation operation(this, OperationKind::kPauseJob, "", &request);
  DTRPO_RETURN_IF_ERROR(job->Pause());
  return job->Status(operation.now(), -1);
}

absl::StatusOr<v1::JobStatus> Coordinator::ResumeJob(const v1::ResumeJobRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job_id()));
  const Operation operation(this, OperationKind::kResumeJob, "", &request);
  DTRPO_RETURN_IF_ERROR(job->Resume());
  TickLocked(operation.now());
  return job->Status(operation.now(), -1);
}

v1::ListWorkersResponse Coordinator::ListWorkers() {
  absl::MutexLock lock(&mutex_);
  v1::ListWorkersResponse response;
  for (const Worker* worker : workers_.All()) *response.add_workers() = ToStatus(*worker);
  response.mutable_replay()->Add(options_.replay.begin(), options_.replay.end());
  return response;
}

absl::StatusOr<v1::JobStatus> Coordinator::AwaitChange(const std::string& job_id,
                                                       uint64_t& revision, int64_t after_step,
                                                       absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(const JobRun* job, FindJob(job_id));  // jobs are never removed
  auto changed = [job, revision] { return job->revision() != revision; };
  if (revision != 0) deps_.clock->AwaitUntil(&mutex_, absl::Condition(&changed), deadline);
  revision = job->revision();
  return job->Status(deps_.clock->Now(), after_step);
}

// ------------------------------------------------------------------ workers

absl::StatusOr<v1::RegisterWorkerResponse> Coordinator::RegisterWorker(
    const v1::RegisterWorkerRequest& request) {
  absl::MutexLock lock(&mutex_);
  Operation operation(this, OperationKind::kRegisterWorker, "", &request);
  const absl::Time now = operation.now();
  DTRPO_ASSIGN_OR_RETURN(const WorkerRegistry::Registration registration,
                         workers_.Register(request, now));
  operation.Always();
  base::LogInfo(
      "worker registered",
      {{"worker", registration.worker_id}, {"address", request.address()}, {"pid", request.pid()}});
  if (!registration.replaced.empty()) {
    LoseWorker(registration.replaced,
               absl::StrCat(registration.replaced, " was replaced by another process"), now);
  }
  TickLocked(now);
  v1::RegisterWorkerResponse response;
  response.set_worker_id(registration.worker_id);
  response.set_heartbeat_interval_ms(absl::ToInt64Milliseconds(options_.heartbeat_interval));
  return response;
}

absl::StatusOr<v1::HeartbeatResponse> Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(workers_.Heartbeat(request, deps_.clock->Now()));
  v1::HeartbeatResponse response;
  *response.mutable_assignment() = AssignmentFor(*workers_.Find(request.worker_id()));
  return response;
}

absl::StatusOr<v1::LeasePromptsResponse> Coordinator::LeasePrompts(
    const v1::LeasePromptsRequest& request) {
  absl::MutexLock lock(&mutex_);
  if (workers_.Find(request.worker_id()) == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("worker ", request.worker_id(), " isn't registered; register again"));
  }
  if (request.max_prompts() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("field max_prompts: ", request.max_prompts(), " is less than 1"));
  }
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  workers_.NoteVersions(request.worker_id(), request.version(),
                        {request.versions_held().begin(), request.versions_held().end()});
  const Operation operation(this, OperationKind::kLeasePrompts, "", &request);
  v1::LeasePromptsResponse response = job->Lease(request, operation.now());
  if (!response.leases().empty()) {
    const bool evaluates = response.leases(0).kind() == v1::EVALUATE;
    deps_.metrics->Leases(evaluates ? "evaluate" : "train")->Increment(response.leases_size());
  }
  return response;
}

absl::StatusOr<v1::ReportPromptsResponse> Coordinator::ReportPrompts(
    const v1::ReportPromptsRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  const Operation operation(this, OperationKind::kReportPrompts, "", &request);
  if (!job->final()) job->Report(request, operation.now());
  TickLocked(operation.now());
  return v1::ReportPromptsResponse();
}

absl::StatusOr<v1::RegisterVersionResponse> Coordinator::RegisterVersion(
    const v1::RegisterVersionRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  const Operation operation(this, OperationKind::kRegisterVersion, "", &request);
  DTRPO_RETURN_IF_ERROR(job->RegisterVersion(request, operation.now()));
  return v1::RegisterVersionResponse();
}

absl::StatusOr<v1::ReportStepResponse> Coordinator::ReportStep(
    const v1::ReportStepRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  const Operation operation(this, OperationKind::kReportStep, "", &request);
  return job->ReportStep(request, operation.now());
}

absl::StatusOr<v1::RegisterCheckpointResponse> Coordinator::RegisterCheckpoint(
    const v1::RegisterCheckpointRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  const Operation operation(this, OperationKind::kRegisterCheckpoint, "", &request);
  DTRPO_RETURN_IF_ERROR(job->RegisterCheckpoint(request));
  return v1::RegisterCheckpointResponse();
}

absl::StatusOr<v1::ReportPairsResponse> Coordinator::ReportPairs(
    const v1::ReportPairsRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  const Operation operation(this, OperationKind::kReportPairs, "", &request);
  return job->ReportPairs(request, operation.now());
}

absl::StatusOr<v1::FinishTrainingResponse> Coordinator::FinishTraining(
    const v1::FinishTrainingRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job().job_id()));
  const Operation operation(this, OperationKind::kFinishTraining, "", &request);
  DTRPO_RETURN_IF_ERROR(job->FinishTraining(request, operation.now()));
  TickLocked(operation.now());
  return v1::FinishTrainingResponse();
}

v1::Assignment Coordinator::AssignmentFor(const Worker& worker) {
  JobRun* head = Head();
  // While PENDING nobody has anything to do. Learners but the granted one wait for their turn.
  const bool idle = head == nullptr || head->state() == JobState::kPending ||
                    (worker.role == kLearner && head->gang().RankOf(worker.id) < 0);
  if (idle) {
    v1::Assignment nothing;
    if (head != nullptr && worker.role == kLearner) nothing.set_reason(head->gang().lost_why());
    return nothing;
  }
  v1::Assignment assignment = head->AssignmentFor(worker);
  assignment.mutable_replay()->Add(options_.replay.begin(), options_.replay.end());
  const std::vector<const Worker*> references = workers_.OfRole(kReference);
  if (!references.empty()) assignment.set_reference(references.front()->address);
  if (const Worker* learner = workers_.Find(head->gang().leader())) {
    assignment.set_learner(learner->address);
  }
  for (const Worker* rollout : workers_.OfRole(kRollout)) {
    *assignment.add_rollouts() = ToStatus(*rollout);
  }
  return assignment;
}

// ------------------------------------------------------------------ time and jobs

void Coordinator::Tick() {
  std::vector<Worker> silent;
  absl::Time now;
  {
    absl::MutexLock lock(&mutex_);
    now = Now();
    silent = workers_.Expire(now);
  }
  for (const Worker& worker : silent) {
    OnWorkerLost(worker.id, absl::StrCat(worker.id, " was silent for ",
                                         absl::FormatDuration(now - worker.last_heartbeat)));
  }
  absl::MutexLock lock(&mutex_);
  const Operation operation(this, OperationKind::kTick);
  TickLocked(operation.now());
  ShowMetrics(operation.now());
}

void Coordinator::TickLocked(absl::Time now) {
  JobRun* head = Head();
  if (head == nullptr) return;
  head->Advance(workers_, now);
  bool behind = false;
  for (const auto& job : jobs_) {
    if (behind && !job->final()) {
      job->WaitInQueue(
          absl::StrCat("waiting behind job ", head->id(), ", which is ", Name(head->state())));
    }
    behind = behind || job.get() == head;
  }
}

void Coordinator::LoseWorker(const std::string& worker_id, const std::string& why, absl::Time now) {
  base::LogWarning("worker lost", {{"worker", worker_id}, {"why", why}});
  deps_.metrics->workers_lost->Increment();
  if (JobRun* head = Head()) head->OnWorkerGone(worker_id, why, now);
}

JobRun* Coordinator::Head() {
  for (const auto& job : jobs_) {
    if (!job->final()) return job.get();
  }
  return nullptr;
}

absl::StatusOr<JobRun*> Coordinator::FindJob(const std::string& job_id) {
  for (const auto& job : jobs_) {
    if (job->id() == job_id) return job.get();
  }
  return absl::NotFoundError(absl::StrCat("there is no job \"", job_id, "\""));
}

std::vector<ReplayWork> Coordinator::DesiredReplayWork() {
  absl::MutexLock lock(&mutex_);
  const JobRun* head = Head();
  std::vector<ReplayWork> work;
  for (const auto& job : jobs_) {
    // Jobs behind the head aren't opened yet.
    if (!job->final() && job.get() != head) continue;
    ReplayWork wanted = job->DesiredReplayWork();
    if (wanted.open || wanted.close || wanted.set_newest || wanted.poll) {
      work.push_back(std::move(wanted));
    }
  }
  return work;
}

void Coordinator::ShowMetrics(absl::Time now) {
  std::map<JobState, int64_t> states;
  for (const auto& job : jobs_) ++states[job->state()];
  for (JobState state :
       {JobState::kPending, JobState::kRunning, JobState::kPaused, JobState::kRestarting,
        JobState::kSucceeded, JobState::kFailed, JobState::kCancelled}) {
    deps_.metrics->Jobs(Name(state))->Set(static_cast<double>(states[state]));
  }
  for (const char* role : kRoles) {
    deps_.metrics->Workers(role)->Set(static_cast<double>(workers_.OfRole(role).size()));
  }
  if (const JobRun* head = Head()) head->Show(*deps_.metrics, now);
}

}  // namespace dtrpo::coordinator
