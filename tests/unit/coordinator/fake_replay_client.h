// Not thread-safe but for tests that use it from one thread at a time. A replay store that records
// what it is told and answers with the events that a test puts in.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/wire/replay_client.h"

namespace dtrpo::coordinator {

class FakeReplayClient : public wire::ReplayClient {
 public:
  absl::Status OpenJob(const std::string& job_id, const v1::ReplayJobOptions& options,
                       absl::Time) override {
    if (!failure.ok()) return failure;
    opened[job_id] = options;
    return open_answer;
  }
  absl::Status CloseJob(const std::string& job_id, absl::Time) override {
    ++close_calls;
    if (!failure.ok()) return failure;
    closed.push_back(job_id);
    return absl::OkStatus();
  }
  absl::Status SetNewestVersion(const std::string&, const wire::JobWatermarks& to,
                                absl::Time) override {
    if (!failure.ok()) return failure;
    marks.push_back(to);
    return absl::OkStatus();
  }
  absl::StatusOr<v1::PollPromptEventsResponse> PollPromptEvents(const std::string& job_id,
                                                                int64_t after_position,
                                                                int32_t max_events,
                                                                absl::Time) override {
    if (!failure.ok()) return failure;
    if (opened.count(job_id) == 0) return absl::NotFoundError("unknown job");
    v1::PollPromptEventsResponse response;
    response.set_position(static_cast<int64_t>(events.size()));
    for (const v1::PromptEvent& event : events) {
      if (event.position() > after_position && response.events_size() < max_events) {
        *response.add_events() = event;
      }
    }
    return response;
  }
  absl::StatusOr<v1::GetReplayStatsResponse> GetStats(const std::string&, absl::Time) override {
    if (!failure.ok()) return failure;
    return stats;
  }
  absl::StatusOr<wire::InsertResult> Insert(const wire::JobAttempt&, const wire::PromptOutcome&,
                                            absl::Time) override {
    return absl::UnimplementedError("the coordinator inserts nothing");
  }
  absl::StatusOr<wire::Batch> GetBatch(const wire::JobAttempt&, int64_t, int32_t, int32_t,
                                       absl::Time) override {
    return absl::UnimplementedError("the coordinator asks for no batch");
  }
  absl::Status Acknowledge(const wire::JobAttempt&, int64_t, absl::Time) override {
    return absl::UnimplementedError("the coordinator acknowledges nothing");
  }
  absl::Status UpdatePriorities(const wire::JobAttempt&, int64_t, int32_t, int32_t,
                                const std::vector<double>&, absl::Time) override {
    return absl::UnimplementedError("the coordinator has no priorities");
  }

  void AddEvent(v1::PromptEvent::Kind kind, const v1::PromptLease& lease, int32_t pairs = 1) {
    v1::PromptEvent event;
    event.set_position(static_cast<int64_t>(events.size()) + 1);
    event.set_kind(kind);
    event.mutable_prompt()->set_epoch(lease.epoch());
    event.mutable_prompt()->set_prompt_index(lease.prompt_index());
    event.mutable_prompt()->set_prompt_attempt(lease.prompt_attempt());
    event.set_pairs(pairs);
    events.push_back(event);
  }

  absl::Status failure;  // of every call while it isn't OK
  absl::Status open_answer;
  std::map<std::string, v1::ReplayJobOptions> opened;
  std::vector<std::string> closed;
  int close_calls = 0;
  std::vector<wire::JobWatermarks> marks;
  std::vector<v1::PromptEvent> events;
  v1::GetReplayStatsResponse stats;
};

}  // namespace dtrpo::coordinator
