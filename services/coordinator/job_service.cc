#include "services/coordinator/job_service.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "common/wire/job_codec.h"

namespace dtrpo::coordinator {
namespace {

constexpr absl::Duration kWatchSilence = absl::Seconds(2);  // a status is sent at least so often
constexpr absl::Duration kWatchThrottle = absl::Milliseconds(100);  // and at most so often
constexpr absl::Duration kCancelCheck = absl::Milliseconds(200);

// The whole of a unary handler: `result` is a StatusOr<Response>.
template <typename Response, typename Call>
grpc::Status Answer(grpc::ServerContext* context, Coordinator* coordinator, Response* response,
                    Call call) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(*response, call());
    return coordinator->Durable();
  });
}

}  // namespace

grpc::Status JobService::SubmitJob(grpc::ServerContext* context,
                                   const v1::SubmitJobRequest* request,
                                   v1::SubmitJobResponse* response) {
  return Answer(context, coordinator_, response, [&] { return coordinator_->SubmitJob(*request); });
}

grpc::Status JobService::GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                                v1::JobStatus* response) {
  return Answer(context, coordinator_, response, [&] { return coordinator_->GetJob(*request); });
}

grpc::Status JobService::ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest*,
                                  v1::ListJobsResponse* response) {
  return Answer(context, coordinator_, response,
                [&] { return absl::StatusOr<v1::ListJobsResponse>(coordinator_->ListJobs()); });
}

grpc::Status JobService::CancelJob(grpc::ServerContext* context,
                                   const v1::CancelJobRequest* request, v1::JobStatus* response) {
  return Answer(context, coordinator_, response, [&] { return coordinator_->CancelJob(*request); });
}

grpc::Status JobService::PauseJob(grpc::ServerContext* context, const v1::PauseJobRequest* request,
                                  v1::JobStatus* response) {
  return Answer(context, coordinator_, response, [&] { return coordinator_->PauseJob(*request); });
}

grpc::Status JobService::ResumeJob(grpc::ServerContext* context,
                                   const v1::ResumeJobRequest* request, v1::JobStatus* response) {
  return Answer(context, coordinator_, response, [&] { return coordinator_->ResumeJob(*request); });
}

grpc::Status JobService::RollBackJob(grpc::ServerContext* context,
                                     const v1::RollBackJobRequest* request,
                                     v1::JobStatus* response) {
  return Answer(context, coordinator_, response,
                [&] { return coordinator_->RollBackJob(*request); });
}

grpc::Status JobService::ListJobEvents(grpc::ServerContext* context,
                                       const v1::ListJobEventsRequest* request,
                                       v1::ListJobEventsResponse* response) {
  return Answer(context, coordinator_, response,
                [&] { return coordinator_->ListJobEvents(*request); });
}

grpc::Status JobService::ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest*,
                                     v1::ListWorkersResponse* response) {
  return Answer(context, coordinator_, response, [&] {
    return absl::StatusOr<v1::ListWorkersResponse>(coordinator_->ListWorkers());
  });
}

grpc::Status JobService::WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                                  grpc::ServerWriter<v1::JobStatus>* writer) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall& call) -> absl::Status {
    const int watches = ++watches_;
    const absl::Cleanup leave = [this] { --watches_; };
    if (watches > max_watches_) {
      return base::BackPressureError(absl::StrCat(max_watches_, " watches are open already"),
                                     "too_many_watches", absl::Milliseconds(500));
    }
    return Watch(*context, *request, call.deadline, *writer);
  });
}

absl::Status JobService::Watch(const grpc::ServerContext& context,
                               const v1::WatchJobRequest& request, absl::Time deadline,
                               grpc::ServerWriter<v1::JobStatus>& writer) {
  int64_t after_step = request.after_step();
  uint64_t revision = 0;  // the first status is sent at once
  for (;;) {
    DTRPO_ASSIGN_OR_RETURN(
        const v1::JobStatus status,
        coordinator_->AwaitChange(request.job_id(), revision, after_step, clock_->Now()));
    if (!writer.Write(status)) return absl::CancelledError("the watcher is gone");
    if (wire::IsFinal(status.state())) return absl::OkStatus();
    if (status.steps_size() > 0) after_step = status.steps().rbegin()->step();

    clock_->SleepFor(kWatchThrottle);
    const absl::Time until = clock_->Now() + kWatchSilence;
    uint64_t seen = revision;
    while (seen == revision && clock_->Now() < until) {
      if (context.IsCancelled()) return absl::CancelledError("the watcher is gone");
      if (stop_->stopped()) return absl::UnavailableError("the coordinator is shutting down");
      if (clock_->Now() >= deadline) return absl::DeadlineExceededError("the watch's deadline");
      // A short wait, so that a watcher who leaves frees the thread soon.
      const absl::Time slice = std::min({until, deadline, clock_->Now() + kCancelCheck});
      DTRPO_RETURN_IF_ERROR(
          coordinator_->AwaitChange(request.job_id(), seen, /*after_step=*/-1, slice).status());
    }
  }
}

}  // namespace dtrpo::coordinator
