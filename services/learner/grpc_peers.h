// Thread safety: all methods may be called from any thread. The real LearnerPeers: over gRPC, as
// one rank of one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/reference_client.h"
#include "common/wire/replay_client.h"
#include "common/wire/worker_client.h"
#include "services/learner/learner_peers.h"

namespace dtrpo::learner {

class GrpcPeers : public LearnerPeers {
 public:
  // `coordinator` and `channels` outlive the peers.
  static absl::StatusOr<std::unique_ptr<GrpcPeers>> Create(const v1::Assignment& assignment,
                                                           wire::WorkerClient* coordinator,
                                                           rpc::ChannelFactory* channels);

  absl::StatusOr<wire::Batch> GetBatch(int64_t step, absl::Time deadline) override;
  absl::Status Acknowledge(int64_t up_to_step, absl::Time deadline) override;
  absl::StatusOr<std::vector<std::vector<float>>> Score(const wire::Batch& batch,
                                                        const trajectory::MaskPlanOptions& plan,
                                                        absl::Time deadline) override;
  absl::Status RegisterVersion(const weights::Manifest& manifest, int64_t step,
                               absl::Time deadline) override;
  absl::StatusOr<bool> ReportStep(const StepReport& report, absl::Time deadline) override;
  absl::Status RegisterCheckpoint(int64_t step, const std::string& path,
                                  absl::Time deadline) override;
  absl::Status FinishTraining(bool succeeded, const std::string& reason,
                              const std::string& checkpoint, int64_t step,
                              absl::Time deadline) override;

 private:
  void SetJob(v1::JobRef* job) const;
  GrpcPeers(wire::JobAttempt job, wire::WorkerClient* coordinator,
            std::unique_ptr<wire::ReplayClient> replay,
            std::unique_ptr<wire::ReferenceClient> reference);

  const wire::JobAttempt job_;
  wire::WorkerClient* const coordinator_;
  const std::unique_ptr<wire::ReplayClient> replay_;
  const std::unique_ptr<wire::ReferenceClient> reference_;
};

}  // namespace dtrpo::learner
