#include "services/replay/replay_service.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/serve.h"
#include "common/trajectory/trajectory.h"
#include "common/wire/trajectory_codec.h"
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

// The oldest weights that had a hand in either answer; -1 when neither names any.
int64_t OldestVersion(const trajectory::PreferencePair& pair) {
  const int64_t chosen = trajectory::OldestVersion(pair.chosen);
  const int64_t rejected = trajectory::OldestVersion(pair.rejected);
  return chosen < 0 || rejected < 0 ? std::max(chosen, rejected) : std::min(chosen, rejected);
}

absl::StatusOr<std::vector<StoredPair>> PairsOf(const v1::InsertRequest& request) {
  if (request.no_pair() != request.pairs().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no_pair: ", request.no_pair() ? "set beside " : "not set with ",
                     request.pairs_size(), " pairs"));
  }
  std::vector<StoredPair> pairs;
  for (int i = 0; i < request.pairs_size(); ++i) {
    DTRPO_ASSIGN_OR_RETURN(const trajectory::PreferencePair pair,
                           base::Annotate(wire::FromProto(request.pairs(i)), "pairs[", i, "]"));
    pairs.push_back({.version = OldestVersion(pair), .body = request.pairs(i).SerializeAsString()});
  }
  return pairs;
}

absl::Status FillBatch(RankBatch batch, v1::GetBatchResponse* response) {
  response->set_batch(batch.number);
  response->set_policy_version(batch.policy_version);
  response->set_global_pairs(static_cast<int32_t>(batch.global_pairs));
  response->set_last(batch.last);
  for (const RankBatch::Entry& entry : batch.entries) {
    v1::BatchItem* item = response->add_items();
    if (!item->mutable_pair()->ParseFromString(entry.body)) {
      return absl::DataLossError(absl::StrCat("batch ", batch.number, ": pair ",
                                              response->items_size() - 1, " can't be read back"));
    }
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
    DTRPO_ASSIGN_OR_RETURN(std::vector<StoredPair> pairs, PairsOf(*request));
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
    return absl::OkStatus();
  });
}

}  // namespace dtrpo::replay
