#include "common/wire/worker_client.h"

#include "common/rpc/unary_call.h"

namespace dtrpo::wire {
namespace {

using Stub = v1::WorkerService::StubInterface;

rpc::CallOptions Options(const v1::JobRef& job, absl::Time deadline) {
  return {.deadline = deadline, .job_id = job.job_id(), .attempt = job.attempt()};
}

}  // namespace

WorkerClient::WorkerClient(const std::shared_ptr<grpc::Channel>& channel)
    : stub_(v1::WorkerService::NewStub(channel)) {}

absl::StatusOr<v1::RegisterWorkerResponse> WorkerClient::RegisterWorker(
    const v1::RegisterWorkerRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::RegisterWorker, request, {.deadline = deadline});
}

absl::StatusOr<v1::HeartbeatResponse> WorkerClient::Heartbeat(const v1::HeartbeatRequest& request,
                                                              absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::Heartbeat, request, {.deadline = deadline});
}

absl::StatusOr<v1::LeasePromptsResponse> WorkerClient::LeasePrompts(
    const v1::LeasePromptsRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::LeasePrompts, request,
                        Options(request.job(), deadline));
}

absl::StatusOr<v1::ReportPromptsResponse> WorkerClient::ReportPrompts(
    const v1::ReportPromptsRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::ReportPrompts, request,
                        Options(request.job(), deadline));
}

absl::StatusOr<v1::RegisterVersionResponse> WorkerClient::RegisterVersion(
    const v1::RegisterVersionRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::RegisterVersion, request,
                        Options(request.job(), deadline));
}

absl::StatusOr<v1::ReportStepResponse> WorkerClient::ReportStep(
    const v1::ReportStepRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::ReportStep, request, Options(request.job(), deadline));
}

absl::StatusOr<v1::RegisterCheckpointResponse> WorkerClient::RegisterCheckpoint(
    const v1::RegisterCheckpointRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::RegisterCheckpoint, request,
                        Options(request.job(), deadline));
}

absl::StatusOr<v1::ReportPairsResponse> WorkerClient::ReportPairs(
    const v1::ReportPairsRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::ReportPairs, request, Options(request.job(), deadline));
}

absl::StatusOr<v1::FinishTrainingResponse> WorkerClient::FinishTraining(
    const v1::FinishTrainingRequest& request, absl::Time deadline) {
  return rpc::UnaryCall(stub_.get(), &Stub::FinishTraining, request,
                        Options(request.job(), deadline));
}

}  // namespace dtrpo::wire
