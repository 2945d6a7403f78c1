#include "services/reference/reference_scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/base/retry_after.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::reference {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr trajectory::MaskPlanOptions kPlan = {.job_seed = 7, .draws = 2};

class ReferenceScorerTest : public ::testing::Test {
 protected:
  ReferenceScorerTest() : path_(support::TestFolder() + "/base") {
    support::WriteTinyCheckpoint(path_);
    for (uint64_t seed = 1; seed <= 7; ++seed) {
      items_.push_back({support::RandomTrajectory(support::TinyShape(), seed), 0});
    }
  }

  absl::Status Load(const std::string& job_id, const std::string& path) {
    job::ModelSpec model;
    model.path = path;
    return scorer_.Load(job_id, model);
  }

  // One forward over this item alone.
  std::vector<float> Direct(const ScoreItem& item, const trajectory::MaskPlanOptions& options) {
    torch::NoGradGuard no_grad;
    const auto plan = trajectory::MakeMaskPlan(item.trajectory, options, item.use_index);
    const objective::ScoreInput input{&item.trajectory, &plan};
    const auto scores =
        objective::ScoreTargets(*support::LoadModel(path_), {&input, 1}, options.boundary);
    DTRPO_CHECK_OK(scores);
    const float* first = scores->const_data_ptr<float>();
    return {first, first + scores->numel()};
  }

  double Forwards() const { return registry_.Value("dtrpo_reference_forwards_total"); }

  const std::string path_;
  std::vector<ScoreItem> items_;
  base::FakeMetrics registry_;
  ReferenceMetrics metrics_{&registry_};
  ReferenceScorer scorer_{{.batch_trajectories = 3}, base::RealClock(), &metrics_};
};

TEST_F(ReferenceScorerTest, ScoresAreThoseOfADirectForward) {
  ASSERT_TRUE(Load("job", path_).ok());
  const auto scores = scorer_.Score("job", "", kPlan, items_);
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->targets.size(), items_.size());
  for (size_t i = 0; i < items_.size(); ++i) {
    const std::vector<float> direct = Direct(items_[i], kPlan);
    ASSERT_EQ(scores->targets[i].size(), direct.size());
    for (size_t j = 0; j < direct.size(); ++j) {
      EXPECT_NEAR(scores->targets[i][j], direct[j], 1e-5);
      EXPECT_LT(direct[j], 0);
    }
  }
  EXPECT_EQ(Forwards(), 3);  // seven trajectories, three a forward
}

TEST_F(ReferenceScorerTest, WhatWasScoredBeforeCostsNoForwardAndIsTheSameToTheBit) {
  ASSERT_TRUE(Load("job", path_).ok());
  const auto first = scorer_.Score("job", "", kPlan, items_);
  const auto second = scorer_.Score("job", first->sha256, kPlan, items_);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->targets, first->targets);
  EXPECT_EQ(Forwards(), 3);
  EXPECT_EQ(registry_.Value("dtrpo_reference_cache_hits_total"), 7);
  EXPECT_EQ(registry_.Value("dtrpo_reference_scored_trajectories_total"), 14);
}

TEST_F(ReferenceScorerTest, AnotherPlanUseOrContentIsScoredAnew) {
  ASSERT_TRUE(Load("job", path_).ok());
  items_.resize(1);
  ASSERT_TRUE(scorer_.Score("job", "", kPlan, items_).ok());
  const auto scored_anew = [&](const trajectory::MaskPlanOptions& plan) {
    const double before = Forwards();
    const auto scores = scorer_.Score("job", "", plan, items_);
    EXPECT_TRUE(scores.ok()) << scores.status();
    EXPECT_EQ(scores->targets[0].size(), Direct(items_[0], plan).size());
    EXPECT_NEAR(scores->targets[0].back(), Direct(items_[0], plan).back(), 1e-5);
    return Forwards() > before;
  };
  EXPECT_TRUE(scored_anew({.job_seed = 8, .draws = 2}));
  EXPECT_TRUE(scored_anew({.job_seed = 7, .draws = 1}));
  EXPECT_TRUE(scored_anew({.job_seed = 7, .kind = trajectory::PlanKind::kExact}));
  EXPECT_TRUE(scored_anew({.job_seed = 7, .kind = trajectory::PlanKind::kVrpo, .draws = 2}));
  EXPECT_TRUE(scored_anew(
      {.job_seed = 7, .kind = trajectory::PlanKind::kVrpo, .draws = 2, .antithetic = false}));
  EXPECT_TRUE(scored_anew({.job_seed = 7, .kind = trajectory::PlanKind::kRandomMask, .draws = 2}));
  EXPECT_TRUE(scored_anew({.job_seed = 7, .draws = 2, .boundary = trajectory::Boundary::kNoisy}));
  items_[0].use_index = 1;
  EXPECT_TRUE(scored_anew(kPlan));
  items_[0].trajectory.response_tokens.back() ^= 1;  // the same id, as imported pairs may have
  EXPECT_TRUE(scored_anew(kPlan));
  EXPECT_FALSE(scored_anew(kPlan));
}

TEST_F(ReferenceScorerTest, BeforeItsJobIsLoadedTheCallerIsToComeAgain) {
  for (const bool other_job : {false, true}) {
    if (other_job) {
      ASSERT_TRUE(Load("other", path_).ok());
    }
    const absl::Status status = scorer_.Score("job", "", kPlan, items_).status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_EQ(base::GetReason(status), "reference_loading");
    EXPECT_TRUE(base::GetRetryAfter(status).has_value());
  }
  ASSERT_TRUE(Load("job", path_).ok());
  EXPECT_TRUE(scorer_.Score("job", "", kPlan, items_).ok());
  scorer_.Unload();
  EXPECT_TRUE(absl::IsUnavailable(scorer_.Score("job", "", kPlan, items_).status()));
}

TEST_F(ReferenceScorerTest, WeightsOtherThanTheWantedOnesDontAnswer) {
  ASSERT_TRUE(Load("job", path_).ok());
  const absl::Status status = scorer_.Score("job", "0123", kPlan, items_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("0123"));
}

TEST_F(ReferenceScorerTest, AnotherJobsModelTakesThePlaceOfTheOneBefore) {
  ASSERT_TRUE(Load("job", path_).ok());
  const auto before = scorer_.Score("job", "", kPlan, items_);
  const std::string other = path_ + "-2";
  support::WriteTinyCheckpoint(other, {.seed = 2});
  ASSERT_TRUE(Load("next", other).ok());
  const auto after = scorer_.Score("next", "", kPlan, items_);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_NE(after->sha256, before->sha256);
  EXPECT_NE(after->targets, before->targets);
}

TEST_F(ReferenceScorerTest, AModelThatIsntThereIsNamedAndNothingServes) {
  ASSERT_TRUE(Load("job", path_).ok());
  const absl::Status status = Load("next", path_ + "/nowhere");
  EXPECT_THAT(std::string(status.message()), HasSubstr("nowhere"));
  EXPECT_TRUE(absl::IsUnavailable(scorer_.Score("next", "", kPlan, items_).status()));
}

TEST_F(ReferenceScorerTest, ATokenOutsideTheVocabularyIsRefusedNamingTrajectoryAndField) {
  ASSERT_TRUE(Load("job", path_).ok());
  items_[4].trajectory.prompt_tokens[0] = 40;
  const absl::Status status = scorer_.Score("job", "", kPlan, items_).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(items_[4].trajectory.id), HasSubstr("prompt_tokens")));
}

// Stands still where the first forward begins, until it is told to go on.
class ClockAtTheForward : public base::Clock {
 public:
  absl::Time Now() override {
    if (reached.exchange(true)) return absl::Now();
    go_on.WaitForNotification();
    return absl::Now();
  }
  void SleepUntil(absl::Time wakeup) override { base::RealClock()->SleepUntil(wakeup); }
  bool AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition,
                  absl::Time deadline) override {
    return base::RealClock()->AwaitUntil(mutex, condition, deadline);
  }

  std::atomic<bool> reached = false;
  absl::Notification go_on;
};

class SharedForwardTest : public ReferenceScorerTest {
 protected:
  SharedForwardTest() {
    job::ModelSpec model;
    model.path = path_;
    EXPECT_TRUE(shared_.Load("job", model).ok());
    EXPECT_TRUE(Load("job", path_).ok());
  }
  ~SharedForwardTest() override {
    for (std::thread& caller : callers_) caller.join();
  }

  // Another learner asks for these items, and gets what it would get alone.
  void Ask(size_t begin, size_t count, const trajectory::MaskPlanOptions& plan = kPlan) {
    callers_.emplace_back([this, begin, count, plan] {
      const auto items = absl::MakeConstSpan(items_).subspan(begin, count);
      const auto scores = shared_.Score("job", "", plan, items);
      ASSERT_TRUE(scores.ok()) << scores.status();
      for (size_t i = 0; i < count; ++i) {
        const std::vector<float> direct = Direct(items[i], plan);
        ASSERT_EQ(scores->targets[i].size(), direct.size());
        for (size_t j = 0; j < direct.size(); ++j) {
          EXPECT_NEAR(scores->targets[i][j], direct[j], 1e-5);
        }
      }
    });
  }
  void Join() {
    for (std::thread& caller : callers_) caller.join();
    callers_.clear();
  }
  static void Await(const std::function<bool()>& wanted) {
    for (int i = 0; i < 3000 && !wanted(); ++i) absl::SleepFor(absl::Milliseconds(10));
    ASSERT_TRUE(wanted());
  }
  double Waiting() const { return registry_.Value("dtrpo_reference_waiting_trajectories"); }

  ClockAtTheForward clock_;
  ReferenceScorer shared_{{.batch_trajectories = 6}, &clock_, &metrics_};
  std::vector<std::thread> callers_;
};

TEST_F(SharedForwardTest, WhatSeveralLearnersAskForWhileAForwardRunsSharesTheNextOne) {
  Ask(0, 2);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return clock_.reached.load(); }));
  Ask(2, 2);
  Ask(4, 1, {.job_seed = 8, .draws = 1});  // of another learner's plan
  Ask(5, 2);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return Waiting() == 5; }));
  clock_.go_on.Notify();
  Join();
  EXPECT_EQ(Forwards(), 2);
  EXPECT_EQ(registry_.Value("dtrpo_reference_shared_forwards_total"), 1);
  EXPECT_EQ(registry_.Value("dtrpo_reference_scored_trajectories_total"), 7);
  EXPECT_EQ(Waiting(), 0);
}

TEST_F(SharedForwardTest, ADrawThatTwoAskForAtOnceIsScoredOnce) {
  Ask(0, 3);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return clock_.reached.load(); }));
  Ask(0, 3);  // the same call again, as after a deadline
  ASSERT_NO_FATAL_FAILURE(Await([&] { return Waiting() == 3; }));
  clock_.go_on.Notify();
  Join();
  EXPECT_EQ(Forwards(), 1);
}

TEST_F(SharedForwardTest, AForwardHoldsNoMoreThanItsLimit) {
  Ask(0, 1);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return clock_.reached.load(); }));
  Ask(1, 4);
  Ask(3, 4);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return Waiting() == 8; }));
  clock_.go_on.Notify();
  Join();
  EXPECT_EQ(Forwards(), 2);  // 1; 1, 2, 3, 4, 5, 6: items 3 and 4 were asked for twice
}

// Its plan doesn't fit its model: it has no step-0 tokens.
TEST_F(SharedForwardTest, WhatCantBeScoredTakesNobodyElsesScoresWithIt) {
  support::TrajectoryShape shape = support::TinyShape();
  shape.token_shift = !shape.token_shift;
  const ScoreItem bad{support::RandomTrajectory(shape, 20), 0};
  ASSERT_FALSE(scorer_.Score("job", "", kPlan, {&bad, 1}).ok());
  Ask(0, 1);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return clock_.reached.load(); }));
  Ask(1, 2);
  absl::Status refused;
  callers_.emplace_back([&] { refused = shared_.Score("job", "", kPlan, {&bad, 1}).status(); });
  ASSERT_NO_FATAL_FAILURE(Await([&] { return Waiting() == 3; }));
  clock_.go_on.Notify();
  Join();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_EQ(refused.message(), scorer_.Score("job", "", kPlan, {&bad, 1}).status().message());
}

TEST_F(SharedForwardTest, ACallThatBeganIsAnsweredByItsModelThoughAnotherIsLoadedMeanwhile) {
  Ask(0, 2);
  ASSERT_NO_FATAL_FAILURE(Await([&] { return clock_.reached.load(); }));
  shared_.Unload();
  clock_.go_on.Notify();
  Join();
  EXPECT_EQ(registry_.Value("dtrpo_reference_cache_bytes"), 0);
}

}  // namespace
}  // namespace dtrpo::reference
