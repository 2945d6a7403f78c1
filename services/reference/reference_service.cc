#include "services/reference/reference_service.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "common/wire/mask_plan_codec.h"
#include "common/wire/trajectory_codec.h"

namespace dtrpo::reference {

absl::Status ReferenceService::ScoreItems(const v1::ScoreRequest& request,
                                          v1::ScoreResponse& response) {
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions plan, wire::FromProto(request.plan()));
  std::vector<ScoreItem> items;
  items.reserve(request.items_size());
  for (int i = 0; i < request.items_size(); ++i) {
    DTRPO_ASSIGN_OR_RETURN(
        trajectory::Trajectory t,
        base::Annotate(wire::FromProto(request.items(i).trajectory()), "items[", i, "]"));
    items.push_back({std::move(t), request.items(i).use_index()});
  }
  DTRPO_ASSIGN_OR_RETURN(
      const ReferenceScores scores,
      scorer_->Score(request.job().job_id(), request.reference_sha256(), plan, items));
  for (size_t i = 0; i < items.size(); ++i) {
    v1::ScoreResult* result = response.add_results();
    result->set_trajectory_id(items[i].trajectory.id);
    result->mutable_target_logprob()->Assign(scores.targets[i].begin(), scores.targets[i].end());
  }
  response.set_reference_sha256(scores.sha256);
  return absl::OkStatus();
}

grpc::Status ReferenceService::Score(grpc::ServerContext* context, const v1::ScoreRequest* request,
                                     v1::ScoreResponse* response) {
  return rpc::Serve(*context,
                    [&](const rpc::IncomingCall&) { return ScoreItems(*request, *response); });
}

}  // namespace dtrpo::reference
