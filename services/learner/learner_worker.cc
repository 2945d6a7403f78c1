#include "services/learner/learner_worker.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/collectives/rendezvous_store.h"
#include "common/wire/assigned_job.h"
#include "common/wire/job_codec.h"
#include "common/wire/weights_client.h"
#include "services/learner/grpc_pair_peers.h"
#include "services/learner/grpc_peers.h"

namespace dtrpo::learner {
namespace {

constexpr absl::Duration kIdleWait = absl::Seconds(1);
constexpr absl::Duration kAfterFailure = absl::Seconds(2);
constexpr absl::Duration kLookAgain = absl::Milliseconds(200);
constexpr absl::Duration kJoinTimeout = absl::Seconds(60);
// Of one operation of the ranks, with the wait for the slowest: while the leader writes a
// checkpoint the others stand still. Who died is noticed by heartbeats, long before.
constexpr absl::Duration kCollectiveTimeout = absl::Minutes(10);
// Longer than the coordinator waits for a heartbeat (worker_timeout_ms, default 5 s).
constexpr absl::Duration kNamingPatience = absl::Seconds(9);

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
  run_->SetDesired(DesiredOf(assignment, job_), assignment.reason());
  publisher_->SetRollouts(Targets(assignment));
}

absl::StatusOr<int64_t> LearnerWorker::Push(const v1::JobRef& job, const std::string& address,
                                            const weights::Image& image) {
  DTRPO_ASSIGN_OR_RETURN(const auto channel,
                         deps_.channels->Create(address, {rpc::Role::kRollout}));
  wire::ClientOptions options;
  options.target = address;
  options.stop = &stop_;
  options.retry.max_attempts = 1;  // the publisher has its own back-off
  DTRPO_ASSIGN_OR_RETURN(
      const wire::PushResult pushed,
      wire::MakeWeightsClient(channel, options)
          ->Push({job.job_id(), job.attempt()}, image, deps_.clock->Now() + options_.call_timeout));
  return pushed.serving_version;
}

std::unique_ptr<collectives::ProcessGroup> LearnerWorker::Ranks(
    const v1::Assignment& assignment) const {
  if (assignment.world() < 2) return nullptr;
  const auto own = collectives::ParseHostAndPort(options_.registration.rendezvous_address());
  return std::make_unique<collectives::ProcessGroup>(collectives::ProcessGroup::Options{
      .rank = assignment.rank(),
      .world = assignment.world(),
      .name = absl::StrCat(assignment.job().job_id(), "/", assignment.job().attempt()),
      .store = assignment.rendezvous(),
      .host = own.ok() ? own->host : "",
      .device = options_.device,
      .join_timeout = kJoinTimeout,
      .timeout = kCollectiveTimeout});
}

// A connection that breaks doesn't say whose process died; the coordinator finds out by the
// heartbeats that stay away, and then the assignment changes. When all go on beating it was the
// network, and the attempt must be ended from here.
void LearnerWorker::AwaitWhoWasLost(const v1::JobRef& job, LearnerPeers& peers,
                                    const collectives::ProcessGroup& group) {
  base::ScopedWait wait(deps_.waits, "word of which rank was lost", "coordinator");
  const absl::Time deadline = deps_.clock->Now() + kNamingPatience;
  while (!stop_.stopped() && deps_.clock->Now() < deadline) {
    if (DesiredOf(agent_->assignment(), job) == Desired::kAbandon) return;
    stop_.SleepFor(*deps_.clock, kLookAgain);
  }
  if (stop_.stopped()) return;
  const absl::Status told = peers.LoseAttempt(std::string(group.status().message()),
                                              deps_.clock->Now() + options_.call_timeout);
  if (!told.ok()) base::LogWarning("the coordinator wasn't told", {{"error", told}});
}

absl::Status LearnerWorker::RunJob(const v1::Assignment& assignment) {
  const v1::JobRef& job = assignment.job();
  if (job.attempt() < 1) return absl::InvalidArgumentError("the assignment grants no attempt");
  DTRPO_ASSIGN_OR_RETURN(const job::JobSpec spec,
                         wire::AssignedJob(assignment, options_.data_roots));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcPeers> peers,
                         GrpcPeers::Create(assignment, deps_.coordinator, deps_.channels,
                                           [this] { return agent_->assignment().reference(); }));
  std::unique_ptr<GrpcPairPeers> pairs;
  if (!spec.data.pairs.empty() && assignment.rank() == 0) {
    DTRPO_ASSIGN_OR_RETURN(pairs,
                           GrpcPairPeers::Create(assignment, deps_.coordinator, deps_.channels));
  }
  const auto publisher = std::make_shared<WeightsPublisher>(
      [this, &job](const std::string& address, const weights::Image& image) {
        return Push(job, address, image);
      },
      deps_.clock, deps_.waits, deps_.metrics);
  const std::unique_ptr<collectives::ProcessGroup> group = Ranks(assignment);
  const auto run = std::make_shared<LearnerRun>(
      LearnerRun::Options{
          .job_id = job.job_id(),
          .job_hash = base::Sha256Hex(wire::Fingerprint(assignment.spec())),
          .attempt = job.attempt(),
          .spec = spec,
          .resume_checkpoint = assignment.resume_checkpoint(),
          .resume_step = assignment.resume_step(),
          .call_timeout = options_.call_timeout,
          .device = options_.device,
      },
      LearnerRun::Deps{
          .peers = peers.get(),
          .publish =
              [&](std::shared_ptr<const weights::Image> image) {
                publisher->SetNewest(std::move(image));
              },
          .files = deps_.files,
          .clock = deps_.clock,
          .waits = deps_.waits,
          .metrics = deps_.metrics,
          .pairs = pairs.get(),
          .group = group.get(),
      });
  {
    absl::MutexLock lock(&mutex_);
    job_ = job;
    run_ = run;
    publisher_ = publisher;
    publisher_->SetRollouts(Targets(assignment));
    if (stop_.stopped()) run_->SetDesired(Desired::kDrain);  // Stop() came before the run
  }
  base::LogInfo("job begins", {{"job", job.job_id()},
                               {"attempt", job.attempt()},
                               {"rank", assignment.rank()},
                               {"world", std::max(1, assignment.world())}});
  if (const absl::Status status = run->Run(); !status.ok()) {
    base::LogWarning("the attempt is over", {{"job", job.job_id()}, {"why", status}});
  }
  if (group != nullptr && group->broken()) AwaitWhoWasLost(job, *peers, *group);
  // The final version still has to reach the rollouts that evaluate it, so the publisher stays
  // until the coordinator wants something else.
  while (!stop_.stopped() && DesiredOf(agent_->assignment(), job) != Desired::kAbandon) {
    stop_.SleepFor(*deps_.clock, kLookAgain);
  }
  if (group != nullptr) {
    const std::string why = agent_->assignment().reason();
    base::LogInfo("the attempt's ranks part",
                  {{"job", job.job_id()}, {"who", group->Who()}, {"why", why.empty() ? "-" : why}});
  }
  absl::MutexLock lock(&mutex_);
  run_.reset();
  publisher_.reset();
  return absl::OkStatus();
}

void LearnerWorker::Run() {
  while (!stop_.stopped()) {
    if (!agent_->AwaitJob(deps_.clock->Now() + kIdleWait)) continue;
    const v1::Assignment assignment = agent_->assignment();
    if (const absl::Status status = RunJob(assignment); !status.ok()) {
      base::LogError("can't work on the job",
                     {{"job", assignment.job().job_id()}, {"error", status}});
      stop_.SleepFor(*deps_.clock, kAfterFailure);
    }
  }
}

}  // namespace dtrpo::learner
