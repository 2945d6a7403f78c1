// A job's attempt as several ranks: a LearnerRun on a thread each, over Gloo.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/fake_metrics.h"
#include "common/checkpoint/retention.h"
#include "common/collectives/rendezvous_store.h"
#include "common/training/training_state.h"
#include "services/learner/learner_run.h"
#include "tests/unit/learner/fake_peers.h"

namespace dtrpo::learner {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

// Gives a rank its slice of each batch.
class RankPeers : public FakePeers {
 public:
  RankPeers(const std::string& base, int rank, int world)
      : FakePeers(support::LoadModel(base)), rank_(rank), world_(world) {}
  absl::StatusOr<wire::Batch> GetBatch(int64_t step, absl::Time deadline) override {
    absl::StatusOr<wire::Batch> batch = FakePeers::GetBatch(step, deadline);
    if (!batch.ok()) return batch;
    const size_t count = batch->items.size();
    batch->items.erase(batch->items.begin() + static_cast<ptrdiff_t>(count * (rank_ + 1) / world_),
                       batch->items.end());
    batch->items.erase(batch->items.begin(),
                       batch->items.begin() + static_cast<ptrdiff_t>(count * rank_ / world_));
    return batch;
  }

 private:
  const size_t rank_, world_;
};

// One rank with all it needs.
struct Rank {
  base::FakeMetrics registry;
  std::unique_ptr<LearnerMetrics> metrics;
  base::WaitStateRegistry waits;
  std::unique_ptr<RankPeers> peers;
  std::unique_ptr<collectives::ProcessGroup> group;
  std::unique_ptr<LearnerRun> run;
  absl::Status ended;
};

class LearnerRanksTest : public ::testing::Test {
 protected:
  LearnerRanksTest() : folder_(support::TestFolder()), base_(folder_ + "/base") {
    support::WriteTinyCheckpoint(base_);
    spec_.model.path = base_;
    spec_.training.steps = 5;
    spec_.training.pairs_per_batch = 5;
    spec_.training.learning_rate = 1e-2;
    spec_.training.publish_every = 2;
    spec_.training.checkpoint_every = 3;
    spec_.output = folder_ + "/out";
    store_ = *collectives::RendezvousStore::Listen("127.0.0.1:0");
  }

  using Ranks = std::vector<std::unique_ptr<Rank>>;
  Ranks Make(int world, const std::string& resume = "", int32_t attempt = 1) {
    Ranks ranks;
    ++groups_;
    for (int r = 0; r < world; ++r) {
      auto rank = std::make_unique<Rank>();
      rank->metrics = std::make_unique<LearnerMetrics>(&rank->registry);
      rank->peers = std::make_unique<RankPeers>(base_, r, world);
      rank->peers->pairs_per_batch = spec_.training.pairs_per_batch;
      rank->peers->publish_every = spec_.training.publish_every;
      if (world > 1) {
        rank->group = std::make_unique<collectives::ProcessGroup>(
            collectives::ProcessGroup::Options{.rank = r,
                                               .world = world,
                                               .name = absl::StrCat("job/", groups_),
                                               .store = store_->address()});
      }
      rank->run = std::make_unique<LearnerRun>(
          LearnerRun::Options{.job_id = "job",
                              .job_hash = "hash",
                              .attempt = attempt,
                              .spec = spec_,
                              .resume_checkpoint = resume},
          LearnerRun::Deps{.peers = rank->peers.get(),
                           .publish = [](const std::shared_ptr<const weights::Image>&) {},
                           .files = base::PosixFileSystem(),
                           .clock = base::RealClock(),
                           .waits = &rank->waits,
                           .metrics = rank->metrics.get(),
                           .group = rank->group.get()});
      ranks.push_back(std::move(rank));
    }
    return ranks;
  }

  static void Run(const Ranks& ranks) {
    std::vector<std::thread> threads;
    for (const auto& rank : ranks) {
      threads.emplace_back([&rank] { rank->ended = rank->run->Run(); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Leaves as `who` is told to when step `step` is reported.
  static void DrainAt(const Ranks& ranks, int64_t step, size_t who) {
    ranks[0]->peers->on_call = [&ranks, step, who](const std::string& call) {
      if (absl::StartsWith(call, absl::StrCat("step ", step, " at"))) {
        ranks[who]->run->SetDesired(Desired::kDrain);
      }
      return absl::OkStatus();
    };
  }

  static std::string Read(const std::string& folder, const std::string& name) {
    const auto content = base::PosixFileSystem()->Read(base::JoinPath(folder, name));
    EXPECT_TRUE(content.ok()) << content.status();
    return content.value_or("");
  }

  // Largest difference between the weights of two checkpoints.
  static double Difference(const std::string& a, const std::string& b) {
    const auto one = support::LoadModel(a), other = support::LoadModel(b);
    double largest = 0;
    for (size_t i = 0; i < one->NamedParameters().size(); ++i) {
      const torch::Tensor difference =
          (one->NamedParameters()[i].second - other->NamedParameters()[i].second).detach().abs();
      largest = std::max(largest, difference.max().item<double>());
    }
    return largest;
  }

  const std::string folder_, base_;
  job::JobSpec spec_;
  std::unique_ptr<collectives::RendezvousStore> store_;
  int groups_ = 0;
};

TEST_F(LearnerRanksTest, RankZeroSpeaksForAllAndTheWeightsAreThoseOfOneRank) {
  spec_.output = folder_ + "/alone";
  const Ranks alone = Make(1);
  Run(alone);
  spec_.output = folder_ + "/two";
  const Ranks two = Make(2);
  Run(two);
  for (const auto& rank : two) ASSERT_TRUE(rank->ended.ok()) << rank->ended;
  EXPECT_EQ(two[0]->peers->calls(), alone[0]->peers->calls());
  EXPECT_THAT(two[1]->peers->calls(), IsEmpty());
  EXPECT_THAT(two[1]->run->state(), StartsWith("rank 1 of 2: step 5"));
  const std::vector<StepReport> reports = two[0]->peers->reports();
  ASSERT_EQ(reports.size(), 5u);
  for (size_t i = 0; i < reports.size(); ++i) {
    EXPECT_EQ(reports[i].values.at("pairs"), 5);
    EXPECT_NEAR(reports[i].values.at("loss"), alone[0]->peers->reports()[i].values.at("loss"),
                1e-4);
  }
  EXPECT_LT(Difference(two[0]->peers->last_checkpoint(), alone[0]->peers->last_checkpoint()), 1e-4);
}

// Invariant 11 for two ranks. Stopped by either of them, within an interval and at its end.
TEST_F(LearnerRanksTest, ResumeOfTwoRanksIsBitEqualToNeverHavingStopped) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    spec_.model.dtype = dtype;
    spec_.output = absl::StrCat(folder_, "/", dtype);
    const Ranks unstopped = Make(2);
    Run(unstopped);
    const std::string whole = unstopped[0]->peers->last_checkpoint();
    for (const int64_t stop : {1, 3, 4}) {
      SCOPED_TRACE(absl::StrCat(dtype, ", ", stop));
      spec_.output = absl::StrCat(folder_, "/", dtype, "-stopped-", stop);
      const Ranks first = Make(2);
      DrainAt(first, stop, /*who=*/stop % 2);
      Run(first);
      for (const auto& rank : first) ASSERT_TRUE(rank->ended.ok()) << rank->ended;
      const std::string checkpoint = first[0]->peers->last_checkpoint();
      // Rank 1 may have agreed to the next step already.
      if (stop % 2 == 0) {
        EXPECT_THAT(checkpoint, HasSubstr(absl::StrCat("step-0000000", stop)));
      }
      EXPECT_THAT(checkpoint, Not(HasSubstr("step-00000005")));
      const Ranks rest = Make(2, checkpoint, /*attempt=*/2);
      Run(rest);
      EXPECT_EQ(rest[0]->peers->calls().back(), "finished 5: all steps made");
      for (const char* name : {"model.safetensors", "optimizer-00001-of-00002.safetensors",
                               "optimizer-00002-of-00002.safetensors", "training_state.json"}) {
        EXPECT_EQ(Read(rest[0]->peers->last_checkpoint(), name), Read(whole, name)) << name;
      }
    }
  }
}

TEST_F(LearnerRanksTest, AnotherNumberOfRanksGoesOnFromACheckpoint) {
  spec_.output = folder_ + "/whole";
  const Ranks unstopped = Make(2);
  Run(unstopped);
  for (const int world : {1, 3}) {
    spec_.output = absl::StrCat(folder_, "/", world);
    const Ranks first = Make(2);
    DrainAt(first, 3, 0);
    Run(first);
    const Ranks rest = Make(world, first[0]->peers->last_checkpoint(), /*attempt=*/2);
    Run(rest);
    EXPECT_EQ(rest[0]->peers->calls().back(), "finished 5: all steps made");
    EXPECT_LT(Difference(rest[0]->peers->last_checkpoint(), unstopped[0]->peers->last_checkpoint()),
              1e-4);
  }
}

TEST_F(LearnerRanksTest, APauseCheckpointsAndHoldsAllRanks) {
  const Ranks two = Make(2);
  two[0]->peers->on_call = [&](const std::string& call) {
    if (call == "step 2 at version 1") {
      for (const auto& rank : two) rank->run->SetDesired(Desired::kPause);
    }
    return absl::OkStatus();
  };
  std::thread client([&] {
    EXPECT_TRUE(two[0]->peers->AwaitCall("acknowledge 2"));
    for (const auto& rank : two) rank->run->SetDesired(Desired::kRun);
  });
  Run(two);
  client.join();
  EXPECT_EQ(two[0]->peers->calls().back(), "finished 5: all steps made");
}

TEST_F(LearnerRanksTest, AnEarlyCheckpointIsMadeByAllRanks) {
  const Ranks two = Make(2);
  two[0]->peers->ask_for_checkpoint = true;
  Run(two);
  EXPECT_THAT(two[0]->peers->calls(), Contains("checkpoint 1"));
  EXPECT_EQ(two[0]->peers->calls().back(), "finished 5: all steps made");
}

TEST_F(LearnerRanksTest, ALostRankEndsTheAttemptWithAReasonThatNamesItAndNotTheJob) {
  const Ranks two = Make(2);
  // As rank 0 hears it from the coordinator; rank 1 stands still meanwhile.
  two[1]->peers->on_call = [&](const std::string& call) {
    if (call == "batch 3") {
      two[0]->run->SetDesired(Desired::kAbandon, "rank 1 of 2: learner-2 was silent for 5s");
      two[1]->run->SetDesired(Desired::kAbandon, "over");
    }
    return absl::OkStatus();
  };
  Run(two);
  EXPECT_EQ(two[0]->ended.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(two[0]->ended.message()), HasSubstr("rank 1 of 2: learner-2 was silent"));
  EXPECT_THAT(two[0]->peers->calls(), Not(Contains(StartsWith("failed"))));
}

TEST_F(LearnerRanksTest, NumbersThatAreNeverFiniteFailTheJobWithThePairOfWhicheverRank) {
  spec_.training.max_skipped_steps = 1;
  const Ranks two = Make(2);
  two[1]->peers->spoil_scores = [](int64_t, std::vector<std::vector<float>>& scores) {
    scores[0][0] = std::numeric_limits<float>::quiet_NaN();
  };
  Run(two);
  EXPECT_THAT(two[0]->peers->calls().back(),
              ::testing::AllOf(StartsWith("failed 2: rank 0 of 2: "), HasSubstr("pair ")));
}

TEST_F(LearnerRanksTest, RanksThatBeginAtDifferentCheckpointsRefuseToTrain) {
  Ranks two = Make(2);
  Ranks other = Make(2, folder_ + "/elsewhere");
  --groups_;
  other[1]->group = std::make_unique<collectives::ProcessGroup>(collectives::ProcessGroup::Options{
      .rank = 1, .world = 2, .name = "job/1", .store = store_->address()});
  other[1]->run = std::make_unique<LearnerRun>(
      LearnerRun::Options{.job_id = "job",
                          .job_hash = "hash",
                          .spec = spec_,
                          .resume_checkpoint = folder_ + "/elsewhere"},
      LearnerRun::Deps{.peers = other[1]->peers.get(),
                       .publish = [](const std::shared_ptr<const weights::Image>&) {},
                       .files = base::PosixFileSystem(),
                       .clock = base::RealClock(),
                       .waits = &other[1]->waits,
                       .metrics = other[1]->metrics.get(),
                       .group = other[1]->group.get()});
  std::swap(two[1], other[1]);
  Run(two);
  EXPECT_THAT(two[0]->peers->calls().back(), HasSubstr("rank 1 begins at"));
}

}  // namespace
}  // namespace dtrpo::learner
