#include "services/coordinator/coordinator.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "services/coordinator/coordinator_operation.h"

namespace dtrpo::coordinator {
namespace {

constexpr char kRoles[][10] = {"rollout", "reference", "learner"};

}  // namespace

Coordinator::Coordinator(Options options, Deps deps)
    : options_(std::move(options)), deps_(std::move(deps)), workers_(options_.worker_timeout) {
  DTRPO_CHECK(deps_.metrics != nullptr);
}

// ------------------------------------------------------------------ clients

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
  DTRPO_RETURN_IF_ERROR(job->Pause(operation.now()));
  return job->Status(operation.now(), -1);
}

absl::StatusOr<v1::JobStatus> Coordinator::ResumeJob(const v1::ResumeJobRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job_id()));
  const Operation operation(this, OperationKind::kResumeJob, "", &request);
  DTRPO_RETURN_IF_ERROR(job->Resume(operation.now()));
  TickLocked(operation.now());
  return job->Status(operation.now(), -1);
}

absl::StatusOr<v1::JobStatus> Coordinator::RollBackJob(const v1::RollBackJobRequest& request) {
  std::string path;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_ASSIGN_OR_RETURN(const JobRun* job, FindJob(request.job_id()));
    DTRPO_ASSIGN_OR_RETURN(const SavedCheckpoint target, job->RollBackTarget(request));
    // What was found on disk then was there; by now it may be gone.
    if (!repeating_) path = target.path;
  }
  if (!path.empty() && !deps_.files->Exists(path)) {
    return absl::FailedPreconditionError(
        absl::StrCat("job ", request.job_id(), ": the checkpoint ", path, " isn't there any more"));
  }
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(JobRun * job, FindJob(request.job_id()));
  const Operation operation(this, OperationKind::kRollBackJob, "", &request);
  DTRPO_RETURN_IF_ERROR(job->RollBack(request, operation.now()));
  TickLocked(operation.now());
  return job->Status(operation.now(), -1);
}

absl::StatusOr<v1::ListJobEventsResponse> Coordinator::ListJobEvents(
    const v1::ListJobEventsRequest& request) {
  absl::MutexLock lock(&mutex_);
  DTRPO_ASSIGN_OR_RETURN(const JobRun* job, FindJob(request.job_id()));
  return job->Events(request.after(), request.max());
}

v1::ListWorkersResponse Coordinator::ListWorkers() {
  absl::MutexLock lock(&mutex_);
  v1::ListWorkersResponse response;
  for (const Worker* worker : workers_.All()) *response.add_workers() = ToStatus(*worker);
  response.mutable_replay()->Add(options_.replay.begin(), options_.replay.end());
  if (deps_.peers != nullptr) deps_.peers->Fill(&response);
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
  if (deps_.peers != nullptr) deps_.peers->OnRegistered(request.role(), request.address());
  base::LogInfo(
      "worker registered",
      {{"worker", registration.worker_id}, {"address", request.address()}, {"pid", request.pid()}});
  if (!registration.replaced.empty()) {
    LoseWorker(registration.replaced,
               absl::StrCat(registration.replaced, " was replaced by another process"), now);
  }
  JobRun* head = Head();
  if (head != nullptr) head->OnWorkerJoined(*workers_.Find(registration.worker_id), now);
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
  for (const v1::PromptResult& result : request.results()) {
    deps_.metrics
        ->LeasesEnded(absl::AsciiStrToLower(v1::PromptResult::Outcome_Name(result.outcome())))
        ->Increment();
  }
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
  return job->RegisterCheckpoint(request, operation.now());
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
                    (worker.role == kLearner && head->gang().RankOf(worker.id) < 0) ||
                    (worker.role == kReference && head->spec().kind == job::JobKind::kEval);
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
  bool jumped = false;
  {
    absl::MutexLock lock(&mutex_);
    now = Now();
    jumped = now < last_tick_ || now - last_tick_ > options_.worker_timeout / 2;
    jumped = jumped && last_tick_ != absl::InfinitePast();
    last_tick_ = now;
    if (!jumped) silent = workers_.Expire(now);
  }
  // Nobody can be blamed for silence then: terms begin anew, as after a restart.
  if (jumped) OnRestored("the clock jumped, or the coordinator stood still");
  for (const Worker& worker : silent) {
    if (deps_.peers != nullptr) deps_.peers->OnLost(ToStatus(worker));
    OnWorkerLost(worker.id, absl::StrCat(worker.id, " was silent for ",
                                         absl::FormatDuration(now - worker.last_heartbeat)));
  }
  {
    absl::MutexLock lock(&mutex_);
    const Operation operation(this, OperationKind::kTick);
    TickLocked(operation.now());
    ShowMetrics(operation.now());
  }
  WriteResults();
}

void Coordinator::TickLocked(absl::Time now) {
  JobRun* head = Head();
  if (head == nullptr) return;
  head->Advance(workers_, now);
  const std::string behind =
      absl::StrCat("waiting behind job ", head->id(), ", which is ", Name(head->state()));
  for (const auto& job : jobs_) {
    if (job.get() != head && !job->final()) job->WaitInQueue(behind, now);
  }
}

void Coordinator::LoseWorker(const std::string& worker_id, const std::string& why, absl::Time now) {
  base::LogWarning("worker lost", {{"worker", worker_id}, {"why", why}});
  // An id is the role and a number.
  deps_.metrics->WorkersLost(worker_id.substr(0, worker_id.rfind('-')))->Increment();
  if (JobRun* head = Head()) head->OnWorkerGone(worker_id, why, now);
}

JobRun* Coordinator::Head() {
  JobRun* next = nullptr;
  for (const auto& job : jobs_) {
    if (job->final()) continue;
    if (job->state() != JobState::kPending) return job.get();
    if (next == nullptr || job->spec().priority > next->spec().priority) next = job.get();
  }
  return next;
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
