#include "common/training/frozen_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "common/base/check.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;
using trajectory::Boundary;
using trajectory::MaskPlan;
using trajectory::Trajectory;

class FrozenScoresTest : public ::testing::Test {
 protected:
  FrozenScoresTest() {
    const std::string path = support::TestFolder() + "/base";
    support::WriteTinyCheckpoint(path);
    model_ = support::LoadModel(path);
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      trajectories_.push_back(support::RandomTrajectory(support::TinyShape(), seed));
    }
  }

  // Each plan scored by itself.
  std::vector<std::vector<float>> Plain(const std::vector<MaskPlan>& plans, Boundary boundary) {
    torch::NoGradGuard no_grad;
    std::vector<std::vector<float>> result;
    for (size_t i = 0; i < plans.size(); ++i) {
      const objective::ScoreInput input{&trajectories_[i], &plans[i]};
      const auto scores = objective::ScoreTargets(*model_, {&input, 1}, boundary);
      DTRPO_CHECK_OK(scores);
      const std::vector<double> numbers = objective::HostNumbers(*scores);
      result.emplace_back(numbers.begin(), numbers.end());
    }
    return result;
  }

  std::vector<MaskPlan> Plans(const trajectory::MaskPlanOptions& options, int32_t use) const {
    std::vector<MaskPlan> plans;
    for (const Trajectory& t : trajectories_) plans.push_back(MakeMaskPlan(t, options, use));
    return plans;
  }

  void ExpectPlainScores(FrozenScores& scores, const trajectory::MaskPlanOptions& options,
                         int32_t use) {
    const std::vector<MaskPlan> plans = Plans(options, use);
    std::vector<objective::ScoreInput> inputs;
    for (size_t i = 0; i < plans.size(); ++i) inputs.push_back({&trajectories_[i], &plans[i]});
    const auto found = scores.Score(inputs);
    ASSERT_TRUE(found.ok()) << found.status();
    const auto expected = Plain(plans, options.boundary);
    for (size_t i = 0; i < plans.size(); ++i) {
      EXPECT_THAT((*found)[i], Pointwise(FloatNear(1e-4f), expected[i]));
    }
  }

  std::unique_ptr<model::Transformer> model_;
  std::vector<Trajectory> trajectories_;
};

TEST_F(FrozenScoresTest, EveryPlanGetsTheScoresOfAForwardOfItsOwn) {
  for (const int64_t max_rows : {1, 40, 1 << 13}) {
    FrozenScores scores(model_.get(), {.max_rows = max_rows});
    for (int32_t use = 0; use < 8; ++use) {
      ExpectPlainScores(scores, {.job_seed = 5, .draws = 1 + use % 2}, use);
    }
  }
}

TEST_F(FrozenScoresTest, AStateIsScoredOnceHoweverOftenItIsDrawn) {
  FrozenScores scores(model_.get(), {});
  ExpectPlainScores(scores, {.kind = trajectory::PlanKind::kExact}, 0);
  const int64_t all = scores.scored_states();
  EXPECT_GT(all, 0);
  for (int32_t use = 0; use < 5; ++use) ExpectPlainScores(scores, {.draws = 1}, use);
  EXPECT_EQ(scores.scored_states(), all);

  FrozenScores drawn(model_.get(), {});
  int64_t before = 0;
  for (int32_t use = 0; use < 40; ++use) {
    ExpectPlainScores(drawn, {.draws = 1}, use);
    EXPECT_GE(drawn.scored_states(), before);
    before = drawn.scored_states();
  }
  EXPECT_EQ(drawn.scored_states(), all);  // by now each was drawn
}

TEST_F(FrozenScoresTest, RandomMasksAreScoredAnewAndTheStatesOfStepsBesideThemStay) {
  FrozenScores scores(model_.get(), {.max_rows = 60});
  ExpectPlainScores(scores, {.kind = trajectory::PlanKind::kExact}, 0);
  const int64_t exact = scores.scored_states();
  for (int32_t use = 0; use < 4; ++use) {
    for (const auto kind : {trajectory::PlanKind::kVrpo, trajectory::PlanKind::kRandomMask}) {
      ExpectPlainScores(scores, {.kind = kind, .draws = 3, .behaviour_states = use % 2 == 1}, use);
    }
  }
  const int64_t with_masks = scores.scored_states();
  EXPECT_GT(with_masks, exact);
  ExpectPlainScores(scores, {.draws = 1}, 1);
  EXPECT_EQ(scores.scored_states(), with_masks);
}

TEST_F(FrozenScoresTest, WithTheNoisyBoundaryNothingIsKeptForItDependsOnTheOtherDraws) {
  FrozenScores scores(model_.get(), {.boundary = Boundary::kNoisy});
  for (int32_t use = 0; use < 8; ++use) {
    ExpectPlainScores(scores, {.draws = 1, .boundary = Boundary::kNoisy}, use);
  }
}

}  // namespace
}  // namespace dtrpo::training
