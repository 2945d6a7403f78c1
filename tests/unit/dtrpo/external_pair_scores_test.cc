// Pairs from elsewhere, with the order they were given, are scored exactly like sampled ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/trajectory/external_pair.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using ::testing::DoubleNear;
using ::testing::Pointwise;
using trajectory::MaskPlan;
using trajectory::OrderKind;

trajectory::PreferencePair MakePair(const model::Transformer& model, int64_t prompt,
                                    OrderKind kind) {
  const checkpoint::ModelDescriptor& descriptor = model.descriptor();
  const bool bidirectional = descriptor.attention == checkpoint::Attention::kBidirectional;
  trajectory::CanvasRules rules;
  rules.block_size = descriptor.block_size;
  if (bidirectional) rules.block_origin = trajectory::BlockOrigin::kResponse;
  rules.first_tokens = descriptor.logit_shift == 1 && !bidirectional;
  rules.mask_id = descriptor.mask_id;
  rules.stop_ids = descriptor.stop_ids;
  rules.vocabulary_size = descriptor.vocab_size;
  rules.max_new_tokens = 12;
  std::vector<int32_t> tokens(prompt, 4);
  tokens[prompt / 2] = 5;
  const auto pair =
      MakeExternalPair({"p", tokens, {1, 2, 3, 4, 5, 6, 7}, {7, 6, 5, 4}}, rules,
                       {.kind = kind, .steps = 2, .seed = static_cast<uint64_t>(prompt)});
  EXPECT_TRUE(pair.ok()) << pair.status();
  return pair.value_or(trajectory::PreferencePair());
}

void ExpectStepByStepScores(const model::Transformer& model, double rounding) {
  for (const OrderKind kind : {OrderKind::kRandom, OrderKind::kNoise}) {
    for (int64_t prompt = 1; prompt <= 5; ++prompt) {
      const trajectory::PreferencePair pair = MakePair(model, prompt, kind);
      for (const trajectory::Trajectory* t : {&pair.chosen, &pair.rejected}) {
        const MaskPlan plan = MakeMaskPlan(*t, {.kind = trajectory::PlanKind::kExact}, 0);
        EXPECT_EQ(plan.target_count, trajectory::TargetCount(*t));
        EXPECT_THAT(Score(model, *t, plan),
                    Pointwise(DoubleNear(rounding), Planned(TokenLogProbs(model, *t), plan)));
      }
    }
  }
}

TEST(ExternalPairScoresTest, BlockCausalScoresEqualTheStepByStepOnes) {
  for (const bool shift : {true, false}) ExpectStepByStepScores(*ScoredModel(1, shift), 1e-10);
}

TEST(ExternalPairScoresTest, BidirectionalScoresEqualTheStepByStepOnes) {
  for (const bool shift : {true, false})
    ExpectStepByStepScores(*BidirectionalModel(1, shift), 1e-9);
}

}  // namespace
}  // namespace dtrpo::objective
