// Thread safety: all methods may be called from any thread.
//
// The real LearnerPeers: over gRPC, as the rank that the assignment says. The reference service may
// move while a job runs; replay and the coordinator stay where they are.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/reference_client.h"
#include "common/wire/replay_client.h"
#include "common/wire/worker_client.h"
#include "services/learner/learner_peers.h"

namespace dtrpo::learner {

class GrpcPeers : public LearnerPeers {
 public:
  // `reference` says where the reference service is now; empty: nowhere. The pointers outlive the
  // peers.
  static absl::StatusOr<std::unique_ptr<GrpcPeers>> Create(const v1::Assignment& assignment,
                                                           wire::WorkerClient* coordinator,
                                                           rpc::ChannelFactory* channels,
                                                           std::function<std::string()> reference);

  absl::StatusOr<wire::Batch> GetBatch(int64_t step, absl::Time deadline) override;
  absl::Status Acknowledge(int64_t up_to_step, absl::Time deadline) override;
  absl::Status UpdatePriorities(int64_t step, const std::vector<double>& priorities,
                                absl::Time deadline) override;
  absl::StatusOr<std::vector<std::vector<float>>> Score(const wire::Batch& batch,
                                                        const trajectory::MaskPlanOptions& plan,
                                                        absl::Time deadline) override;
  absl::Status RegisterVersion(const weights::Manifest& manifest, int64_t step,
                               absl::Time deadline) override;
  absl::StatusOr<StepAnswer> ReportStep(const StepReport& report, absl::Time deadline) override;
  absl::StatusOr<std::vector<int64_t>> RegisterCheckpoint(int64_t step, const std::string& path,
                                                          absl::Time deadline) override;
  absl::Status FinishTraining(bool succeeded, const std::string& reason,
                              const std::string& checkpoint, int64_t step,
                              absl::Time deadline) override;

  absl::Status LoseAttempt(const std::string& reason, absl::Time deadline) override;

 private:
  void SetJob(v1::JobRef* job) const;
  GrpcPeers(wire::JobAttempt job, wire::WorkerClient* coordinator, rpc::ChannelFactory* channels,
            std::unique_ptr<wire::ReplayClient> replay, std::function<std::string()> reference);
  // UNAVAILABLE while there is no reference service.
  absl::StatusOr<std::shared_ptr<wire::ReferenceClient>> Reference() ABSL_LOCKS_EXCLUDED(mutex_);

  const wire::JobAttempt job_;
  int32_t rank_ = 0, world_ = 1;
  wire::WorkerClient* const coordinator_;
  rpc::ChannelFactory* const channels_;
  const std::unique_ptr<wire::ReplayClient> replay_;
  const std::function<std::string()> reference_address_;
  absl::Mutex mutex_;
  std::string connected_address_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<wire::ReferenceClient> reference_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::learner
