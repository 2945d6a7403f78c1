// The RPC face of a ReplayStore: conversion, and checks of what comes from outside. Thread-safe.
#pragma once

#include "proto/dtrpo/v1/replay.grpc.pb.h"
#include "services/replay/replay_store.h"

namespace dtrpo::replay {

class ReplayService final : public v1::ReplayService::Service {
 public:
  // `store` outlives the service.
  explicit ReplayService(ReplayStore* store) : store_(store) {}

  grpc::Status OpenJob(grpc::ServerContext* context, const v1::OpenJobRequest* request,
                       v1::OpenJobResponse* response) override;
  grpc::Status CloseJob(grpc::ServerContext* context, const v1::CloseJobRequest* request,
                        v1::CloseJobResponse* response) override;
  grpc::Status Insert(grpc::ServerContext* context, const v1::InsertRequest* request,
                      v1::InsertResponse* response) override;
  grpc::Status InsertMany(grpc::ServerContext* context, const v1::InsertManyRequest* request,
                          v1::InsertManyResponse* response) override;
  grpc::Status GetBatch(grpc::ServerContext* context, const v1::GetBatchRequest* request,
                        v1::GetBatchResponse* response) override;
  grpc::Status Acknowledge(grpc::ServerContext* context, const v1::AcknowledgeRequest* request,
                           v1::AcknowledgeResponse* response) override;
  grpc::Status SetNewestVersion(grpc::ServerContext* context,
                                const v1::SetNewestVersionRequest* request,
                                v1::SetNewestVersionResponse* response) override;
  grpc::Status PollPromptEvents(grpc::ServerContext* context,
                                const v1::PollPromptEventsRequest* request,
                                v1::PollPromptEventsResponse* response) override;
  grpc::Status GetReplayStats(grpc::ServerContext* context,
                              const v1::GetReplayStatsRequest* request,
                              v1::GetReplayStatsResponse* response) override;
  grpc::Status UpdatePriorities(grpc::ServerContext* context,
                                const v1::UpdatePrioritiesRequest* request,
                                v1::UpdatePrioritiesResponse* response) override;
  grpc::Status ListItems(grpc::ServerContext* context, const v1::ListItemsRequest* request,
                         v1::ListItemsResponse* response) override;
  grpc::Status GetItem(grpc::ServerContext* context, const v1::GetItemRequest* request,
                       v1::GetItemResponse* response) override;
  grpc::Status Stage(grpc::ServerContext* context, const v1::InsertRequest* request,
                     v1::StagedPrompt* response) override;
  grpc::Status Settle(grpc::ServerContext* context, const v1::SettleRequest* request,
                      v1::SettleResponse* response) override;
  grpc::Status GetItems(grpc::ServerContext* context, const v1::GetItemsRequest* request,
                        v1::GetItemsResponse* response) override;
  grpc::Status ListReplayJobs(grpc::ServerContext* context,
                              const v1::ListReplayJobsRequest* request,
                              v1::ListReplayJobsResponse* response) override;

 private:
  ReplayStore* const store_;
};

}  // namespace dtrpo::replay
