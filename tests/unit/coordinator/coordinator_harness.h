// Not thread-safe. A coordinator with a clock that stands still, files in memory and a fake replay
// store, and workers that say what a test makes them say.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/fake_metrics.h"
#include "common/base/memory_file_system.h"
#include "common/base/simulated_clock.h"
#include "common/storage/memory_engine.h"
#include "common/wire/job_codec.h"
#include "services/coordinator/coordinator.h"
#include "services/coordinator/replay_driver.h"
#include "tests/unit/coordinator/fake_replay_client.h"

namespace dtrpo::coordinator {

class CoordinatorHarness : public testing::Test {
 protected:
  CoordinatorHarness()
      : metrics_(&registry_),
        slot_(std::in_place, Options(), Deps()),
        coordinator_(*slot_),
        driver_({}, &coordinator_, &replay_, &metrics_, &clock_) {
    Write("model/config.json", "{}");
    std::string lines;
    for (int i = 0; i < 20; ++i) absl::StrAppend(&lines, "{\"id\": ", i, "}\n");
    Write("p.jsonl", lines);
    Write("h.jsonl", "{\"id\": 100}\n{\"id\": 101}\n");
  }

  // Whatever a test did: a coordinator that starts from the log has the same jobs and workers, and
  // one that starts from a snapshot of it, too.
  void TearDown() override {
    if (log_is_odd_) return;
    ExpectRestored(Options(), 1);
    Coordinator::Options often = Options();
    often.records_per_snapshot = 1;
    ExpectRestored(often, 2);  // writes a snapshot at its end
    const storage::LogSize log = *engine_.SizeOf("coordinator");
    ASSERT_TRUE(log.last == 0 || log.first == log.last + 1);
    ExpectRestored(Options(), 3);
  }

  // `starts`: how often the coordinator has been started since the test ended, this one included.
  void ExpectRestored(const Coordinator::Options& options, int starts) {
    Coordinator restored(options, Deps());
    const absl::Status status = restored.Restore();
    ASSERT_TRUE(status.ok()) << status;
    const v1::ListJobsResponse jobs = coordinator_.ListJobs();
    ASSERT_EQ(restored.ListJobs().jobs_size(), jobs.jobs_size());
    for (const v1::JobStatus& job : jobs.jobs()) {
      v1::GetJobRequest request;
      request.set_job_id(job.job_id());
      request.set_include_steps(true);
      EXPECT_EQ(restored.GetJob(request)->DebugString(),
                coordinator_.GetJob(request)->DebugString());
      v1::ListJobEventsRequest events;
      events.set_job_id(job.job_id());
      // The restored one has more: that it was started.
      v1::ListJobEventsResponse again = *restored.ListJobEvents(events);
      for (int i = 0; i < starts && !wire::IsFinal(job.state()); ++i) {
        again.mutable_events()->RemoveLast();
      }
      EXPECT_EQ(again.DebugString(), coordinator_.ListJobEvents(events)->DebugString());
    }
    const v1::ListWorkersResponse workers = coordinator_.ListWorkers();
    const v1::ListWorkersResponse known = restored.ListWorkers();
    ASSERT_EQ(known.workers_size(), workers.workers_size());
    for (int i = 0; i < workers.workers_size(); ++i) {
      EXPECT_EQ(known.workers(i).worker_id(), workers.workers(i).worker_id());
      EXPECT_EQ(known.workers(i).address(), workers.workers(i).address());
    }
  }

  // The process dies and is started again.
  void Restart() {
    slot_.emplace(Options(), Deps());
    const absl::Status restored = slot_->Restore();
    ASSERT_TRUE(restored.ok()) << restored;
  }

  Coordinator::Deps Deps() {
    return {.clock = &clock_,
            .files = &files_,
            .metrics = &metrics_,
            .prompt_check =
                [](const job::JobSpec&) {
                  return PromptCheck([](absl::string_view) { return absl::OkStatus(); });
                },
            .engine = &engine_};
  }
  Coordinator::Options Options() const {
    Coordinator::Options options;
    options.records_per_snapshot = records_per_snapshot_;
    options.replay = {"127.0.0.1:4000"};
    options.job.max_job_attempts = 2;
    return options;
  }

  void Write(const std::string& path, const std::string& content) {
    ASSERT_TRUE(files_.MakeDirectories(base::ParentPath(path)).ok());
    auto file = files_.Create(path);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE((*file)->Append(content).ok());
  }

  // 3 steps of 2 pairs, strictly on-policy, held-out prompts.
  static v1::JobSpec Spec() {
    v1::JobSpec spec;
    spec.set_name("add");
    spec.mutable_model()->set_path("model");
    spec.mutable_data()->set_prompts("p.jsonl");
    spec.mutable_data()->set_heldout("h.jsonl");
    spec.mutable_training()->set_steps(3);
    spec.mutable_training()->set_pairs_per_batch(2);
    spec.mutable_training()->set_max_staleness(0);
    spec.mutable_training()->set_max_prompts_without_pair(4);
    spec.mutable_reward()->set_max_pairs_per_prompt(1);
    spec.set_output("out");
    return spec;
  }

  std::string Submit(const v1::JobSpec& spec = Spec(), const std::string& key = "") {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    request.set_idempotency_key(key);
    const auto response = coordinator_.SubmitJob(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->job_id() : "";
  }

  // Returns the worker's id. The address names the worker; another incarnation is another process
  // there.
  std::string Register(const std::string& role, const std::string& incarnation = "a") {
    v1::RegisterWorkerRequest request;
    request.set_role(role);
    request.set_address(absl::StrCat(role, ":1"));
    request.set_incarnation(absl::StrCat(role, "/", incarnation));
    const auto response = coordinator_.RegisterWorker(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->worker_id() : "";
  }

  void RegisterAll() {
    rollout_ = Register(kRollout);
    reference_ = Register(kReference);
    learner_ = Register(kLearner);
  }

  v1::Assignment Beat(const std::string& worker, const std::string& job_id = "",
                      const std::vector<int64_t>& versions = {}) {
    v1::HeartbeatRequest request;
    request.set_worker_id(worker);
    request.set_job_id(job_id);
    request.mutable_versions_held()->Add(versions.begin(), versions.end());
    const auto response = coordinator_.Heartbeat(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? response->assignment() : v1::Assignment();
  }

  // A job with all workers, opened at replay and RUNNING.
  std::string Run(const v1::JobSpec& spec = Spec()) {
    RegisterAll();
    const std::string id = Submit(spec);
    driver_.Step();
    EXPECT_EQ(State(id), v1::RUNNING);
    Beat(rollout_, id, {0});
    return id;
  }

  // Time passes, with heartbeats of all but `silent`.
  void Pass(absl::Duration duration, const std::set<std::string>& silent = {}) {
    for (absl::Duration passed; passed < duration; passed += absl::Seconds(1)) {
      clock_.Advance(absl::Seconds(1));
      const v1::ListWorkersResponse workers = coordinator_.ListWorkers();
      for (const v1::WorkerStatus& worker : workers.workers()) {
        if (silent.count(worker.worker_id()) > 0) continue;
        Beat(worker.worker_id(), worker.job_id(),
             worker.role() == kRollout ? versions_ : std::vector<int64_t>());
      }
      coordinator_.Tick();
    }
  }

  v1::JobStatus Get(const std::string& id, bool steps = false) {
    v1::GetJobRequest request;
    request.set_job_id(id);
    request.set_include_steps(steps);
    const auto status = coordinator_.GetJob(request);
    EXPECT_TRUE(status.ok()) << status.status();
    return status.ok() ? *status : v1::JobStatus();
  }
  v1::JobState State(const std::string& id) { return Get(id).state(); }

  v1::LeasePromptsResponse Lease(const std::string& id, int max, int64_t version = 0,
                                 bool holds_no_lease = false) {
    v1::LeasePromptsRequest request;
    request.set_holds_no_lease(holds_no_lease);
    request.mutable_job()->set_job_id(id);
    request.set_worker_id(rollout_);
    request.set_max_prompts(max);
    request.set_version(version);
    request.mutable_versions_held()->Add(versions_.begin(), versions_.end());
    const auto response = coordinator_.LeasePrompts(request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::LeasePromptsResponse();
  }

  void Report(const std::string& id, const v1::PromptLease& lease,
              v1::PromptResult::Outcome outcome, bool correct = false) {
    v1::ReportPromptsRequest request;
    request.mutable_job()->set_job_id(id);
    request.set_worker_id(rollout_);
    v1::PromptResult* result = request.add_results();
    result->set_lease_id(lease.lease_id());
    result->set_kind(lease.kind());
    result->set_epoch(lease.epoch());
    result->set_prompt_index(lease.prompt_index());
    result->set_prompt_attempt(lease.prompt_attempt());
    result->set_version(lease.version());
    result->set_outcome(outcome);
    result->set_correct(correct ? 1 : 0);
    result->set_samples(8);
    result->set_reward_sum(4);
    result->set_tokens(100);
    ASSERT_TRUE(coordinator_.ReportPrompts(request).ok());
  }

  // Answers the held-out prompts of one evaluation.
  void Evaluate(const std::string& id, bool correct) {
    const v1::LeasePromptsResponse response = Lease(id, 10);
    ASSERT_EQ(response.leases_size(), 2);
    for (const v1::PromptLease& lease : response.leases()) {
      ASSERT_EQ(lease.kind(), v1::EVALUATE);
      Report(id, lease, v1::PromptResult::EVALUATED, correct);
    }
  }

  absl::Status Publish(const std::string& id, int64_t version, int32_t attempt = 1) {
    v1::RegisterVersionRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(attempt);
    request.mutable_manifest()->set_job_id(id);
    request.mutable_manifest()->set_version(version);
    request.mutable_manifest()->set_sha256(absl::StrCat("sha", version));
    request.set_step(version);
    return coordinator_.RegisterVersion(request).status();
  }

  absl::StatusOr<v1::ReportStepResponse> ReportStep(const std::string& id, int64_t step,
                                                    int32_t attempt = 1) {
    v1::ReportStepRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(attempt);
    request.mutable_record()->set_step(step);
    return coordinator_.ReportStep(request);
  }

  absl::Status Checkpoint(const std::string& id, int64_t step, const std::string& path,
                          int32_t attempt = 1) {
    v1::RegisterCheckpointRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(attempt);
    request.set_step(step);
    request.set_path(path);
    return coordinator_.RegisterCheckpoint(request).status();
  }

  absl::Status Finish(const std::string& id, bool succeeded, const std::string& reason = "",
                      int32_t attempt = 1) {
    v1::FinishTrainingRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(attempt);
    request.set_succeeded(succeeded);
    request.set_reason(reason);
    request.set_checkpoint("out/final");
    request.set_step(3);
    return coordinator_.FinishTraining(request).status();
  }

  base::SimulatedClock clock_;
  base::MemoryFileSystem files_;
  base::FakeMetrics registry_;
  CoordinatorMetrics metrics_;
  FakeReplayClient replay_;
  storage::MemoryEngine engine_;
  bool log_is_odd_ = false;  // a test broke it
  int64_t records_per_snapshot_ = 10000;
  std::optional<Coordinator> slot_;
  Coordinator& coordinator_;  // always the one in slot_
  ReplayDriver driver_;
  std::string rollout_, reference_, learner_;
  std::vector<int64_t> versions_ = {0};  // that the rollout holds
};

}  // namespace dtrpo::coordinator
