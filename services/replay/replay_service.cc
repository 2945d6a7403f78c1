#include "services/replay/replay_service.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "services/replay/inserted_items.h"
#include "services/replay/item_body.h"
#include "services/replay/item_list.h"
#include "services/replay/log_codec.h"

namespace dtrpo::replay {
namespace {

constexpr int32_t kDefaultEvents = 1000;
constexpr int32_t kMaxEvents = 10000;

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

absl::Status FillBatch(RankBatch batch, v1::GetBatchResponse* response) {
  response->set_batch(batch.number);
  response->set_policy_version(batch.policy_version);
  response->set_global_pairs(static_cast<int32_t>(batch.global_pairs));
  response->set_last(batch.last);
  for (const RankBatch::Entry& entry : batch.entries) {
    v1::BatchItem* item = response->add_items();
    DTRPO_ASSIGN_OR_RETURN(v1::ReplayItemBody body,
                           base::Annotate(DecodeItemBody(entry.body), "batch ", batch.number,
                                          ", entry ", response->items_size() - 1));
    if (body.has_pair()) item->mutable_pair()->Swap(body.mutable_pair());
    if (body.has_group()) item->mutable_group()->Swap(body.mutable_group());
    item->set_use_index(entry.use_index);
    item->set_lag_versions(entry.lag_versions);
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
                                    v1::OpenJobResponse*) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) {
    return store_->Open(request->job().job_id(), FromProto(request->options()));
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
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
    DTRPO_ASSIGN_OR_RETURN(std::vector<StoredPair> pairs,
                           InsertedItems(*request, table->options().vocabulary_size));
    const PromptKey key = {.epoch = request->epoch(),
                           .prompt_index = request->prompt_index(),
                           .attempt = request->prompt_attempt()};
    DTRPO_ASSIGN_OR_RETURN(const InsertOutcome outcome, table->Insert(key, std::move(pairs)));
    response->set_duplicate(outcome.duplicate);
    response->set_durability(ToProto(outcome.durability));
    return absl::OkStatus();
  });
}

grpc::Status ReplayService::GetBatch(grpc::ServerContext* context,
                                     const v1::GetBatchRequest* request,
                                     v1::GetBatchResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall& call) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
    const BatchRequest wanted = {.batch = request->batch(),
                                 .attempt = request->job().attempt(),
                                 .rank = request->rank(),
                                 .world = request->world()};
    DTRPO_ASSIGN_OR_RETURN(RankBatch batch, table->GetBatch(wanted, call.deadline, [context] {
      return context->IsCancelled();
    }));
    return FillBatch(std::move(batch), response);
  });
}

grpc::Status ReplayService::Acknowledge(grpc::ServerContext* context,
                                        const v1::AcknowledgeRequest* request,
                                        v1::AcknowledgeResponse*) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
    return table->Acknowledge(request->job().attempt(), request->up_to_batch());
  });
}

grpc::Status ReplayService::SetNewestVersion(grpc::ServerContext* context,
                                             const v1::SetNewestVersionRequest* request,
                                             v1::SetNewestVersionResponse*) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
    DTRPO_RETURN_IF_ERROR(table->EndKinds(request->end_of_external(), request->end_of_prompts()));
    return table->SetMarks(request->version(), request->end_of_data(),
                           request->forget_epochs_below());
  });
}

grpc::Status ReplayService::PollPromptEvents(grpc::ServerContext* context,
                                             const v1::PollPromptEventsRequest* request,
                                             v1::PollPromptEventsResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
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
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
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
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
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
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
    return ListPage(*table, *request, response);
  });
}

grpc::Status ReplayService::GetItem(grpc::ServerContext* context, const v1::GetItemRequest* request,
                                    v1::GetItemResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(JobTable * table, store_->Find(request->job().job_id()));
    DTRPO_ASSIGN_OR_RETURN(ItemView view, table->FindItem(request->item()));
    return FillItem(std::move(view), response->mutable_item());
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
