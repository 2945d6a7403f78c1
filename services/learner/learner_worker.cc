#include "services/learner/learner_worker.h"

#include <utility>
#include <vector>

#include "common/base/logging.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/wire/job_codec.h"
#include "common/wire/weights_client.h"
#include "services/learner/grpc_peers.h"

namespace dtrpo::learner {
namespace {

constexpr absl::Duration kIdleWait = absl::Seconds(1);
constexpr absl::Duration kAfterFailure = absl::Seconds(2);

std::vector<RolloutTarget> Targets(const v1::Assignment& assignment) {
  std::vector<RolloutTarget> targets;
  for (const v1::WorkerStatus& rollout : assignment.rollouts()) {
    // A rollout that hasn't begun the job yet would refuse its weights.
    if (rollout.job_id() != assignment.job().job_id()) continue;
    targets.push_back({.worker_id = rollout.worker_id(),
                       .address = rollout.address(),
                       .version = rollout.version()});
  }
  return targets;
}

Desired DesiredOf(const v1::Assignment& assignment, const v1::JobRef& job) {
  const bool same =
      assignment.job().job_id() == job.job_id() && assignment.job().attempt() == job.attempt();
  if (!same || wire::IsFinal(assignment.state())) return Desired::kAbandon;
  return assignment.state() == v1::PAUSED ? Desired::kPause : Desired::kRun;
}

}  // namespace

LearnerWorker::LearnerWorker(Options options, Deps deps)
    : options_(std::move(options)), deps_(deps) {
  agent_ = std::make_unique<wire::WorkerAgent>(
      wire::WorkerAgent::Options{
          .registration = options_.registration,
          .report = [this] { return Report(); },
          .on_assignment = [this](const v1::Assignment& assignment) { Follow(assignment); },
      },
      deps_.coordinator, deps_.clock, deps_.waits);
}

LearnerWorker::~LearnerWorker() { Stop(); }

void LearnerWorker::Stop() {
  stop_.Stop();
  absl::MutexLock lock(&mutex_);
  if (run_ != nullptr) run_->SetDesired(Desired::kDrain);
}

wire::WorkerReport LearnerWorker::Report() {
  absl::MutexLock lock(&mutex_);
  if (run_ == nullptr) return {.job_id = "", .state = "idle", .version = -1, .versions_held = {}};
  return {.job_id = job_.job_id(),
          .state = run_->state(),
          .version = run_->version(),
          .versions_held = {}};
}

void LearnerWorker::Follow(const v1::Assignment& assignment) {
  absl::MutexLock lock(&mutex_);
  if (run_ == nullptr) return;
  run_->SetDesired(DesiredOf(assignment, job_));
  publisher_->SetRollouts(Targets(assignment));
}

void LearnerWorker::RunJob(const v1::Assignment& assignment) {
  const absl::StatusOr<job::JobSpec> spec = wire::FromProto(assignment.spec());
  if (!spec.ok())
    return base::LogError("the assignment's job makes no sense", {{"error", spec.status()}});
  const auto peers = GrpcPeers::Create(assignment, deps_.coordinator, deps_.channels);
  if (!peers.ok())
    return base::LogError("a peer's address makes no sense", {{"error", peers.status()}});

  const auto push = [this, job = assignment.job()](
                        const std::string& address,
                        const weights::Image& image) -> absl::StatusOr<int64_t> {
    DTRPO_ASSIGN_OR_RETURN(const auto channel, deps_.channels->Create(address));
    wire::ClientOptions options;
    options.target = address;
    options.retry.max_attempts = 1;  // the publisher has its own back-off
    DTRPO_ASSIGN_OR_RETURN(const wire::PushResult pushed,
                           wire::MakeWeightsClient(channel, options)
                               ->Push({job.job_id(), job.attempt()}, image,
                                      deps_.clock->Now() + options_.call_timeout));
    return pushed.serving_version;
  };
  const auto publisher =
      std::make_shared<WeightsPublisher>(push, deps_.clock, deps_.waits, deps_.metrics);
  const auto run = std::make_shared<LearnerRun>(
      LearnerRun::Options{
          .job_id = assignment.job().job_id(),
          .job_hash = base::Sha256Hex(assignment.spec().SerializeAsString()),
          .attempt = assignment.job().attempt(),
          .spec = *spec,
          .resume_checkpoint = assignment.resume_checkpoint(),
          .call_timeout = options_.call_timeout,
      },
      LearnerRun::Deps{
          .peers = peers->get(),
          .publish =
              [&](std::shared_ptr<const weights::Image> image) {
                publisher->SetNewest(std::move(image));
              },
          .files = deps_.files,
          .clock = deps_.clock,
          .waits = deps_.waits,
          .metrics = deps_.metrics,
      });
  {
    absl::MutexLock lock(&mutex_);
    job_ = assignment.job();
    run_ = run;
    publisher_ = publisher;
    publisher_->SetRollouts(Targets(assignment));
  }
  base::LogInfo("job begins",
                {{"job", assignment.job().job_id()}, {"attempt", assignment.job().attempt()}});
  const absl::Status status = run->Run();
  if (!status.ok()) {
    base::LogError("the attempt failed", {{"job", assignment.job().job_id()}, {"error", status}});
    stop_.SleepFor(*deps_.clock, kAfterFailure);
  }
  // The final version still has to reach the rollouts that evaluate it, so the publisher stays
  // until the job is over.
  while (status.ok() && !stop_.stopped() &&
         DesiredOf(agent_->assignment(), assignment.job()) != Desired::kAbandon) {
    stop_.SleepFor(*deps_.clock, absl::Milliseconds(200));
  }
  absl::MutexLock lock(&mutex_);
  run_.reset();
  publisher_.reset();
}

void LearnerWorker::Run() {
  while (!stop_.stopped()) {
    if (!agent_->AwaitJob(deps_.clock->Now() + kIdleWait)) continue;
    const v1::Assignment assignment = agent_->assignment();
    if (assignment.job().attempt() > 0) RunJob(assignment);
  }
}

}  // namespace dtrpo::learner
