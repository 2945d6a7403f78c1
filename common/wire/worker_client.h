// Thread safety: all methods may be called from any thread.
//
// What workers want of the coordinator, one call each, no retries: workers decide for themselves
// what may wait. All calls are idempotent.
#pragma once

#include <grpcpp/channel.h>

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/dtrpo/v1/coordinator.grpc.pb.h"

namespace dtrpo::wire {

class WorkerClient {
 public:
  explicit WorkerClient(const std::shared_ptr<grpc::Channel>& channel);

  absl::StatusOr<v1::RegisterWorkerResponse> RegisterWorker(
      const v1::RegisterWorkerRequest& request, absl::Time deadline);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request,
                                                  absl::Time deadline);
  absl::StatusOr<v1::LeasePromptsResponse> LeasePrompts(const v1::LeasePromptsRequest& request,
                                                        absl::Time deadline);
  absl::StatusOr<v1::ReportPromptsResponse> ReportPrompts(const v1::ReportPromptsRequest& request,
                                                          absl::Time deadline);
  absl::StatusOr<v1::RegisterVersionResponse> RegisterVersion(
      const v1::RegisterVersionRequest& request, absl::Time deadline);
  absl::StatusOr<v1::ReportStepResponse> ReportStep(const v1::ReportStepRequest& request,
                                                    absl::Time deadline);
  absl::StatusOr<v1::RegisterCheckpointResponse> RegisterCheckpoint(
      const v1::RegisterCheckpointRequest& request, absl::Time deadline);
  absl::StatusOr<v1::ReportPairsResponse> ReportPairs(const v1::ReportPairsRequest& request,
                                                      absl::Time deadline);
  absl::StatusOr<v1::FinishTrainingResponse> FinishTraining(
      const v1::FinishTrainingRequest& request, absl::Time deadline);

 private:
  const std::unique_ptr<v1::WorkerService::StubInterface> stub_;
};

}  // namespace dtrpo::wire
