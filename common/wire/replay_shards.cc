#include "common/wire/replay_shards.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/wire/item_body.h"

namespace dtrpo::wire {
namespace {

constexpr size_t kItemsPerCall = 32;  // so that no message gets too large

std::string Inserting(const v1::InsertRequest& request, const JobAttempt& job) {
  return absl::StrCat("inserting prompt ", request.prompt_index(), " of epoch ", request.epoch(),
                      " of job ", job.job_id);
}

absl::StatusOr<v1::InsertResponse> TakeResult(const v1::InsertManyResponse::Result& result) {
  if (result.code() == 0) return result.inserted();
  absl::Status refused(static_cast<absl::StatusCode>(result.code()), result.message());
  if (!result.reason().empty()) base::SetReason(refused, result.reason());
  if (result.retry_after_ms() > 0) {
    base::SetRetryAfter(refused, absl::Milliseconds(result.retry_after_ms()));
  }
  return refused;
}

}  // namespace

int32_t ShardOfPrompt(absl::string_view job_id, int64_t epoch, int64_t prompt_index,
                      int32_t shards) {
  const uint64_t hash = base::StableHash("replay.shard", job_id, static_cast<uint64_t>(epoch),
                                         static_cast<uint64_t>(prompt_index));
  return static_cast<int32_t>(hash % static_cast<uint64_t>(shards));
}

ReplayShards::ReplayShards(const std::vector<Shard>& shards, const ClientOptions& options) {
  DTRPO_CHECK(!shards.empty());
  for (size_t i = 0; i < shards.size(); ++i) {
    Peer& peer = shards_.emplace_back();
    peer.options = options;
    if (shards.size() > 1) absl::StrAppend(&peer.options.target, " shard ", i);
    if (!shards[i].address.empty()) absl::StrAppend(&peer.options.target, " ", shards[i].address);
    peer.stub = v1::ReplayService::NewStub(shards[i].channel);
  }
}

void ReplayShards::SetJob(const JobAttempt& job, int32_t shard, v1::JobRef* ref) const {
  ref->set_job_id(job.job_id);
  ref->set_attempt(job.attempt);
  ref->set_shard(shard);
  ref->set_shards(count());
}

absl::Status ReplayShards::ForOthers(const std::function<absl::Status(int32_t)>& call) const {
  std::vector<absl::Status> results(shards_.size());
  std::vector<std::thread> threads;
  for (int32_t shard = 2; shard < count(); ++shard) {
    threads.emplace_back([&results, &call, shard] { results[shard] = call(shard); });
  }
  if (count() > 1) results[1] = call(1);
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) DTRPO_RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::Status ReplayShards::Open(const std::string& job_id, const v1::ReplayJobOptions& options,
                                absl::Time deadline) const {
  const std::string what = absl::StrCat("opening job ", job_id);
  v1::OpenJobRequest request;
  *request.mutable_options() = options;
  if (count() > 1) request.mutable_options()->set_shards(count());
  SetJob({job_id}, 0, request.mutable_job());
  DTRPO_ASSIGN_OR_RETURN(v1::OpenJobResponse opened,
                         Call(0, what, &Stub::OpenJob, request, deadline));
  if (count() == 1) return absl::OkStatus();
  if (!opened.empty()) {
    // A job is opened before anything is inserted, and again when a shard lost its part of it.
    request.set_start_over(true);
    DTRPO_ASSIGN_OR_RETURN(opened, Call(0, what, &Stub::OpenJob, request, deadline));
    request.set_start_over(false);
  }
  request.mutable_options()->set_incarnation(opened.incarnation());
  return ForOthers([&](int32_t shard) {
    v1::OpenJobRequest own = request;
    own.mutable_options()->set_shard(shard);
    SetJob({job_id}, shard, own.mutable_job());
    return Call(shard, what, &Stub::OpenJob, own, deadline).status();
  });
}

absl::StatusOr<v1::InsertResponse> ReplayShards::Insert(const JobAttempt& job,
                                                        v1::InsertRequest request,
                                                        absl::Time deadline) const {
  const std::string what = Inserting(request, job);
  const int32_t shard = request.no_pair() ? 0
                                          : ShardOfPrompt(job.job_id, request.epoch(),
                                                          request.prompt_index(), count());
  if (shard > 0) {
    SetJob(job, shard, request.mutable_job());
    DTRPO_ASSIGN_OR_RETURN(*request.mutable_staged(),
                           Call(shard, what, &Stub::Stage, request, deadline));
    request.clear_pairs();
    request.clear_groups();
  }
  SetJob(job, 0, request.mutable_job());
  absl::StatusOr<v1::InsertResponse> inserted = Call(0, what, &Stub::Insert, request, deadline);
  if (base::GetReason(inserted.status()) == "started_over") {
    return absl::UnavailableError(inserted.status().message());  // staged anew, it will do
  }
  return inserted;
}

std::vector<absl::StatusOr<v1::InsertResponse>> ReplayShards::InsertMany(
    const JobAttempt& job, const std::vector<v1::InsertRequest>& prompts,
    absl::Time deadline) const {
  std::vector<absl::StatusOr<v1::InsertResponse>> results(prompts.size(),
                                                          absl::UnavailableError("not asked yet"));
  if (count() == 1) {
    v1::InsertManyRequest request;
    SetJob(job, 0, request.mutable_job());
    request.mutable_inserts()->Assign(prompts.begin(), prompts.end());
    absl::StatusOr<v1::InsertManyResponse> response =
        Call(0, absl::StrCat("inserting ", prompts.size(), " prompts of job ", job.job_id),
             &Stub::InsertMany, request, deadline);
    if (response.ok() && response->results_size() != request.inserts_size()) {
      response = absl::InternalError(absl::StrCat(target(0), ": ", response->results_size(),
                                                  " answers instead of ", prompts.size()));
    }
    if (!response.ok()) {
      results.assign(prompts.size(), response.status());
      return results;
    }
    for (size_t i = 0; i < prompts.size(); ++i) {
      results[i] = base::Annotate(TakeResult(response->results(static_cast<int>(i))),
                                  Inserting(prompts[i], job));
    }
  }
  // One by one what wasn't asked, and what was refused for now: each waits as an insert does.
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (base::IsRetryable(results[i].status())) results[i] = Insert(job, prompts[i], deadline);
  }
  return results;
}

absl::Status ReplayShards::Fetch(const std::string& job_id, int64_t incarnation,
                                 const std::vector<Wanted>& wanted, absl::Time deadline) const {
  std::vector<std::vector<const Wanted*>> of_shard(shards_.size());
  for (const Wanted& item : wanted) {
    if (item.shard < 1 || item.shard >= count()) {
      return absl::FailedPreconditionError(
          absl::StrCat("job ", job_id, " keeps an item on replay shard ", item.shard, " of ",
                       count(), " that are known here"));
    }
    of_shard[item.shard].push_back(&item);
  }
  return ForOthers([&](int32_t shard) -> absl::Status {
    const std::vector<const Wanted*>& items = of_shard[shard];
    for (size_t first = 0; first < items.size(); first += kItemsPerCall) {
      const size_t end = std::min(first + kItemsPerCall, items.size());
      v1::GetItemsRequest request;
      SetJob({job_id}, shard, request.mutable_job());
      request.set_incarnation(incarnation);
      request.set_body_format(kItemBodyFormat);
      for (size_t i = first; i < end; ++i) request.add_items(items[i]->item);
      DTRPO_ASSIGN_OR_RETURN(
          v1::GetItemsResponse response,
          Call(shard, absl::StrCat("items of job ", job_id), &Stub::GetItems, request, deadline));
      if (response.items_size() != request.items_size()) {
        return absl::InternalError(absl::StrCat(target(shard), ": ", response.items_size(),
                                                " items instead of ", request.items_size()));
      }
      for (size_t i = first; i < end; ++i) {
        v1::ReplayItem& item = *response.mutable_items(static_cast<int>(i - first));
        DTRPO_RETURN_IF_ERROR(
            base::Annotate(UnpackItemBody(&item), target(shard), ", item ", items[i]->item));
        items[i]->take(std::move(item));
      }
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<ReplayShards::Shard>> ConnectShards(
    rpc::ChannelFactory& channels, const std::vector<std::string>& addresses) {
  DTRPO_ASSIGN_OR_RETURN(const auto connected, channels.CreateAll(addresses, {rpc::Role::kReplay}));
  std::vector<ReplayShards::Shard> shards;
  for (size_t i = 0; i < addresses.size(); ++i) {
    shards.push_back({.channel = connected[i], .address = addresses[i]});
  }
  return shards;
}

}  // namespace dtrpo::wire
