#include "services/learner/grpc_pair_peers.h"

#include <utility>

#include "common/base/status_macros.h"

namespace dtrpo::learner {

absl::StatusOr<std::unique_ptr<GrpcPairPeers>> GrpcPairPeers::Create(
    const v1::Assignment& assignment, wire::WorkerClient* coordinator,
    rpc::ChannelFactory* channels) {
  // One attempt per call: the importer registers its waits and looks whether it is to end.
  wire::ClientOptions options;
  options.target = "replay";
  options.retry.max_attempts = 1;
  options.retry.attempt_timeout = absl::InfiniteDuration();
  DTRPO_ASSIGN_OR_RETURN(
      std::unique_ptr<wire::ReplayClient> replay,
      wire::ConnectReplay(*channels, {assignment.replay().begin(), assignment.replay().end()},
                          std::move(options)));
  return std::unique_ptr<GrpcPairPeers>(
      new GrpcPairPeers(assignment.job(), coordinator, std::move(replay)));
}

absl::Status GrpcPairPeers::Insert(const wire::PromptOutcome& outcome, absl::Time deadline) {
  return replay_->Insert({job_.job_id(), job_.attempt()}, outcome, deadline).status();
}

absl::StatusOr<v1::ReportPairsResponse> GrpcPairPeers::ReportPairs(v1::ReportPairsRequest request,
                                                                   absl::Time deadline) {
  *request.mutable_job() = job_;
  return coordinator_->ReportPairs(request, deadline);
}

}  // namespace dtrpo::learner
