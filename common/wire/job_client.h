// Thread safety: clients may be used from many threads at once.
//
// The coordinator as clients see it (JobService). The messages are the protocol's own: they are
// what a client shows.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/wire/client_options.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::wire {

class JobClient {
 public:
  virtual ~JobClient() = default;

  // Returns the job's id. Without an idempotency key the call isn't retried, since it might make a
  // second job.
  virtual absl::StatusOr<std::string> Submit(const v1::JobSpec& spec,
                                             const std::string& idempotency_key,
                                             absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::JobStatus> Get(const std::string& job_id, bool include_steps,
                                            absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::ListJobsResponse> List(absl::Time deadline) = 0;

  // Calls `on_status` with each status (steps beyond `after_step`, each once) until it returns
  // false, a final state was shown, or the deadline passes (DEADLINE_EXCEEDED). A broken stream is
  // begun again where it ended.
  using OnStatus = std::function<bool(const v1::JobStatus&)>;
  virtual absl::Status Watch(const std::string& job_id, int64_t after_step,
                             const OnStatus& on_status, absl::Time deadline) = 0;

  virtual absl::StatusOr<v1::JobStatus> Cancel(const std::string& job_id, const std::string& reason,
                                               absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::JobStatus> Pause(const std::string& job_id, absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::JobStatus> Resume(const std::string& job_id, absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::JobStatus> RollBack(const v1::RollBackJobRequest& request,
                                                 absl::Time deadline) = 0;
  // What happened to the job, beyond event `after`.
  virtual absl::StatusOr<v1::ListJobEventsResponse> Events(const std::string& job_id, int64_t after,
                                                           absl::Time deadline) = 0;
  // What a submission would be; makes no job. A coordinator of release 0.1.0 would take it for a
  // submission: ask first for something that it doesn't know either, such as Events().
  virtual absl::StatusOr<v1::SubmitJobResponse> DryRun(const v1::JobSpec& spec,
                                                       absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::ListWorkersResponse> ListWorkers(absl::Time deadline) = 0;
};

std::unique_ptr<JobClient> MakeJobClient(const std::shared_ptr<grpc::Channel>& channel,
                                         ClientOptions options);

}  // namespace dtrpo::wire
