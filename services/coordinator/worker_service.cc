#include "services/coordinator/worker_service.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"

namespace dtrpo::coordinator {
namespace {

// The whole of every handler here: `handle` is the Coordinator's method of the same name.
template <typename Request, typename Response>
grpc::Status Answer(grpc::ServerContext* context, const Request& request, Response* response,
                    Coordinator* coordinator,
                    absl::StatusOr<Response> (Coordinator::*handle)(const Request&)) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(*response, (coordinator->*handle)(request));
    return coordinator->Durable();
  });
}

}  // namespace

grpc::Status WorkerService::RegisterWorker(grpc::ServerContext* context,
                                           const v1::RegisterWorkerRequest* request,
                                           v1::RegisterWorkerResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall& call) -> absl::Status {
    if (call.authenticated && request->role() != call.role) {
      return absl::PermissionDeniedError(absl::StrCat("the certificate is of role ", call.role,
                                                      ", the worker registers as a ",
                                                      request->role()));
    }
    DTRPO_ASSIGN_OR_RETURN(*response, coordinator_->RegisterWorker(*request));
    return coordinator_->Durable();
  });
}

grpc::Status WorkerService::Heartbeat(grpc::ServerContext* context,
                                      const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::Heartbeat);
}

grpc::Status WorkerService::LeasePrompts(grpc::ServerContext* context,
                                         const v1::LeasePromptsRequest* request,
                                         v1::LeasePromptsResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::LeasePrompts);
}

grpc::Status WorkerService::ReportPrompts(grpc::ServerContext* context,
                                          const v1::ReportPromptsRequest* request,
                                          v1::ReportPromptsResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::ReportPrompts);
}

grpc::Status WorkerService::RegisterVersion(grpc::ServerContext* context,
                                            const v1::RegisterVersionRequest* request,
                                            v1::RegisterVersionResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::RegisterVersion);
}

grpc::Status WorkerService::ReportStep(grpc::ServerContext* context,
                                       const v1::ReportStepRequest* request,
                                       v1::ReportStepResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::ReportStep);
}

grpc::Status WorkerService::RegisterCheckpoint(grpc::ServerContext* context,
                                               const v1::RegisterCheckpointRequest* request,
                                               v1::RegisterCheckpointResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::RegisterCheckpoint);
}

grpc::Status WorkerService::ReportPairs(grpc::ServerContext* context,
                                        const v1::ReportPairsRequest* request,
                                        v1::ReportPairsResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::ReportPairs);
}

grpc::Status WorkerService::FinishTraining(grpc::ServerContext* context,
                                           const v1::FinishTrainingRequest* request,
                                           v1::FinishTrainingResponse* response) {
  return Answer(context, *request, response, coordinator_, &Coordinator::FinishTraining);
}

}  // namespace dtrpo::coordinator
