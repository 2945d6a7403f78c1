// Thread safety: gRPC calls it from many threads. Conversion only; the scoring is
// ReferenceScorer's.
#pragma once

#include "proto/dtrpo/v1/reference.grpc.pb.h"
#include "services/reference/reference_scorer.h"

namespace dtrpo::reference {

class ReferenceService final : public v1::ReferenceService::Service {
 public:
  // `scorer` outlives the service.
  explicit ReferenceService(ReferenceScorer* scorer) : scorer_(scorer) {}

  grpc::Status Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                     v1::ScoreResponse* response) override;

 private:
  absl::Status ScoreItems(const v1::ScoreRequest& request, v1::ScoreResponse& response);

  ReferenceScorer* const scorer_;
};

}  // namespace dtrpo::reference
