// Thread safety: gRPC calls it from many threads.
//
// Receives weights versions into staging and installs them whole (proto/dtrpo/v1/weights.proto).
// Only the job at hand, and only attempts that aren't older than the newest seen: a learner that
// was replaced can't push any more.
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/weights/version_store.h"
#include "proto/dtrpo/v1/weights.grpc.pb.h"
#include "services/rollout/rollout_metrics.h"

namespace dtrpo::rollout {

class WeightsService final : public v1::WeightsService::Service {
 public:
  // All outlive the service.
  WeightsService(weights::VersionStore* versions, base::Clock* clock,
                 const RolloutMetrics* metrics);

  // The job whose weights are taken from now on.
  void AcceptJob(const std::string& job_id) ABSL_LOCKS_EXCLUDED(mutex_);

  grpc::Status PushWeights(grpc::ServerContext* context,
                           grpc::ServerReader<v1::PushWeightsRequest>* reader,
                           v1::PushWeightsResponse* response) override;

 private:
  absl::Status Receive(grpc::ServerReader<v1::PushWeightsRequest>* reader,
                       v1::PushWeightsResponse* response);
  absl::Status CheckCaller(const v1::JobRef& job) ABSL_LOCKS_EXCLUDED(mutex_);

  weights::VersionStore* const versions_;
  base::Clock* const clock_;
  const RolloutMetrics* const metrics_;
  absl::Mutex mutex_;
  std::string job_id_ ABSL_GUARDED_BY(mutex_);
  int32_t newest_attempt_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace dtrpo::rollout
