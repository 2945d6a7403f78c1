// A coordinator and a replay store that really talk to each other, with a rollout and a learner
// that a test plays: whatever the limits and the data, a job goes on to its end or ends with the
// reason. The coordinator's time passes when the test says so; nothing here waits for a clock.
#include <gmock/gmock.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/job/job_limits.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/wire/job_codec.h"
#include "services/replay/replay_service.h"
#include "tests/unit/coordinator/coordinator_harness.h"
#include "tests/unit/replay/test_pair.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

class LivenessTest : public CoordinatorHarness {
 protected:
  LivenessTest()
      : replay_metrics_(&registry_),
        store_({.engine = &replay_engine_, .metrics = &replay_metrics_}),
        service_(&store_),
        server_(*rpc::RpcServer::Start({}, {&service_})),
        factory_(rpc::ChannelOptions{.identity = {.role = "rollout"}, .faults = {}}),
        client_(*wire::MakeReplayClient({*factory_.Create(server_->address().ToString())},
                                        {.target = "replay", .retry = {.max_attempts = 1}})),
        live_driver_({.stats_interval = absl::ZeroDuration()}, &coordinator_, client_.get(),
                     &metrics_, base::RealClock()) {}

  // What becomes of a leased prompt: the weights version of its pair; -1: no pair.
  using Outcome = std::function<int64_t(const v1::PromptLease&)>;

  // 12 steps of 2 pairs, no held-out prompts; `epochs` of 20 prompts.
  static v1::JobSpec LongSpec(int64_t epochs = 3) {
    v1::JobSpec spec = Spec();
    spec.mutable_data()->clear_heldout();
    spec.mutable_data()->set_epochs(epochs);
    spec.mutable_training()->set_steps(12);
    spec.mutable_training()->set_checkpoint_every(4);
    spec.mutable_training()->set_max_prompts_without_pair(1000);
    return spec;
  }

  // Runs the job until it is over. A job that still isn't after so many rounds never would be.
  v1::JobStatus RunToTheEnd(const v1::JobSpec& spec, const Outcome& outcome) {
    RegisterAll();
    id_ = Submit(spec);
    for (int round = 0; round < 2000; ++round) {
      clock_.Advance(absl::Milliseconds(100));
      live_driver_.Step();
      const v1::JobStatus status = Get(id_);
      if (wire::IsFinal(status.state())) return status;
      versions_ = {newest_};
      Beat(rollout_, id_, versions_);
      Beat(reference_, id_);
      Beat(learner_, id_);
      coordinator_.Tick();
      if (State(id_) != v1::RUNNING) continue;
      Sample(outcome);
      Learn(status.spec());
    }
    ADD_FAILURE() << "it never ends: " << Get(id_).DebugString();
    return Get(id_);
  }

  void Sample(const Outcome& outcome) {
    // One whose insert was refused holds its leases until there is room.
    if (leases_.empty()) {
      const v1::LeasePromptsResponse response = Lease(id_, 3, newest_);
      leases_.assign(response.leases().begin(), response.leases().end());
    }
    for (size_t left = leases_.size(); left > 0; --left) {
      const v1::PromptLease lease = leases_.front();
      leases_.pop_front();
      wire::PromptOutcome made = {.epoch = lease.epoch(),
                                  .prompt_index = lease.prompt_index(),
                                  .prompt_attempt = lease.prompt_attempt(),
                                  .pairs = {}};
      const int64_t version = outcome(lease);
      if (version >= 0) {
        made.pairs.push_back(replay::TestPair(
            absl::StrCat(lease.epoch(), "/", lease.prompt_index(), "/", lease.prompt_attempt()),
            version));
      }
      const auto inserted = client_->Insert({.job_id = id_}, made, absl::Now() + absl::Seconds(2));
      if (!inserted.ok()) {
        ++refused_;
        EXPECT_TRUE(absl::IsResourceExhausted(inserted.status()) ||
                    absl::IsDeadlineExceeded(inserted.status()) ||
                    absl::IsFailedPrecondition(inserted.status()))
            << inserted.status();
        if (absl::IsFailedPrecondition(inserted.status())) continue;
        leases_.push_back(lease);
        continue;
      }
      Report(id_, lease, version >= 0 ? v1::PromptResult::STORED : v1::PromptResult::NO_PAIR);
    }
  }

  void Learn(const v1::JobSpec& spec) {
    const wire::JobAttempt job = {.job_id = id_, .attempt = Get(id_).attempt()};
    const v1::TrainingSpec& training = spec.training();
    if (step_ == training.steps()) return;
    const auto batch =
        client_->GetBatch(job, step_ + 1, 0, 1, absl::Now() + absl::Milliseconds(300));
    if (absl::IsOutOfRange(batch.status())) {  // the data has ended
      Save(job);
      ASSERT_TRUE(Finish(id_, true, std::string(batch.status().message()), job.attempt).ok());
      step_ = training.steps();
      return;
    }
    if (!batch.ok()) {
      // Full of batches that no checkpoint contains.
      if (checkpoint_wanted_) Save(job);
      return;
    }
    for (const wire::BatchItem& item : batch->items) {
      EXPECT_LE(item.lag_versions, training.max_staleness()) << "older than the job allows";
    }
    ++step_;
    const auto reported = ReportStep(id_, step_, job.attempt);
    ASSERT_TRUE(reported.ok()) << reported.status();
    checkpoint_wanted_ = reported->checkpoint_now();
    if (step_ % std::max(1, training.publish_every()) == 0) {
      ASSERT_TRUE(Publish(id_, ++newest_, job.attempt).ok());
    }
    if (step_ % training.checkpoint_every() == 0 || checkpoint_wanted_) Save(job);
    if (step_ == training.steps() || batch->last) {
      Save(job);
      ASSERT_TRUE(Finish(id_, true, batch->last ? "the data ended" : "", job.attempt).ok());
      step_ = training.steps();
    }
  }

  void Save(const wire::JobAttempt& job) {
    if (saved_ == step_) return;
    saved_ = step_;
    ASSERT_TRUE(Checkpoint(id_, step_, absl::StrCat("out/", step_), job.attempt).ok());
    const absl::Status acknowledged =
        client_->Acknowledge(job, step_, absl::Now() + absl::Seconds(20));
    ASSERT_TRUE(acknowledged.ok()) << acknowledged;
  }

  storage::MemoryEngine replay_engine_;
  replay::ReplayMetrics replay_metrics_;
  replay::ReplayStore store_;
  replay::ReplayService service_;
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory factory_;
  std::unique_ptr<wire::ReplayClient> client_;
  ReplayDriver live_driver_;
  std::string id_;
  std::deque<v1::PromptLease> leases_;
  int64_t step_ = 0, saved_ = 0, newest_ = 0;
  int refused_ = 0;
  bool checkpoint_wanted_ = false;
};

TEST_F(LivenessTest, AStalenessBoundOfZeroGoesToTheEnd) {
  const v1::JobStatus ended = RunToTheEnd(LongSpec(), [this](auto&) { return newest_; });
  EXPECT_EQ(ended.state(), v1::SUCCEEDED) << ended.reason();
  EXPECT_EQ(saved_, 12);
}

TEST_F(LivenessTest, AStoreOfTheSmallestSizeThatIsAcceptedGoesToTheEndThoughItIsFull) {
  v1::JobSpec spec = LongSpec();
  spec.mutable_training()->set_max_staleness(4);
  spec.mutable_training()->set_checkpoint_every(12);
  const int64_t required = job::RequiredReplayItems(*wire::FromProto(spec));
  spec.mutable_replay()->set_max_items(required - 1);
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  EXPECT_THAT(coordinator_.SubmitJob(request).status().message(), HasSubstr("max_items"));
  spec.mutable_replay()->set_max_items(required);
  const v1::JobStatus ended = RunToTheEnd(spec, [this](auto&) { return newest_; });
  EXPECT_EQ(ended.state(), v1::SUCCEEDED) << ended.reason();
  EXPECT_EQ(saved_, 12);
}

// Each prompt's first answers are made by weights that are too old once they arrive.
TEST_F(LivenessTest, AStoreOfNothingButStaleItemsIsFilledAnewUnderTheNextAttempt) {
  std::map<std::pair<int64_t, int64_t>, int> tries;
  const v1::JobStatus ended = RunToTheEnd(LongSpec(), [&](const v1::PromptLease& lease) {
    ++tries[{lease.epoch(), lease.prompt_index()}];
    return lease.prompt_attempt() == 0 && newest_ > 0 ? newest_ - 1 : newest_;
  });
  EXPECT_EQ(ended.state(), v1::SUCCEEDED) << ended.reason();
  EXPECT_EQ(saved_, 12);
  EXPECT_GT(ended.prompts().evicted_and_leased_again(), 10);
  for (const auto& [prompt, count] : tries) EXPECT_LE(count, 2);
}

TEST_F(LivenessTest, PromptsThatNeverGiveAPairEndTheJobWithThatReason) {
  v1::JobSpec spec = LongSpec();
  spec.mutable_training()->set_max_prompts_without_pair(7);
  const v1::JobStatus ended = RunToTheEnd(spec, [](auto&) { return int64_t{-1}; });
  EXPECT_EQ(ended.state(), v1::FAILED);
  EXPECT_THAT(ended.reason(), HasSubstr("max_prompts_without_pair"));
}

TEST_F(LivenessTest, DataThatGivesTooFewPairsEndsTheJobAtItsEnd) {
  int prompts = 0;
  const v1::JobStatus ended = RunToTheEnd(LongSpec(1), [&](auto&) {
    return ++prompts % 4 == 0 ? newest_ : int64_t{-1};  // 5 pairs of 20 prompts
  });
  EXPECT_EQ(ended.state(), v1::SUCCEEDED);
  EXPECT_THAT(ended.reason(), HasSubstr("data"));
  const v1::PromptCounts& counts = ended.prompts();
  EXPECT_EQ(counts.issued(), 20);
  EXPECT_EQ(counts.consumed() + counts.no_pair() + counts.failed() + counts.cancelled(), 20);
  EXPECT_EQ(counts.consumed(), 5);
}

}  // namespace
}  // namespace dtrpo::coordinator
