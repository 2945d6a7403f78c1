#include "common/wire/worker_agent.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/wire/wait_states.h"

namespace dtrpo::wire {
namespace {

constexpr absl::Duration kLogEvery =
    absl::Seconds(10);  // a coordinator that is away is mentioned that often

bool HasWork(const v1::Assignment& assignment) {
  return !assignment.job().job_id().empty() && !IsFinal(assignment.state());
}

}  // namespace

WorkerAgent::WorkerAgent(Options options, WorkerClient* client, base::Clock* clock,
                         base::WaitStateRegistry* waits)
    : options_(std::move(options)), client_(client), clock_(clock), waits_(waits), thread_([this] {
        Run();
      }) {}

WorkerAgent::~WorkerAgent() {
  Stop();
  thread_.join();
}

v1::Assignment WorkerAgent::assignment() const {
  absl::MutexLock lock(&mutex_);
  return assignment_;
}

std::string WorkerAgent::worker_id() const {
  absl::MutexLock lock(&mutex_);
  return worker_id_;
}

bool WorkerAgent::AwaitJob(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || HasWork(assignment_);
  };
  clock_->AwaitUntil(&mutex_, absl::Condition(&ready), deadline);
  return !stop_ && HasWork(assignment_);
}

void WorkerAgent::BeatNow() {
  absl::MutexLock lock(&mutex_);
  beat_now_ = true;
}

void WorkerAgent::Stop() {
  absl::MutexLock lock(&mutex_);
  stop_ = true;
}

absl::Status WorkerAgent::Beat() {
  std::string worker_id = this->worker_id();
  const bool is_new = worker_id.empty();
  if (is_new) {
    DTRPO_ASSIGN_OR_RETURN(
        const v1::RegisterWorkerResponse registered,
        client_->RegisterWorker(options_.registration, clock_->Now() + options_.call_timeout));
    absl::MutexLock lock(&mutex_);
    worker_id = worker_id_ = registered.worker_id();
    if (registered.heartbeat_interval_ms() > 0)
      interval_ = absl::Milliseconds(registered.heartbeat_interval_ms());
    base::LogInfo("registered with the coordinator", {{"worker", worker_id}});
  }
  v1::HeartbeatRequest request;
  request.set_worker_id(worker_id);
  const WorkerReport report = options_.report();
  request.set_job_id(report.job_id);
  request.set_state(report.state);
  request.set_version(report.version);
  for (int64_t version : report.versions_held) request.add_versions_held(version);
  for (const base::WaitState& wait : waits_->Snapshot()) *request.add_waits() = ToProto(wait);
  absl::StatusOr<v1::HeartbeatResponse> response =
      client_->Heartbeat(request, clock_->Now() + options_.call_timeout);
  if (absl::IsNotFound(response.status())) {
    absl::MutexLock lock(&mutex_);
    worker_id_.clear();
    if (!is_new) beat_now_ = true;  // one that has just registered doesn't ask again at once
  }
  DTRPO_RETURN_IF_ERROR(response.status());
  {
    absl::MutexLock lock(&mutex_);
    assignment_ = response->assignment();
  }
  if (options_.on_assignment) options_.on_assignment(response->assignment());
  return absl::OkStatus();
}

void WorkerAgent::Run() {
  absl::Time quiet_until = absl::InfinitePast();
  for (;;) {
    if (const absl::Status status = Beat(); !status.ok() && clock_->Now() >= quiet_until) {
      base::LogWarning("no heartbeat", {{"error", status}});
      quiet_until = clock_->Now() + kLogEvery;
    }
    absl::MutexLock lock(&mutex_);
    const auto early = [this]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || beat_now_; };
    clock_->AwaitUntil(&mutex_, absl::Condition(&early), clock_->Now() + interval_);
    beat_now_ = false;
    if (stop_) return;
  }
}

}  // namespace dtrpo::wire
