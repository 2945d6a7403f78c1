#include "services/learner/grpc_peers.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/wire/weights_codec.h"

namespace dtrpo::learner {

namespace {

// One attempt per call here: the callers register their waits and look at what is desired between
// attempts.
wire::ClientOptions OneAttempt(std::string target) {
  wire::ClientOptions options;
  options.target = std::move(target);
  options.retry.max_attempts = 1;
  options.retry.attempt_timeout = absl::InfiniteDuration();
  return options;
}

}  // namespace

GrpcPeers::GrpcPeers(wire::JobAttempt job, wire::WorkerClient* coordinator,
                     rpc::ChannelFactory* channels, std::unique_ptr<wire::ReplayClient> replay,
                     std::function<std::string()> reference)
    : job_(std::move(job)),
      coordinator_(coordinator),
      channels_(channels),
      replay_(std::move(replay)),
      reference_address_(std::move(reference)) {}

absl::StatusOr<std::unique_ptr<GrpcPeers>> GrpcPeers::Create(
    const v1::Assignment& assignment, wire::WorkerClient* coordinator,
    rpc::ChannelFactory* channels, std::function<std::string()> reference) {
  DTRPO_ASSIGN_OR_RETURN(
      std::unique_ptr<wire::ReplayClient> replay,
      wire::ConnectReplay(*channels, {assignment.replay().begin(), assignment.replay().end()},
                          OneAttempt("replay")));
  std::unique_ptr<GrpcPeers> peers(
      new GrpcPeers({assignment.job().job_id(), assignment.job().attempt()}, coordinator, channels,
                    std::move(replay), std::move(reference)));
  if (assignment.world() > 1) {
    peers->rank_ = assignment.rank();
    peers->world_ = assignment.world();
  }
  return peers;
}

absl::StatusOr<std::shared_ptr<wire::ReferenceClient>> GrpcPeers::Reference() {
  const std::string address = reference_address_();
  if (address.empty()) return absl::UnavailableError("there is no reference service");
  absl::MutexLock lock(&mutex_);
  if (address != connected_address_) {
    DTRPO_ASSIGN_OR_RETURN(const auto channel, channels_->Create(address, {rpc::Role::kReference}));
    reference_ = wire::MakeReferenceClient(channel, OneAttempt("reference " + address));
    connected_address_ = address;
  }
  return reference_;
}

absl::StatusOr<wire::Batch> GrpcPeers::GetBatch(int64_t step, absl::Time deadline) {
  return replay_->GetBatch(job_, step, rank_, world_, deadline);
}

absl::Status GrpcPeers::Acknowledge(int64_t up_to_step, absl::Time deadline) {
  return replay_->Acknowledge(job_, up_to_step, deadline);
}

absl::Status GrpcPeers::UpdatePriorities(int64_t step, const std::vector<double>& priorities,
                                         absl::Time deadline) {
  return replay_->UpdatePriorities(job_, step, rank_, world_, priorities, deadline);
}

absl::StatusOr<std::vector<std::vector<float>>> GrpcPeers::Score(
    const wire::Batch& batch, const trajectory::MaskPlanOptions& plan, absl::Time deadline) {
  DTRPO_ASSIGN_OR_RETURN(const std::shared_ptr<wire::ReferenceClient> reference, Reference());
  std::vector<wire::ScoreItem> items;
  for (const wire::BatchItem& item : batch.items) {
    items.push_back({&item.pair.chosen, item.use_index});
    items.push_back({&item.pair.rejected, item.use_index});
  }
  return reference->Score(job_, plan, items, /*reference_sha256=*/"", deadline);
}

void GrpcPeers::SetJob(v1::JobRef* job) const {
  job->set_job_id(job_.job_id);
  job->set_attempt(job_.attempt);
}

absl::Status GrpcPeers::RegisterVersion(const weights::Manifest& manifest, int64_t step,
                                        absl::Time deadline) {
  v1::RegisterVersionRequest request;
  SetJob(request.mutable_job());
  wire::ToProto(manifest, request.mutable_manifest());
  request.set_step(step);
  return coordinator_->RegisterVersion(request, deadline).status();
}

absl::StatusOr<StepAnswer> GrpcPeers::ReportStep(const StepReport& report, absl::Time deadline) {
  v1::ReportStepRequest request;
  SetJob(request.mutable_job());
  request.mutable_record()->set_step(report.step);
  request.mutable_record()->set_version(report.version);
  request.mutable_record()->mutable_values()->insert(report.values.begin(), report.values.end());
  DTRPO_ASSIGN_OR_RETURN(const v1::ReportStepResponse response,
                         coordinator_->ReportStep(request, deadline));
  return StepAnswer{.checkpoint_now = response.checkpoint_now(), .stop = response.stop()};
}

absl::StatusOr<std::vector<int64_t>> GrpcPeers::RegisterCheckpoint(int64_t step,
                                                                   const std::string& path,
                                                                   absl::Time deadline) {
  v1::RegisterCheckpointRequest request;
  SetJob(request.mutable_job());
  request.set_step(step);
  request.set_path(path);
  DTRPO_ASSIGN_OR_RETURN(const v1::RegisterCheckpointResponse response,
                         coordinator_->RegisterCheckpoint(request, deadline));
  return std::vector<int64_t>(response.keep_steps().begin(), response.keep_steps().end());
}

absl::Status GrpcPeers::FinishTraining(bool succeeded, const std::string& reason,
                                       const std::string& checkpoint, int64_t step,
                                       absl::Time deadline) {
  v1::FinishTrainingRequest request;
  SetJob(request.mutable_job());
  request.set_succeeded(succeeded);
  request.set_reason(reason);
  request.set_checkpoint(checkpoint);
  request.set_step(step);
  return coordinator_->FinishTraining(request, deadline).status();
}

absl::Status GrpcPeers::LoseAttempt(const std::string& reason, absl::Time deadline) {
  v1::FinishTrainingRequest request;
  SetJob(request.mutable_job());
  request.set_attempt_only(true);
  request.set_reason(reason);
  return coordinator_->FinishTraining(request, deadline).status();
}

}  // namespace dtrpo::learner
