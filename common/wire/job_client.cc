#include "common/wire/job_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/wire/job_codec.h"
#include "proto/dtrpo/v1/coordinator.grpc.pb.h"

namespace dtrpo::wire {
namespace {

using Stub = v1::JobService::StubInterface;

// A stream says something at least every 2 s; one that is silent for so long is broken.
constexpr absl::Duration kWatchStream = absl::Minutes(5);

class GrpcJobClient : public JobClient {
 public:
  GrpcJobClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options)
      : options_(std::move(options)), stub_(v1::JobService::NewStub(channel)) {}

  absl::StatusOr<std::string> Submit(const v1::JobSpec& spec, const std::string& idempotency_key,
                                     absl::Time deadline) override {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_idempotency_key(idempotency_key);
    ClientOptions options = options_;
    if (idempotency_key.empty()) options.retry.max_attempts = 1;
    DTRPO_ASSIGN_OR_RETURN(v1::SubmitJobResponse response,
                           CallService(options, absl::StrCat("submitting job ", spec.name()),
                                       stub_.get(), &Stub::SubmitJob, request, {}, deadline));
    return std::move(*response.mutable_job_id());
  }

  absl::StatusOr<v1::JobStatus> Get(const std::string& job_id, bool include_steps,
                                    absl::Time deadline) override {
    v1::GetJobRequest request;
    request.set_job_id(job_id);
    request.set_include_steps(include_steps);
    return Call("status of", job_id, &Stub::GetJob, request, deadline);
  }

  absl::StatusOr<v1::ListJobsResponse> List(absl::Time deadline) override {
    return CallService(options_, "list of jobs", stub_.get(), &Stub::ListJobs,
                       v1::ListJobsRequest(), {}, deadline);
  }

  absl::Status Watch(const std::string& job_id, int64_t after_step, const OnStatus& on_status,
                     absl::Time deadline) override {
    base::ScopedWait wait(options_.waits, absl::StrCat("job ", job_id), options_.target);
    const base::RetryCall call = {.what = absl::StrCat("watching job ", job_id),
                                  .deadline = deadline,
                                  .seed = options_.seed,
                                  .stop = options_.stop};
    base::RetryOptions retry = options_.retry;
    retry.attempt_timeout = kWatchStream;
    return base::Retry(retry, call, [&](absl::Time attempt_deadline) {
      return WatchOnce(job_id, after_step, on_status, attempt_deadline);
    });
  }

  absl::StatusOr<v1::JobStatus> Cancel(const std::string& job_id, const std::string& reason,
                                       absl::Time deadline) override {
    v1::CancelJobRequest request;
    request.set_job_id(job_id);
    request.set_reason(reason);
    return Call("cancelling", job_id, &Stub::CancelJob, request, deadline);
  }

  absl::StatusOr<v1::JobStatus> Pause(const std::string& job_id, absl::Time deadline) override {
    v1::PauseJobRequest request;
    request.set_job_id(job_id);
    return Call("pausing", job_id, &Stub::PauseJob, request, deadline);
  }

  absl::StatusOr<v1::JobStatus> Resume(const std::string& job_id, absl::Time deadline) override {
    v1::ResumeJobRequest request;
    request.set_job_id(job_id);
    return Call("resuming", job_id, &Stub::ResumeJob, request, deadline);
  }

  // Not tried again: a repeated one would go back from where the first one did, to a later attempt.
  absl::StatusOr<v1::JobStatus> RollBack(const v1::RollBackJobRequest& request,
                                         absl::Time deadline) override {
    ClientOptions options = options_;
    options.retry.max_attempts = 1;
    return CallService(options, absl::StrCat("rolling back job ", request.job_id()), stub_.get(),
                       &Stub::RollBackJob, request, {request.job_id()}, deadline);
  }

  absl::StatusOr<v1::ListJobEventsResponse> Events(const std::string& job_id, int64_t after,
                                                   absl::Time deadline) override {
    v1::ListJobEventsRequest request;
    request.set_job_id(job_id);
    request.set_after(after);
    return CallService(options_, absl::StrCat("events of job ", job_id), stub_.get(),
                       &Stub::ListJobEvents, request, {job_id}, deadline);
  }

  absl::StatusOr<v1::SubmitJobResponse> DryRun(const v1::JobSpec& spec,
                                               absl::Time deadline) override {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_dry_run(true);
    return CallService(options_, absl::StrCat("checking job ", spec.name()), stub_.get(),
                       &Stub::SubmitJob, request, {}, deadline);
  }

  absl::StatusOr<v1::ListWorkersResponse> ListWorkers(absl::Time deadline) override {
    return CallService(options_, "list of workers", stub_.get(), &Stub::ListWorkers,
                       v1::ListWorkersRequest(), {}, deadline);
  }

 private:
  template <typename Request>
  absl::StatusOr<v1::JobStatus> Call(const char* what, const std::string& job_id,
                                     grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                  const Request&, v1::JobStatus*),
                                     const Request& request, absl::Time deadline) {
    return CallService(options_, absl::StrCat(what, " job ", job_id), stub_.get(), method, request,
                       {job_id}, deadline);
  }

  // One stream. OK: the watch is over. UNAVAILABLE: begin another one; `after_step` has moved on.
  absl::Status WatchOnce(const std::string& job_id, int64_t& after_step, const OnStatus& on_status,
                         absl::Time deadline) {
    v1::WatchJobRequest request;
    request.set_job_id(job_id);
    request.set_after_step(after_step);
    grpc::ClientContext context;
    rpc::PrepareContext({.deadline = deadline, .job_id = job_id}, &context);
    auto stream = stub_->WatchJob(&context, request);
    v1::JobStatus status;
    bool wanted = true;
    bool over = false;
    while (!over && stream->Read(&status)) {
      for (const v1::StepRecord& step : status.steps()) {
        after_step = std::max(after_step, step.step());
      }
      wanted = on_status(status);
      over = !wanted || IsFinal(status.state());
    }
    if (!wanted) context.TryCancel();
    const absl::Status end = rpc::FromGrpcStatus(stream->Finish());
    if (over) return absl::OkStatus();
    return end.ok() ? absl::UnavailableError("the stream ended before the job did") : end;
  }

  const ClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

std::unique_ptr<JobClient> MakeJobClient(const std::shared_ptr<grpc::Channel>& channel,
                                         ClientOptions options) {
  return std::make_unique<GrpcJobClient>(channel, std::move(options));
}

}  // namespace dtrpo::wire
