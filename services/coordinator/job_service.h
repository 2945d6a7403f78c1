// Thread-safe. The RPC face of Coordinator for clients: conversion only.
#pragma once

#include <atomic>

#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "proto/dtrpo/v1/coordinator.grpc.pb.h"
#include "services/coordinator/coordinator.h"

namespace dtrpo::coordinator {

class JobService final : public v1::JobService::Service {
 public:
  // All outlive the service. Watches end with UNAVAILABLE once `stop` is set. A watch holds a
  // server thread, so beyond `max_watches` at once they are refused (RESOURCE_EXHAUSTED, reason
  // "too_many_watches"): heartbeats need threads too.
  JobService(Coordinator* coordinator, base::Clock* clock, const base::StopSignal* stop,
             int max_watches)
      : coordinator_(coordinator), clock_(clock), stop_(stop), max_watches_(max_watches) {}

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest*,
                         v1::SubmitJobResponse*) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::JobStatus*) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*,
                        v1::ListJobsResponse*) override;
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest*,
                        grpc::ServerWriter<v1::JobStatus>*) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::CancelJobRequest*,
                         v1::JobStatus*) override;
  grpc::Status PauseJob(grpc::ServerContext*, const v1::PauseJobRequest*, v1::JobStatus*) override;
  grpc::Status ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest*,
                         v1::JobStatus*) override;
  grpc::Status RollBackJob(grpc::ServerContext*, const v1::RollBackJobRequest*,
                           v1::JobStatus*) override;
  grpc::Status ListJobEvents(grpc::ServerContext*, const v1::ListJobEventsRequest*,
                             v1::ListJobEventsResponse*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                           v1::ListWorkersResponse*) override;

 private:
  absl::Status Watch(const grpc::ServerContext& context, const v1::WatchJobRequest& request,
                     absl::Time deadline, grpc::ServerWriter<v1::JobStatus>& writer);

  Coordinator* const coordinator_;
  base::Clock* const clock_;
  const base::StopSignal* const stop_;
  const int max_watches_;
  std::atomic<int> watches_ = 0;
};

}  // namespace dtrpo::coordinator
