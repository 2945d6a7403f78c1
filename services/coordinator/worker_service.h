// Thread-safe. The RPC face of Coordinator for workers: conversion only.
#pragma once

#include "proto/dtrpo/v1/coordinator.grpc.pb.h"
#include "services/coordinator/coordinator.h"

namespace dtrpo::coordinator {

class WorkerService final : public v1::WorkerService::Service {
 public:
  explicit WorkerService(Coordinator* coordinator) : coordinator_(coordinator) {}

  grpc::Status RegisterWorker(grpc::ServerContext*, const v1::RegisterWorkerRequest*,
                              v1::RegisterWorkerResponse*) override;
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*,
                         v1::HeartbeatResponse*) override;
  grpc::Status LeasePrompts(grpc::ServerContext*, const v1::LeasePromptsRequest*,
                            v1::LeasePromptsResponse*) override;
  grpc::Status ReportPrompts(grpc::ServerContext*, const v1::ReportPromptsRequest*,
                             v1::ReportPromptsResponse*) override;
  grpc::Status RegisterVersion(grpc::ServerContext*, const v1::RegisterVersionRequest*,
                               v1::RegisterVersionResponse*) override;
  grpc::Status ReportStep(grpc::ServerContext*, const v1::ReportStepRequest*,
                          v1::ReportStepResponse*) override;
  grpc::Status RegisterCheckpoint(grpc::ServerContext*, const v1::RegisterCheckpointRequest*,
                                  v1::RegisterCheckpointResponse*) override;
  grpc::Status ReportPairs(grpc::ServerContext*, const v1::ReportPairsRequest*,
                           v1::ReportPairsResponse*) override;
  grpc::Status FinishTraining(grpc::ServerContext*, const v1::FinishTrainingRequest*,
                              v1::FinishTrainingResponse*) override;

 private:
  Coordinator* const coordinator_;  // outlives the service
};

}  // namespace dtrpo::coordinator
