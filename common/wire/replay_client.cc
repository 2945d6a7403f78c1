#include "common/wire/replay_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/wire/trajectory_codec.h"
#include "proto/dtrpo/v1/replay.grpc.pb.h"

namespace dtrpo::wire {
namespace {

using Stub = v1::ReplayService::StubInterface;

void SetJob(const JobAttempt& job, v1::JobRef* ref) {
  ref->set_job_id(job.job_id);
  ref->set_attempt(job.attempt);
}

absl::StatusOr<Batch> TakeBatch(const v1::GetBatchResponse& response) {
  Batch batch = {.number = response.batch(),
                 .policy_version = response.policy_version(),
                 .global_pairs = response.global_pairs(),
                 .items = {},
                 .last = response.last()};
  batch.items.reserve(response.items_size());
  for (const v1::BatchItem& item : response.items()) {
    DTRPO_ASSIGN_OR_RETURN(trajectory::PreferencePair pair,
                           base::Annotate(FromProto(item.pair()), "batch ", response.batch()));
    batch.items.push_back({std::move(pair), item.use_index(), item.lag_versions()});
  }
  return batch;
}

class GrpcReplayClient : public ReplayClient {
 public:
  GrpcReplayClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options)
      : options_(std::move(options)), stub_(v1::ReplayService::NewStub(channel)) {}

  absl::Status OpenJob(const std::string& job_id, const v1::ReplayJobOptions& options,
                       absl::Time deadline) override {
    v1::OpenJobRequest request;
    SetJob({job_id}, request.mutable_job());
    *request.mutable_options() = options;
    return Call(absl::StrCat("opening job ", job_id), &Stub::OpenJob, request, {job_id}, deadline)
        .status();
  }

  absl::Status CloseJob(const std::string& job_id, absl::Time deadline) override {
    v1::CloseJobRequest request;
    SetJob({job_id}, request.mutable_job());
    return Call(absl::StrCat("closing job ", job_id), &Stub::CloseJob, request, {job_id}, deadline)
        .status();
  }

  absl::Status SetNewestVersion(const std::string& job_id, const JobWatermarks& marks,
                                absl::Time deadline) override {
    v1::SetNewestVersionRequest request;
    SetJob({job_id}, request.mutable_job());
    request.set_version(marks.version);
    request.set_end_of_prompts(marks.end_of_prompts);
    request.set_end_of_external(marks.end_of_external);
    request.set_end_of_data(marks.end_of_data);
    request.set_forget_epochs_below(marks.forget_epochs_below);
    return Call(absl::StrCat("telling version ", marks.version, " of job ", job_id),
                &Stub::SetNewestVersion, request, {job_id}, deadline)
        .status();
  }

  absl::StatusOr<v1::PollPromptEventsResponse> PollPromptEvents(const std::string& job_id,
                                                                int64_t after_position,
                                                                int32_t max_events,
                                                                absl::Time deadline) override {
    v1::PollPromptEventsRequest request;
    SetJob({job_id}, request.mutable_job());
    request.set_after_position(after_position);
    request.set_max_events(max_events);
    request.set_acknowledged_position(after_position);
    return Call(absl::StrCat("prompt events of job ", job_id), &Stub::PollPromptEvents, request,
                {job_id}, deadline);
  }

  absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string& job_id,
                                                      absl::Time deadline) override {
    v1::GetReplayStatsRequest request;
    SetJob({job_id}, request.mutable_job());
    return Call(absl::StrCat("statistics of job ", job_id), &Stub::GetReplayStats, request,
                {job_id}, deadline);
  }

  absl::StatusOr<InsertResult> Insert(const JobAttempt& job, const PromptOutcome& outcome,
                                      absl::Time deadline) override {
    v1::InsertRequest request;
    SetJob(job, request.mutable_job());
    request.set_epoch(outcome.epoch);
    request.set_prompt_index(outcome.prompt_index);
    request.set_prompt_attempt(outcome.prompt_attempt);
    for (const trajectory::PreferencePair& pair : outcome.pairs) {
      ToProto(pair, request.add_pairs());
    }
    request.set_no_pair(outcome.pairs.empty());
    DTRPO_ASSIGN_OR_RETURN(const v1::InsertResponse response,
                           Call(absl::StrCat("inserting prompt ", outcome.prompt_index,
                                             " of epoch ", outcome.epoch, " of job ", job.job_id),
                                &Stub::Insert, request, job, deadline));
    return InsertResult{.duplicate = response.duplicate(), .durability = response.durability()};
  }

  absl::StatusOr<Batch> GetBatch(const JobAttempt& job, int64_t number, int32_t rank, int32_t world,
                                 absl::Time deadline) override {
    v1::GetBatchRequest request;
    SetJob(job, request.mutable_job());
    request.set_batch(number);
    request.set_rank(rank);
    request.set_world(world);
    DTRPO_ASSIGN_OR_RETURN(const v1::GetBatchResponse response,
                           Call(absl::StrCat("batch ", number, " of job ", job.job_id),
                                &Stub::GetBatch, request, job, deadline));
    return TakeBatch(response);
  }

  absl::Status Acknowledge(const JobAttempt& job, int64_t up_to_batch,
                           absl::Time deadline) override {
    v1::AcknowledgeRequest request;
    SetJob(job, request.mutable_job());
    request.set_up_to_batch(up_to_batch);
    return Call(absl::StrCat("acknowledging batch ", up_to_batch, " of job ", job.job_id),
                &Stub::Acknowledge, request, job, deadline)
        .status();
  }

 private:
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(const std::string& what,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, const JobAttempt& job,
                                absl::Time deadline) {
    return CallService(options_, what, stub_.get(), method, request, job, deadline);
  }

  const ClientOptions options_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReplayClient>> MakeReplayClient(
    const std::vector<std::shared_ptr<grpc::Channel>>& shards, ClientOptions options) {
  if (shards.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(shards.size(), " replay shards are configured; exactly one is supported"));
  }
  return std::make_unique<GrpcReplayClient>(shards.front(), std::move(options));
}

}  // namespace dtrpo::wire
