// Thread safety: all methods may be called from any thread. The real PairPeers: over gRPC.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/worker_client.h"
#include "services/learner/pair_peers.h"

namespace dtrpo::learner {

class GrpcPairPeers : public PairPeers {
 public:
  // The pointers outlive the peers.
  static absl::StatusOr<std::unique_ptr<GrpcPairPeers>> Create(const v1::Assignment& assignment,
                                                               wire::WorkerClient* coordinator,
                                                               rpc::ChannelFactory* channels);

  absl::Status Insert(const wire::PromptOutcome& outcome, absl::Time deadline) override;
  absl::StatusOr<v1::ReportPairsResponse> ReportPairs(v1::ReportPairsRequest request,
                                                      absl::Time deadline) override;

 private:
  GrpcPairPeers(const v1::JobRef& job, wire::WorkerClient* coordinator,
                std::unique_ptr<wire::ReplayClient> replay)
      : job_(job), coordinator_(coordinator), replay_(std::move(replay)) {}

  const v1::JobRef job_;
  wire::WorkerClient* const coordinator_;
  const std::unique_ptr<wire::ReplayClient> replay_;
};

}  // namespace dtrpo::learner
