#include "common/wire/reference_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/wire/mask_plan_codec.h"
#include "common/wire/trajectory_codec.h"
#include "proto/dtrpo/v1/reference.grpc.pb.h"

namespace dtrpo::wire {
namespace {

using Stub = v1::ReferenceService::StubInterface;

class GrpcReferenceClient : public ReferenceClient {
 public:
  GrpcReferenceClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options)
      : options_(std::move(options)), stub_(v1::ReferenceService::NewStub(channel)) {}

  absl::StatusOr<std::vector<std::vector<float>>> Score(const JobAttempt& job,
                                                        const trajectory::MaskPlanOptions& plan,
                                                        absl::Span<const ScoreItem> items,
                                                        const std::string& reference_sha256,
                                                        absl::Time deadline) override {
    v1::ScoreRequest request;
    request.mutable_job()->set_job_id(job.job_id);
    request.mutable_job()->set_attempt(job.attempt);
    ToProto(plan, request.mutable_plan());
    for (const ScoreItem& item : items) {
      v1::ScoreItem* out = request.add_items();
      ToProto(*item.trajectory, out->mutable_trajectory());
      out->set_use_index(item.use_index);
    }
    request.set_reference_sha256(reference_sha256);
    DTRPO_ASSIGN_OR_RETURN(const v1::ScoreResponse response,
                           CallService(options_,
                                       absl::StrCat("reference scores of ", items.size(),
                                                    " trajectories of job ", job.job_id),
                                       stub_.get(), &Stub::Score, request, job, deadline));
    return Take(response, plan, items);
  }

 private:
  static absl::StatusOr<std::vector<std::vector<float>>> Take(
      const v1::ScoreResponse& response, const trajectory::MaskPlanOptions& plan,
      absl::Span<const ScoreItem> items) {
    if (response.results_size() != static_cast<int>(items.size())) {
      return absl::DataLossError(
          absl::StrCat("asked for ", items.size(), " scores, got ", response.results_size()));
    }
    std::vector<std::vector<float>> scores;
    scores.reserve(items.size());
    for (int i = 0; i < response.results_size(); ++i) {
      const v1::ScoreResult& result = response.results(i);
      const trajectory::Trajectory& asked = *items[i].trajectory;
      const int64_t targets =
          trajectory::MakeMaskPlan(asked, plan, items[i].use_index).target_count;
      if (result.trajectory_id() != asked.id || result.target_logprob_size() != targets) {
        return absl::DataLossError(
            absl::StrCat("asked for ", targets, " log-probabilities of trajectory ", asked.id,
                         ", got ", result.target_logprob_size(), " of ", result.trajectory_id()));
      }
      scores.emplace_back(result.target_logprob().begin(), result.target_logprob().end());
    }
    return scores;
  }

  const ClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

std::unique_ptr<ReferenceClient> MakeReferenceClient(const std::shared_ptr<grpc::Channel>& channel,
                                                     ClientOptions options) {
  return std::make_unique<GrpcReferenceClient>(channel, std::move(options));
}

}  // namespace dtrpo::wire
