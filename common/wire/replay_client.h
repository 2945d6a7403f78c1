// Thread safety: clients may be used from many threads at once.
//
// The replay store as its callers see it: one, however many shards it has. ReplayClient is what
// services depend upon (tests put a fake in its place); ConnectReplay gives the one that speaks
// gRPC. Every call may wait until its deadline and is idempotent. Errors name the shard.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/channel_factory.h"
#include "common/trajectory/trajectory.h"
#include "common/wire/client_options.h"
#include "proto/dtrpo/v1/replay.pb.h"

namespace dtrpo::wire {

// What became of one prompt: all its pairs, or none (no_pair).
struct PromptOutcome {
  int64_t epoch = 0;
  int64_t prompt_index = 0;
  int32_t prompt_attempt = 0;
  std::vector<trajectory::PreferencePair> pairs;
};

struct InsertResult {
  bool duplicate = false;  // stored before; nothing was stored now
  v1::Durability durability = v1::MEMORY;
};

struct BatchItem {
  trajectory::PreferencePair pair;
  int32_t use_index = 0;
  int64_t lag_versions = 0;
};

struct Batch {
  int64_t number = 0;          // n
  int64_t policy_version = 0;  // V(n)
  int32_t global_pairs = 0;    // over all ranks
  std::vector<BatchItem> items;
  bool last = false;  // nothing follows
};

// What the coordinator tells the store about a job; each value only ever rises.
struct JobWatermarks {
  int64_t version = 0;              // newest published
  bool end_of_data = false;         // no further inserts will come
  bool end_of_prompts = false;      // none of pairs of prompts
  bool end_of_external = false;     // none of imported pairs
  int64_t forget_epochs_below = 0;  // all prompts of older epochs are final
};

class ReplayClient {
 public:
  virtual ~ReplayClient() = default;

  // From the coordinator.
  virtual absl::Status OpenJob(const std::string& job_id, const v1::ReplayJobOptions& options,
                               absl::Time deadline) = 0;
  virtual absl::Status CloseJob(const std::string& job_id, absl::Time deadline) = 0;
  virtual absl::Status SetNewestVersion(const std::string& job_id, const JobWatermarks& marks,
                                        absl::Time deadline) = 0;
  // Events up to `after_position` are noted by the caller: the store may drop them.
  virtual absl::StatusOr<v1::PollPromptEventsResponse> PollPromptEvents(const std::string& job_id,
                                                                        int64_t after_position,
                                                                        int32_t max_events,
                                                                        absl::Time deadline) = 0;
  virtual absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string& job_id,
                                                              absl::Time deadline) = 0;

  // From rollouts. RESOURCE_EXHAUSTED (reason "replay_full" or the like) after the deadline when
  // the store stayed full.
  virtual absl::StatusOr<InsertResult> Insert(const JobAttempt& job, const PromptOutcome& outcome,
                                              absl::Time deadline) = 0;

  // From learners. UNAVAILABLE, reason "not_enough_items", when the rollouts haven't made enough by
  // the deadline. A batch that fails validation is INVALID_ARGUMENT and names the pair.
  virtual absl::StatusOr<Batch> GetBatch(const JobAttempt& job, int64_t number, int32_t rank,
                                         int32_t world, absl::Time deadline) = 0;
  virtual absl::Status Acknowledge(const JobAttempt& job, int64_t up_to_batch,
                                   absl::Time deadline) = 0;
  // Of the items of the rank's slice of a batch, in its order; taken once.
  virtual absl::Status UpdatePriorities(const JobAttempt& job, int64_t batch, int32_t rank,
                                        int32_t world, const std::vector<double>& priorities,
                                        absl::Time deadline) = 0;
};

// `addresses`: of the shards, in their order. INVALID_ARGUMENT for none, or for a bad one.
absl::StatusOr<std::unique_ptr<ReplayClient>> ConnectReplay(
    rpc::ChannelFactory& channels, const std::vector<std::string>& addresses,
    ClientOptions options);
// The same of channels that are there.
absl::StatusOr<std::unique_ptr<ReplayClient>> MakeReplayClient(
    const std::vector<std::shared_ptr<grpc::Channel>>& shards, ClientOptions options);

}  // namespace dtrpo::wire
