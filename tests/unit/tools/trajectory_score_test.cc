#include "tools/dtrpo/trajectory_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

// Prompt of 3, blocks of 4: a first block with one response token, a second that begins in the
// response and stops at its third token; the fourth was committed all the same.
trajectory::Trajectory Example() {
  trajectory::Trajectory t;
  t.id = "a";
  t.prompt_tokens = {1, 2, 3};
  t.response_tokens = {4, 5, 6, 0, 7};
  t.unmask_step = {1, 0, 1, 2, 1};
  t.behaviour_logprob = {-1, -1, -1, -1, -1};
  t.block_size = 4;
  t.stop_index = 3;
  t.finish_reason = trajectory::FinishReason::kStop;
  t.sampler.max_new_tokens = 5;
  t.weights_version = {0};
  return t;
}

// The log-probability -(i + 1) for response token i, in plan order.
std::vector<double> Values(const trajectory::MaskPlan& plan) {
  std::vector<double> values;
  for (const trajectory::BlockPlan& block : plan.blocks) {
    if (block.first_token >= 0) values.push_back(-1.0 - block.first_token);
    for (const trajectory::ScoredState& state : block.states) {
      for (const int64_t i : state.targets) values.push_back(-1.0 - i);
    }
  }
  return values;
}

TrajectoryScore Score(const trajectory::Trajectory& t, const trajectory::MaskPlanOptions& options) {
  return MakeScore(t, options, Values(ScorePlan(t, options)));
}

TEST(TrajectoryScoreTest, ExactScoreHasEveryCommittedTokenButSumsTargetsOnly) {
  trajectory::MaskPlanOptions options;
  options.kind = trajectory::PlanKind::kExact;
  const TrajectoryScore score = Score(Example(), options);
  EXPECT_EQ(score.id, "a");
  EXPECT_THAT(score.token_logprob, ElementsAre(-1, -2, -3, -4, -5));
  EXPECT_DOUBLE_EQ(score.logprob, -10);
  ASSERT_EQ(score.blocks.size(), 2u);
  EXPECT_EQ(score.blocks[0].steps, 1);
  EXPECT_FALSE(score.blocks[0].first_token_term.has_value());
  EXPECT_EQ(score.blocks[1].steps, 2);
  EXPECT_THAT(score.blocks[1].drawn_steps, ElementsAre(1, 2));
  EXPECT_THAT(score.blocks[1].terms, ElementsAre(-3, -4));  // not the token behind the stop
  EXPECT_EQ(score.blocks[1].first_token_term, -2);
}

TEST(TrajectoryScoreTest, EstimateWeighsDrawnStepsByStepsPerDraw) {
  trajectory::MaskPlanOptions options;
  options.draws = 1;
  const TrajectoryScore score = Score(Example(), options);
  EXPECT_TRUE(score.token_logprob.empty());
  ASSERT_EQ(score.blocks[1].terms.size(), 1u);
  EXPECT_DOUBLE_EQ(score.logprob, -1 + -2 + 2 * score.blocks[1].terms[0]);
}

TEST(TrajectoryScoreTest, AsManyDrawsAsStepsGiveTheExactSum) {
  trajectory::MaskPlanOptions options;
  options.draws = 5;
  EXPECT_THAT(Score(Example(), options).logprob, DoubleEq(-10));
}

// A pair of masks of block 1: both of its tokens with weight 1/2, one of them with weight 1.
TEST(TrajectoryScoreTest, RandomMasksEstimateTheElboAndSayHowManyTokensEachMasks) {
  trajectory::MaskPlanOptions options;
  options.kind = trajectory::PlanKind::kVrpo;
  options.draws = 2;
  const TrajectoryScore score = Score(Example(), options);
  const BlockScore& block = score.blocks.at(1);
  EXPECT_THAT(block.masked, ::testing::UnorderedElementsAre(1, 2));
  EXPECT_TRUE(block.drawn_steps.empty());
  const size_t one = block.masked[0] == 1 ? 0 : 1;
  EXPECT_DOUBLE_EQ(block.terms[1 - one], -3 - 4);
  EXPECT_DOUBLE_EQ(score.logprob, -1 - 2 + block.terms[one] + block.terms[1 - one] / 2);
  const auto line = nlohmann::json::parse(ToJsonLine(score));
  EXPECT_EQ(line["blocks"][1]["masked"].size(), 2u);
  EXPECT_FALSE(line.contains("token_logprob"));
}

TEST(TrajectoryScoreTest, JsonNamesEveryField) {
  trajectory::MaskPlanOptions options;
  options.kind = trajectory::PlanKind::kExact;
  const auto line = nlohmann::json::parse(ToJsonLine(Score(Example(), options)));
  EXPECT_EQ(line["id"], "a");
  EXPECT_EQ(line["logprob"], -10.0);
  EXPECT_EQ(line["token_logprob"].size(), 5u);
  EXPECT_EQ(line["blocks"][0]["block"], 0);
  EXPECT_TRUE(line["blocks"][0]["first_token_term"].is_null());
  EXPECT_EQ(line["blocks"][1]["steps"], 2);
  EXPECT_EQ(line["blocks"][1]["drawn_steps"], nlohmann::json({1, 2}));
  EXPECT_EQ(line["blocks"][1]["terms"], nlohmann::json({-3.0, -4.0}));
  options.kind = trajectory::PlanKind::kDtrpo;
  EXPECT_FALSE(
      nlohmann::json::parse(ToJsonLine(Score(Example(), options))).contains("token_logprob"));
}

}  // namespace
}  // namespace dtrpo::tools
