#include "services/replay/replay_service.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "common/wire/item_body.h"
#include "services/replay/inserted_items.h"
#include "services/replay/item_list.h"
#include "services/replay/log_codec.h"
#include "services/replay/prioritised_selector.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kDefaultEvents = 1000;
constexpr int32_t kMaxEvents = 10000;
constexpr int kMaxInserts = 1024;
constexpr int64_t kMaxStagedBytes = int64_t{1} << 32;  // of an item; far beyond any message

v1::Durability ToProto(storage::Durability durability) {
  switch (durability) {
    case storage::Durability::kMemory:
      return v1::MEMORY;
    case storage::Durability::kLog:
      return v1::LOG;
    case storage::Durability::kSync:
      return v1::SYNC;
  }
  return v1::DURABILITY_UNSPECIFIED;
}

absl::Status FillBatch(RankBatch batch, int32_t body_format, v1::GetBatchResponse* response) {
  response->set_batch(batch.number);
  response->set_policy_version(batch.policy_version);
  response->set_global_pairs(static_cast<int32_t>(batch.global_pairs));
  response->set_last(batch.last);
  response->set_incarnation(batch.incarnation);
  for (RankBatch::Entry& entry : batch.entries) {
    v1::BatchItem* item = response->add_items();
    item->set_use_index(entry.use_index);
    item->set_lag_versions(entry.lag_versions);
    if (entry.elsewhere.shard > 0) {
      item->set_shard(entry.elsewhere.shard);
      item->set_shard_item(entry.elsewhere.first_body);
      continue;
    }
    DTRPO_RETURN_IF_ERROR(
        base::Annotate(wire::PutItemBody(std::move(entry.body), body_format, item), "batch ",
                       batch.number, ", entry ", response->items_size() - 1));
  }
  return absl::OkStatus();
}

enum class Role { kAny, kSequences, kKeeps };

// The job's table, if it has that role of the job's shards.
absl::StatusOr<JobTable*> FindTable(const ReplayStore& store, const v1::JobRef& job, Role role) {
  DTRPO_ASSIGN_OR_RETURN(
      JobTable * table, store.FindAs(job.job_id(), {.shard = job.shard(), .shards = job.shards()}));
  if (role == Role::kAny) return table;
  const TableOptions options = table->options();
  if (options.sequences() == (role == Role::kSequences)) return table;
  DTRPO_RETURN_IF_ERROR(table->CheckUsable());
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      "this store is shard ", options.shard, " of the ", options.shards, " of job ", job.job_id(),
      options.sequences() ? ", which sequences; only the others are told to stage and to settle"
                          : ", which only keeps bodies; shard 0 sequences"));
  base::SetReason(status, kShardsDiffer);
  return status;
}

StagedPrompt FromProto(const v1::StagedPrompt& from) {
  StagedPrompt staged = {.at = {.shard = from.shard(), .first_body = from.first_item()},
                         .items = {},
                         .incarnation = from.incarnation()};
  for (const auto& item : from.items()) {
    staged.items.push_back(
        {.version = item.version(), .size_bytes = item.size_bytes(), .priority = item.priority()});
  }
  return staged;
}

void FillRefusal(const absl::Status& status, v1::InsertManyResponse::Result* result) {
  result->set_code(static_cast<int32_t>(status.code()));
  result->set_message(std::string(status.message()));
  result->set_reason(base::GetReason(status));
  if (const auto retry_after = base::GetRetryAfter(status)) {
    result->set_retry_after_ms(absl::ToInt64Milliseconds(*retry_after));
  }
}

PromptKey KeyOf(const v1::InsertRequest& request) {
  return {.epoch = request.epoch(),
          .prompt_index = request.prompt_index(),
          .attempt = request.prompt_attempt()};
}

// What no shard answers to Stage.
absl::Status CheckStaged(const StagedPrompt& staged, int32_t shards) {
  auto refuse = [](absl::string_view field, auto value) {
    return absl::InvalidArgumentError(absl::StrCat("staged.", field, ": ", value));
  };
  if (staged.at.shard < 1 || staged.at.shard >= shards) return refuse("shard", staged.at.shard);
  if (staged.items.empty()) return absl::OkStatus();  // of a prompt that has ended
  if (staged.at.first_body < 1) return refuse("first_item", staged.at.first_body);
  for (size_t i = 0; i < staged.items.size(); ++i) {
    const NewItem& item = staged.items[i];
    const std::string at = absl::StrCat("items[", i, "].");
    if (item.version < -1) return refuse(at + "version", item.version);
    if (item.size_bytes < 0 || item.size_bytes > kMaxStagedBytes)
      return refuse(at + "size_bytes", item.size_bytes);
    if (!(item.priority >= 0 && item.priority <= kMaxPriority)) {  // NaN too
      return refuse(at + "priority", item.priority);
    }
  }
  return absl::OkStatus();
}

void FillStats(const TableStats& stats, v1::GetReplayStatsResponse* response) {
  response->set_items(stats.items);
  response->set_bytes(stats.bytes);
  response->set_inserted_items(stats.counters.inserted_items);
  response->set_inserted_prompts(stats.counters.inserted_prompts);
  response->set_no_pair_prompts(stats.counters.no_pair_prompts);
  response->set_duplicate_inserts(stats.duplicate_inserts);
  response->set_evicted_items(stats.counters.evicted_items);
  response->set_batches_formed(stats.formed_batch - (stats.options.first_batch - 1));
  response->set_acknowledged_batch(stats.acknowledged_batch);
  response->set_assigned_items(stats.assigned_items);
  response->set_available_items(stats.available_items);
  response->set_max_items(stats.options.max_items);
  response->set_max_bytes(stats.options.max_bytes);
  response->set_checkpoint_wanted(stats.checkpoint_wanted);
  response->set_newest_version(stats.newest_version);
  response->set_attempt(stats.attempt);
  response->set_consumed_items(stats.counters.consumed_items);
  response->set_wanted_items(stats.wanted_items);
  response->set_durability(ToProto(stats.durability));
}

}  // namespace

grpc::Status ReplayService::OpenJob(grpc::ServerContext* context, const v1::OpenJobRequest* request,
                                    v1::OpenJobResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(const OpenedJob opened,
                           store_->Open(request->job().job_id(), FromProto(request->options()),
                                        request->start_over()));
    response->set_incarnation(opened.incarnation);
    response->set_empty(opened.empty);
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::CloseJob(grpc::ServerContext* context,
                                     const v1::CloseJobRequest* request, v1::CloseJobResponse*) {
  return rpc::Serve(
      *context, [&](const rpc::IncomingCall&) { return store_->Close(request->job().job_id()); });
}

grpc::Status ReplayService::Insert(grpc::ServerContext* context, const v1::InsertRequest* request,
                                   v1::InsertResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kSequences));
    absl::StatusOr<InsertOutcome> outcome;
    if (request->has_staged()) {
      const StagedPrompt staged = FromProto(request->staged());
      DTRPO_RETURN_IF_ERROR(CheckStaged(staged, table->options().shards));
      outcome = table->InsertStaged(KeyOf(*request), staged);
    } else {
      DTRPO_ASSIGN_OR_RETURN(std::vector<StoredPair> pairs,
                             InsertedItems(*request, table->options().vocabulary_size));
      outcome = table->Insert(KeyOf(*request), std::move(pairs));
    }
    DTRPO_RETURN_IF_ERROR(outcome.status());
    response->set_duplicate(outcome->duplicate);
    response->set_durability(ToProto(outcome->durability));
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::InsertMany(grpc::ServerContext* context,
                                       const v1::InsertManyRequest* request,
                                       v1::InsertManyResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kSequences));
    if (request->inserts_size() > kMaxInserts) {
      return absl::InvalidArgumentError(
          absl::StrCat("inserts: ", request->inserts_size(), " are more than ", kMaxInserts));
    }
    const int64_t vocabulary_size = table->options().vocabulary_size;
    std::vector<PromptItems> prompts;
    std::vector<int> places;  // of prompts, among the inserts
    for (int i = 0; i < request->inserts_size(); ++i) {
      const v1::InsertRequest& insert = request->inserts(i);
      absl::StatusOr<std::vector<StoredPair>> pairs =
          insert.has_staged() ? absl::InvalidArgumentError("staged: not among many inserts")
                              : InsertedItems(insert, vocabulary_size);
      response->add_results();
      if (pairs.ok()) {
        prompts.push_back({.prompt = KeyOf(insert), .pairs = *std::move(pairs)});
        places.push_back(i);
      } else {
        FillRefusal(base::Annotate(pairs.status(), "inserts[", i, "]"),
                    response->mutable_results(i));
      }
    }
    const auto outcomes = table->InsertMany(std::move(prompts));
    for (size_t i = 0; i < outcomes.size(); ++i) {
      v1::InsertManyResponse::Result* result = response->mutable_results(places[i]);
      if (!outcomes[i].ok()) {
        FillRefusal(outcomes[i].status(), result);
        continue;
      }
      result->mutable_inserted()->set_duplicate(outcomes[i]->duplicate);
      result->mutable_inserted()->set_durability(ToProto(outcomes[i]->durability));
    }
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::GetBatch(grpc::ServerContext* context,
                                     const v1::GetBatchRequest* request,
                                     v1::GetBatchResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall& call) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kSequences));
    const BatchRequest wanted = {.batch = request->batch(),
                                 .attempt = request->job().attempt(),
                                 .rank = request->rank(),
                                 .world = request->world()};
    DTRPO_ASSIGN_OR_RETURN(RankBatch batch, table->GetBatch(wanted, call.deadline, [context] {
      return context->IsCancelled();
    }));
    return FillBatch(std::move(batch), request->body_format(), response);
  });
}

grpc::Status ReplayService::Acknowledge(grpc::ServerContext* context,
                                        const v1::AcknowledgeRequest* request,
                                        v1::AcknowledgeResponse*) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kSequences));
    return table->Acknowledge(request->job().attempt(), request->up_to_batch());
  });
}

grpc::Status ReplayService::SetNewestVersion(grpc::ServerContext* context,
                                             const v1::SetNewestVersionRequest* request,
                                             v1::SetNewestVersionResponse*) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kAny));
    DTRPO_RETURN_IF_ERROR(table->EndKinds(request->end_of_external(), request->end_of_prompts()));
    return table->SetMarks(request->version(), request->end_of_data(),
                           request->forget_epochs_below());
  });
}

grpc::Status ReplayService::PollPromptEvents(grpc::ServerContext* context,
                                             const v1::PollPromptEventsRequest* request,
                                             v1::PollPromptEventsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kSequences));
    const int32_t wanted = request->max_events() > 0 ? request->max_events() : kDefaultEvents;
    DTRPO_ASSIGN_OR_RETURN(
        const EventPage page,
        table->PollEvents(request->after_position(), std::min(wanted, kMaxEvents),
                          request->acknowledged_position()));
    for (const PromptEvent& event : page.events) replay::ToProto(event, response->add_events());
    response->set_position(page.last_position);
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::GetReplayStats(grpc::ServerContext* context,
                                           const v1::GetReplayStatsRequest* request,
                                           v1::GetReplayStatsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kAny));
    FillStats(table->Stats(), response);
    const storage::StoreSize size = store_->SizeOnDisk();
    response->set_disk_bytes(size.disk_bytes);
    response->set_free_disk_bytes(size.free_bytes);
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::UpdatePriorities(grpc::ServerContext* context,
                                             const v1::UpdatePrioritiesRequest* request,
                                             v1::UpdatePrioritiesResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kSequences));
    const BatchRequest batch = {.batch = request->batch(),
                                .attempt = request->job().attempt(),
                                .rank = request->rank(),
                                .world = request->world()};
    DTRPO_ASSIGN_OR_RETURN(
        const bool taken, table->UpdatePriorities(
                              batch, {request->priorities().begin(), request->priorities().end()}));
    response->set_duplicate(!taken);
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::ListItems(grpc::ServerContext* context,
                                      const v1::ListItemsRequest* request,
                                      v1::ListItemsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kAny));
    return ListPage(*table, *request, response);
  });
}

grpc::Status ReplayService::GetItem(grpc::ServerContext* context, const v1::GetItemRequest* request,
                                    v1::GetItemResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kAny));
    DTRPO_ASSIGN_OR_RETURN(ItemView view, table->FindItem(request->item()));
    return FillItem(std::move(view), /*body_format=*/0, response->mutable_item());
  });
}

grpc::Status ReplayService::Stage(grpc::ServerContext* context, const v1::InsertRequest* request,
                                  v1::StagedPrompt* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kKeeps));
    DTRPO_ASSIGN_OR_RETURN(std::vector<StoredPair> pairs,
                           InsertedItems(*request, table->options().vocabulary_size));
    DTRPO_ASSIGN_OR_RETURN(const StagedPrompt staged,
                           table->Stage(KeyOf(*request), std::move(pairs)));
    response->set_shard(staged.at.shard);
    response->set_first_item(staged.at.first_body);
    response->set_incarnation(staged.incarnation);
    for (const NewItem& item : staged.items) {
      auto* added = response->add_items();
      added->set_version(item.version);
      added->set_size_bytes(item.size_bytes);
      added->set_priority(item.priority);
    }
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::Settle(grpc::ServerContext* context, const v1::SettleRequest* request,
                                   v1::SettleResponse*) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kKeeps));
    std::vector<PromptEvent> events;
    for (const v1::PromptEvent& event : request->events()) {
      DTRPO_ASSIGN_OR_RETURN(events.emplace_back(), EventFromProto(event));
    }
    return table->Settle(events);
  });
}

grpc::Status ReplayService::GetItems(grpc::ServerContext* context,
                                     const v1::GetItemsRequest* request,
                                     v1::GetItemsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, FindTable(*store_, request->job(), Role::kAny));
    DTRPO_ASSIGN_OR_RETURN(std::vector<ItemView> views,
                           table->FindItems({request->items().begin(), request->items().end()},
                                            request->incarnation()));
    for (ItemView& view : views) {
      DTRPO_RETURN_IF_ERROR(
          FillItem(std::move(view), request->body_format(), response->add_items()));
    }
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::ListReplayJobs(grpc::ServerContext* context,
                                           const v1::ListReplayJobsRequest*,
                                           v1::ListReplayJobsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
    for (const auto& [job_id, table] : store_->All()) {
      const TableStats stats = table->Stats();
      auto* job = response->add_jobs();
      job->set_job_id(job_id);
      job->set_closed(stats.closed);
      if (!stats.closed) FillStats(stats, job->mutable_stats());
    }
    return absl::OkStatus();
  });
}

}  // namespace dtrpo::replay
