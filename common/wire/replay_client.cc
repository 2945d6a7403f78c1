#include "common/wire/replay_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/wire/item_body.h"
#include "common/wire/replay_shards.h"
#include "common/wire/trajectory_codec.h"

namespace dtrpo::wire {
namespace {

using Stub = ReplayShards::Stub;

absl::StatusOr<Batch> TakeBatch(v1::GetBatchResponse* response) {
  Batch batch = {.number = response->batch(),
                 .policy_version = response->policy_version(),
                 .global_pairs = response->global_pairs(),
                 .items = {},
                 .last = response->last()};
  batch.items.reserve(response->items_size());
  for (v1::BatchItem& item : *response->mutable_items()) {
    DTRPO_RETURN_IF_ERROR(base::Annotate(UnpackItemBody(&item), "batch ", response->batch()));
    DTRPO_ASSIGN_OR_RETURN(trajectory::PreferencePair pair,
                           base::Annotate(FromProto(item.pair()), "batch ", response->batch()));
    batch.items.push_back({std::move(pair), item.use_index(), item.lag_versions()});
  }
  return batch;
}

class GrpcReplayClient : public ReplayClient {
 public:
  GrpcReplayClient(const std::vector<ReplayShards::Shard>& shards, const ClientOptions& options)
      : shards_(shards, options) {}

  absl::Status OpenJob(const std::string& job_id, const v1::ReplayJobOptions& options,
                       absl::Time deadline) override {
    return shards_.Open(job_id, options, deadline);
  }

  absl::Status CloseJob(const std::string& job_id, absl::Time deadline) override {
    auto close = [&](int32_t shard) {
      v1::CloseJobRequest request;
      shards_.SetJob({job_id}, shard, request.mutable_job());
      return shards_
          .Call(shard, absl::StrCat("closing job ", job_id), &Stub::CloseJob, request, deadline)
          .status();
    };
    DTRPO_RETURN_IF_ERROR(close(0));
    return shards_.ForOthers(close);
  }

  // The others only need to know whose keys they may forget, and not before shard 0 does.
  absl::Status SetNewestVersion(const std::string& job_id, const JobWatermarks& marks,
                                absl::Time deadline) override {
    v1::SetNewestVersionRequest request;
    request.set_version(marks.version);
    request.set_end_of_prompts(marks.end_of_prompts);
    request.set_end_of_external(marks.end_of_external);
    request.set_end_of_data(marks.end_of_data);
    request.set_forget_epochs_below(marks.forget_epochs_below);
    auto tell = [&](int32_t shard, v1::SetNewestVersionRequest told) {
      shards_.SetJob({job_id}, shard, told.mutable_job());
      return shards_
          .Call(shard, absl::StrCat("telling version ", marks.version, " of job ", job_id),
                &Stub::SetNewestVersion, told, deadline)
          .status();
    };
    DTRPO_RETURN_IF_ERROR(tell(0, request));
    v1::SetNewestVersionRequest forget;
    forget.set_forget_epochs_below(marks.forget_epochs_below);
    return shards_.ForOthers([&](int32_t shard) { return tell(shard, forget); });
  }

  absl::StatusOr<v1::PollPromptEventsResponse> PollPromptEvents(const std::string& job_id,
                                                                int64_t after_position,
                                                                int32_t max_events,
                                                                absl::Time deadline) override {
    v1::PollPromptEventsRequest request;
    shards_.SetJob({job_id}, 0, request.mutable_job());
    request.set_after_position(after_position);
    request.set_max_events(max_events);
    request.set_acknowledged_position(after_position);
    DTRPO_ASSIGN_OR_RETURN(v1::PollPromptEventsResponse response,
                           shards_.Call(0, absl::StrCat("prompt events of job ", job_id),
                                        &Stub::PollPromptEvents, request, deadline));
    DTRPO_RETURN_IF_ERROR(Settle(job_id, response, deadline));
    return response;
  }

  absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string& job_id,
                                                      absl::Time deadline) override {
    v1::GetReplayStatsRequest request;
    shards_.SetJob({job_id}, 0, request.mutable_job());
    return shards_.Call(0, absl::StrCat("statistics of job ", job_id), &Stub::GetReplayStats,
                        request, deadline);
  }

  absl::StatusOr<InsertResult> Insert(const JobAttempt& job, const PromptOutcome& outcome,
                                      absl::Time deadline) override {
    v1::InsertRequest request;
    request.set_epoch(outcome.epoch);
    request.set_prompt_index(outcome.prompt_index);
    request.set_prompt_attempt(outcome.prompt_attempt);
    for (const trajectory::PreferencePair& pair : outcome.pairs) {
      ToProto(pair, request.add_pairs());
    }
    request.set_no_pair(outcome.pairs.empty());
    DTRPO_ASSIGN_OR_RETURN(const v1::InsertResponse response,
                           shards_.Insert(job, std::move(request), deadline));
    return InsertResult{.duplicate = response.duplicate(), .durability = response.durability()};
  }

  absl::StatusOr<Batch> GetBatch(const JobAttempt& job, int64_t number, int32_t rank, int32_t world,
                                 absl::Time deadline) override {
    v1::GetBatchRequest request;
    shards_.SetJob(job, 0, request.mutable_job());
    request.set_batch(number);
    request.set_rank(rank);
    request.set_world(world);
    request.set_body_format(kItemBodyFormat);
    DTRPO_ASSIGN_OR_RETURN(v1::GetBatchResponse response,
                           shards_.Call(0, absl::StrCat("batch ", number, " of job ", job.job_id),
                                        &Stub::GetBatch, request, deadline));
    std::vector<ReplayShards::Wanted> elsewhere;
    for (v1::BatchItem& item : *response.mutable_items()) {
      if (item.shard() == 0) continue;
      elsewhere.push_back({item.shard(), item.shard_item(), [&item](v1::ReplayItem body) {
                             item.mutable_pair()->Swap(body.mutable_pair());
                           }});
    }
    const absl::Status fetched =
        shards_.Fetch(job.job_id, response.incarnation(), elsewhere, deadline);
    if (base::GetReason(fetched) == "item_gone") {
      // Acknowledged or begun anew meanwhile: asked again, shard 0 says which.
      return absl::UnavailableError(absl::StrCat("batch ", number, ": ", fetched.message()));
    }
    DTRPO_RETURN_IF_ERROR(fetched);
    return TakeBatch(&response);
  }

  absl::Status Acknowledge(const JobAttempt& job, int64_t up_to_batch,
                           absl::Time deadline) override {
    v1::AcknowledgeRequest request;
    shards_.SetJob(job, 0, request.mutable_job());
    request.set_up_to_batch(up_to_batch);
    return shards_
        .Call(0, absl::StrCat("acknowledging batch ", up_to_batch, " of job ", job.job_id),
              &Stub::Acknowledge, request, deadline)
        .status();
  }

  absl::Status UpdatePriorities(const JobAttempt& job, int64_t batch, int32_t rank, int32_t world,
                                const std::vector<double>& priorities,
                                absl::Time deadline) override {
    v1::UpdatePrioritiesRequest request;
    shards_.SetJob(job, 0, request.mutable_job());
    request.set_batch(batch);
    request.set_rank(rank);
    request.set_world(world);
    request.mutable_priorities()->Assign(priorities.begin(), priorities.end());
    return shards_
        .Call(0, absl::StrCat("priorities of batch ", batch, " of job ", job.job_id),
              &Stub::UpdatePriorities, request, deadline)
        .status();
  }

 private:
  // Lets the other shards delete what has ended. Asks each even when there is nothing to tell it,
  // so that a shard that lost the job is noticed. Whoever calls acknowledges the events only after
  // this, so none is forgotten.
  absl::Status Settle(const std::string& job_id, const v1::PollPromptEventsResponse& events,
                      absl::Time deadline) const {
    std::vector<v1::SettleRequest> requests(shards_.count());
    for (const v1::PromptEvent& event : events.events()) {
      const v1::PromptKey& prompt = event.prompt();
      if (event.kind() == v1::PromptEvent::STORED) continue;
      *requests[ShardOfPrompt(job_id, prompt.epoch(), prompt.prompt_index(), shards_.count())]
           .add_events() = event;
    }
    return shards_.ForOthers([&](int32_t shard) {
      shards_.SetJob({job_id}, shard, requests[shard].mutable_job());
      return shards_
          .Call(shard, absl::StrCat("ended prompts of job ", job_id), &Stub::Settle,
                requests[shard], deadline)
          .status();
    });
  }

  const ReplayShards shards_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReplayClient>> MakeReplayClient(
    const std::vector<std::shared_ptr<grpc::Channel>>& shards, ClientOptions options) {
  if (shards.empty()) return absl::InvalidArgumentError("no replay shard is configured");
  std::vector<ReplayShards::Shard> all;
  for (const auto& channel : shards) all.push_back({.channel = channel, .address = ""});
  return std::make_unique<GrpcReplayClient>(all, options);
}

absl::StatusOr<std::unique_ptr<ReplayClient>> ConnectReplay(
    rpc::ChannelFactory& channels, const std::vector<std::string>& addresses,
    ClientOptions options) {
  if (addresses.empty()) return absl::InvalidArgumentError("no replay shard is configured");
  DTRPO_ASSIGN_OR_RETURN(const auto shards, ConnectShards(channels, addresses));
  return std::make_unique<GrpcReplayClient>(shards, options);
}

}  // namespace dtrpo::wire
