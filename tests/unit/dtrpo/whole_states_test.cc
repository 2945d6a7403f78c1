// Bidirectional models: a state is a forward of its own over prompt and whole canvas.
#include "common/dtrpo/whole_states.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <numeric>

#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using trajectory::Boundary;
using trajectory::DrawFrom;
using trajectory::MaskPlan;
using trajectory::Trajectory;

constexpr int32_t kMask = 99;

// P = 2, B = 2, two blocks and a third that was never reached.
Trajectory Stopped() {
  Trajectory t;
  t.id = "stopped";
  t.prompt_tokens = {10, 11};
  t.block_size = 2;
  t.block_origin = trajectory::BlockOrigin::kResponse;
  t.response_tokens = {20, 21, 22, kMask, kMask, kMask};
  t.unmask_step = {2, 1, 1, -1, -1, -1};
  t.stop_index = 2;
  t.sampler.max_new_tokens = 6;
  t.sampler.first_token = trajectory::FirstToken::kNone;
  return t;
}

Trajectory AnyTrajectory(int64_t prompt, uint64_t seed) {
  return support::RandomTrajectory({.prompt_tokens = prompt,
                                    .max_new_tokens = 10,
                                    .stop_index = seed % 3 == 0 ? 5 : -1,
                                    .bidirectional = true},
                                   seed);
}

TEST(WholeStatesTest, EachStateIsASegmentOverPromptAndWholeCanvas) {
  const Trajectory t = Stopped();
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const ScoreInput input{&t, &plan};
  for (const int32_t shift : {0, 1}) {
    const auto batches = LayOutWholeStates(
        {&input, 1}, {.mask_id = kMask, .vocabulary_size = 100, .logit_shift = shift});
    ASSERT_TRUE(batches.ok()) << batches.status();
    ASSERT_EQ(batches->size(), 1u);
    const RemaskedBatch& batch = batches->front();
    EXPECT_THAT(batch.rows.token_ids,
                ElementsAre(10, 11, kMask, kMask, kMask, kMask, kMask, kMask,  // block 0, step 1
                            10, 11, kMask, 21, kMask, kMask, kMask, kMask,     // block 0, step 2
                            10, 11, 20, 21, kMask, kMask, kMask, kMask));      // block 1, step 1
    EXPECT_THAT(batch.rows.positions,
                ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7,  //
                            0, 1, 2, 3, 4, 5, 6, 7));
    ASSERT_EQ(batch.rows.segments.size(), 3u);
    EXPECT_EQ(batch.rows.segments[1].keys[0].begin, 8);
    EXPECT_EQ(batch.rows.segments[1].keys[0].end, 16);
    EXPECT_THAT(batch.target_rows, ElementsAre(3 - shift, 10 - shift, 20 - shift));
    EXPECT_THAT(batch.target_tokens, ElementsAre(21, 20, 22));
  }
}

TEST(WholeStatesTest, StatesShareABatchWhileTheirRowsStayWithinTheBound) {
  const Trajectory t = Stopped();
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const ScoreInput input{&t, &plan};
  const auto sizes = [&](int64_t max_rows) {
    const auto batches = LayOutWholeStates(
        {&input, 1}, {.mask_id = kMask, .vocabulary_size = 100, .max_rows = max_rows});
    std::vector<size_t> rows;
    for (const RemaskedBatch& batch : *batches) rows.push_back(batch.rows.token_ids.size());
    return rows;
  };
  EXPECT_THAT(sizes(1), ElementsAre(8, 8, 8));
  EXPECT_THAT(sizes(16), ElementsAre(16, 8));
  EXPECT_THAT(sizes(24), ElementsAre(24));
}

TEST(WholeStatesTest, RefusesWhatDoesNotFitNamingIt) {
  const auto refusal = [](const Trajectory& t) {
    const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
    const ScoreInput input{&t, &plan};
    return std::string(LayOutWholeStates({&input, 1}, {.mask_id = kMask, .vocabulary_size = 100})
                           .status()
                           .message());
  };
  Trajectory t = Stopped();
  t.block_origin = trajectory::BlockOrigin::kAbsolute;
  EXPECT_THAT(refusal(t), HasSubstr("'stopped': block_origin"));
  t = Stopped();
  t.unmask_step[0] = 0;
  EXPECT_THAT(refusal(t), HasSubstr("step 0"));
  t = Stopped();
  t.prompt_tokens[0] = 100;
  EXPECT_THAT(refusal(t), HasSubstr("token id 100"));
}

// Invariant 2 for bidirectional models.
TEST(WholeStatesTest, ScoresEqualTheTokenByTokenOnes) {
  for (const bool shift : {false, true}) {
    const auto model = BidirectionalModel(1, shift);
    for (const int64_t prompt : {1, 2, 3, 4, 5, 8, 9}) {
      const Trajectory t = AnyTrajectory(prompt, static_cast<uint64_t>(prompt));
      ASSERT_TRUE(Validate(t).ok()) << Validate(t);
      const std::vector<double> expected = TokenLogProbs(*model, t);
      for (const trajectory::MaskPlanOptions& options :
           {trajectory::MaskPlanOptions{.kind = trajectory::PlanKind::kExact},
            trajectory::MaskPlanOptions{},
            trajectory::MaskPlanOptions{.draws = 2, .draw_from = DrawFrom::kSequence}}) {
        const MaskPlan plan = MakeMaskPlan(t, options, 0);
        EXPECT_THAT(Score(*model, t, plan), Pointwise(DoubleNear(1e-9), Planned(expected, plan)));
      }
    }
  }
}

TEST(WholeStatesTest, ABatchScoresLikeItsMembersAlone) {
  const auto model = BidirectionalModel(1, true);
  std::vector<Trajectory> trajectories;
  std::vector<MaskPlan> plans;
  for (uint64_t i = 0; i < 5; ++i) trajectories.push_back(AnyTrajectory(1 + 2 * i, i));
  for (const Trajectory& t : trajectories) plans.push_back(MakeMaskPlan(t, {.draws = 2}, 0));
  std::vector<ScoreInput> inputs;
  std::vector<double> alone;
  for (size_t i = 0; i < plans.size(); ++i) {
    inputs.push_back({&trajectories[i], &plans[i]});
    for (const double x : Score(*model, trajectories[i], plans[i])) alone.push_back(x);
  }
  torch::NoGradGuard no_grad;
  const auto together = ScoreTargets(*model, inputs, Boundary::kClean);
  ASSERT_TRUE(together.ok()) << together.status();
  EXPECT_THAT(HostNumbers(*together), Pointwise(DoubleNear(1e-9), alone));
}

// The learner's path: scores are differentiable, and a step along the gradient raises them.
TEST(WholeStatesTest, GradientsReachTheParameters) {
  const auto model = BidirectionalModel(1, true, /*requires_grad=*/true);
  const Trajectory t = AnyTrajectory(3, 1);
  const MaskPlan plan = MakeMaskPlan(t, {.draw_from = DrawFrom::kSequence}, 0);
  const ScoreInput input{&t, &plan};
  const auto sum = [&] {
    const auto scores = ScoreTargets(*model, {&input, 1}, Boundary::kClean);
    EXPECT_TRUE(scores.ok()) << scores.status();
    return scores->sum();
  };
  const torch::Tensor before = sum();
  before.backward();
  {
    torch::NoGradGuard no_grad;
    for (const torch::Tensor& parameter : model->Parameters()) {
      ASSERT_TRUE(parameter.grad().defined());
      parameter.add_(parameter.grad(), 1e-5);
    }
  }
  EXPECT_GT(sum().item<double>(), before.item<double>());
}

// Invariant 2: the mean over all draws is the exact log-ratio.
TEST(WholeStatesTest, EnumerationOfAllDrawsFromTheSequenceEqualsTheExactLogRatio) {
  torch::NoGradGuard no_grad;
  for (const bool shift : {false, true}) {
    const auto policy = BidirectionalModel(1, shift), reference = BidirectionalModel(2, shift);
    for (const int32_t draws : {1, 2, 3}) {
      const Trajectory t = support::RandomTrajectory({.prompt_tokens = 4,
                                                      .max_new_tokens = 10,
                                                      .max_steps = 9,
                                                      .stop_index = draws == 2 ? 6 : -1,
                                                      .bidirectional = true},
                                                     static_cast<uint64_t>(draws));
      const std::vector<double> p = TokenLogProbs(*policy, t), r = TokenLogProbs(*reference, t);
      double exact = 0;
      for (int64_t i = 0; i < TargetCount(t); ++i) exact += p[i] - r[i];

      const std::vector<MaskPlan> plans = AllSequencePlans(t, draws);
      ASSERT_GT(plans.size(), 4u);
      std::vector<ScoreInput> inputs;
      std::vector<const MaskPlan*> borrowed;
      for (const MaskPlan& plan : plans) {
        inputs.push_back({&t, &plan});
        borrowed.push_back(&plan);
      }
      const auto ratios = HostNumbers(
          LogRatios(borrowed, *ScoreTargets(*policy, inputs, Boundary::kClean),
                    *ScoreTargets(*reference, inputs, Boundary::kClean), job::ObjectiveSpec()));
      const double mean =
          std::accumulate(ratios.begin(), ratios.end(), 0.0) / static_cast<double>(ratios.size());
      EXPECT_NEAR(mean, exact, 1e-9) << "shift " << shift << " draws " << draws;
      double spread = 0;
      for (const double ratio : ratios) spread = std::max(spread, std::abs(ratio - exact));
      EXPECT_GT(spread, 0.1) << "the draws make no difference, so this proves nothing";
    }
  }
}

}  // namespace
}  // namespace dtrpo::objective
