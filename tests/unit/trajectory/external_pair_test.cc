#include "common/trajectory/external_pair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/trajectory/block_layout.h"

namespace dtrpo::trajectory {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kMask = 99;
constexpr int32_t kStop = 98;

CanvasRules BlockCausal(bool shift, int32_t block = 8) {
  CanvasRules rules;
  rules.block_size = block;
  rules.first_tokens = shift;
  rules.mask_id = kMask;
  rules.stop_ids = {kStop, 97};
  rules.vocabulary_size = 100;
  rules.max_new_tokens = 64;
  return rules;
}

CanvasRules Bidirectional(int32_t block = 8) {
  CanvasRules rules = BlockCausal(/*shift=*/false, block);
  rules.block_origin = BlockOrigin::kResponse;
  return rules;
}

std::vector<int32_t> Counting(int64_t count, int32_t first = 1) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

ExternalPair Pair(int64_t prompt = 5, int64_t chosen = 20, int64_t rejected = 11) {
  return {"file/7", Counting(prompt), Counting(chosen), Counting(rejected, 30)};
}

PreferencePair Make(const ExternalPair& pair, const CanvasRules& rules,
                    const SyntheticOrder& order = {}) {
  const auto made = MakeExternalPair(pair, rules, order);
  EXPECT_TRUE(made.ok()) << made.status();
  return made.value_or(PreferencePair());
}

std::string Refusal(const ExternalPair& pair, CanvasRules rules = BlockCausal(true)) {
  return std::string(MakeExternalPair(pair, rules, {}).status().message());
}

TEST(ExternalPairTest, ItIsMarkedAsExternalAndEndsWithAStopToken) {
  ExternalPair pair = Pair();
  pair.rejected_tokens.push_back(97);  // a stop token of its own stays
  const PreferencePair made = Make(pair, BlockCausal(true));
  EXPECT_EQ(made.id, "file/7");
  EXPECT_EQ(made.chosen.id, "file/7/chosen");
  EXPECT_EQ(made.rejected.id, "file/7/rejected");
  EXPECT_EQ(made.chosen.stop_index, 20);
  EXPECT_EQ(made.chosen.response_tokens[20], kStop);
  EXPECT_EQ(made.rejected.stop_index, 11);
  EXPECT_EQ(made.rejected.response_tokens[11], 97);
  for (const Trajectory* t : {&made.chosen, &made.rejected}) {
    EXPECT_TRUE(t->external);
    EXPECT_EQ(t->finish_reason, FinishReason::kStop);
    EXPECT_TRUE(t->behaviour_logprob.empty());
    EXPECT_TRUE(t->weights_version.empty());
    EXPECT_EQ(OldestVersion(*t), -1);
  }
}

// Families, prompts on every residue of the block, answers of one token to several blocks.
TEST(ExternalPairTest, EveryTargetHasAStepAndNothingBehindTheStopTokenHas) {
  for (const CanvasRules& rules : {BlockCausal(true), BlockCausal(false), Bidirectional()}) {
    for (const OrderKind kind : {OrderKind::kRandom, OrderKind::kNoise}) {
      for (int64_t prompt = 1; prompt <= 9; ++prompt) {
        for (const int64_t answer : {1, 3, 7, 8, 9, 20}) {
          const PreferencePair pair = Make(Pair(prompt, answer, answer + 1), rules,
                                           {.kind = kind, .steps = 3, .sub_block = 4});
          ASSERT_TRUE(Validate(pair, 100).ok()) << Validate(pair, 100);
          const Trajectory& t = pair.chosen;
          ASSERT_EQ(TargetCount(t), answer + 1);
          for (const ResponseBlock& block : ResponseBlocks(t)) {
            for (int64_t i = block.begin; i < block.end; ++i) {
              const bool first = rules.first_tokens && block.starts_in_response && i == block.begin;
              if (i > answer) {
                EXPECT_EQ(t.unmask_step[i], kNeverCommitted);
                EXPECT_EQ(t.response_tokens[i], kMask);
              } else if (first) {
                EXPECT_EQ(t.unmask_step[i], kBlockFirstStep);
              } else {
                EXPECT_GE(t.unmask_step[i], 1);
              }
            }
          }
        }
      }
    }
  }
}

TEST(ExternalPairTest, TheCanvasIsWhatASamplerWouldHold) {
  const PreferencePair causal = Make(Pair(5, 20, 11), BlockCausal(true));
  EXPECT_EQ(causal.chosen.response_tokens.size(), 27u);    // 21 tokens, to the end of their block
  EXPECT_EQ(causal.rejected.response_tokens.size(), 19u);  // 12
  const PreferencePair whole = Make(Pair(5, 20, 11), Bidirectional());
  EXPECT_EQ(whole.chosen.response_tokens.size(), 64u);  // max_new_tokens
  EXPECT_EQ(whole.rejected.response_tokens.size(), 64u);
  const PreferencePair one_block = Make(Pair(5, 20, 11), Bidirectional(/*block=*/0));
  EXPECT_EQ(one_block.chosen.block_size, 64);
  EXPECT_EQ(ResponseBlocks(one_block.chosen).size(), 1u);
}

// T_b of each block of an answer of 21 tokens after 5 tokens: 3 of a block of 8, 8, 8 and 2, less
// the first ones with token shift.
std::vector<size_t> StepsOfBlocks(const CanvasRules& rules, const SyntheticOrder& order) {
  const Trajectory t = Make(Pair(), rules, order).chosen;
  std::vector<size_t> steps;
  for (const ResponseBlock& block : ResponseBlocks(t)) {
    steps.push_back(TargetSteps(t, block).size());
  }
  return steps;
}

TEST(ExternalPairTest, RandomOrderTakesAsManyStepsAsWereAskedFor) {
  EXPECT_THAT(StepsOfBlocks(BlockCausal(false), {.steps = 1}), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(StepsOfBlocks(BlockCausal(false), {.steps = 3}), ElementsAre(3, 3, 3, 2));
  EXPECT_THAT(StepsOfBlocks(BlockCausal(false), {.steps = 0}), ElementsAre(3, 8, 8, 2));
  EXPECT_THAT(StepsOfBlocks(BlockCausal(true), {.steps = 0}), ElementsAre(3, 7, 7, 1));
  EXPECT_THAT(StepsOfBlocks(BlockCausal(true), {.steps = 3}), ElementsAre(3, 3, 3, 1));
  // Sub-blocks of 4 have steps of their own; the prompt's tail fills the first one.
  EXPECT_THAT(StepsOfBlocks(BlockCausal(false), {.steps = 2, .sub_block = 4}),
              ElementsAre(2, 4, 4, 2));
}

TEST(ExternalPairTest, RandomOrderDividesTokensEvenlyTheRemainderComesFirst) {
  const Trajectory t = Make(Pair(), BlockCausal(false), {.steps = 3}).chosen;
  std::map<int32_t, int> tokens_of_step;
  for (int64_t i = 3; i < 11; ++i) ++tokens_of_step[t.unmask_step[i]];
  EXPECT_THAT(tokens_of_step, ElementsAre(std::pair(1, 3), std::pair(2, 3), std::pair(3, 2)));
}

TEST(ExternalPairTest, SubBlocksAreFilledOneAfterTheOther) {
  const Trajectory t =
      Make(Pair(8, 40, 11), BlockCausal(false), {.steps = 2, .sub_block = 4}).chosen;
  for (const ResponseBlock& block : ResponseBlocks(t)) {
    if (block.begin >= 40) break;
    const auto steps = t.unmask_step.begin() + block.begin;
    EXPECT_LE(*std::max_element(steps, steps + 4), 2);
    EXPECT_GE(*std::min_element(steps + 4, steps + 8), 3);
  }
}

TEST(ExternalPairTest, TheOrderIsAFunctionOfSeedPairAndAnswer) {
  for (const OrderKind kind : {OrderKind::kRandom, OrderKind::kNoise}) {
    ExternalPair pair = Pair(8, 40, 40);
    const SyntheticOrder order{.kind = kind, .steps = 8, .seed = 5};
    const PreferencePair made = Make(pair, BlockCausal(true), order);
    const PreferencePair again = Make(pair, BlockCausal(true), order);
    EXPECT_EQ(made.chosen.unmask_step, again.chosen.unmask_step);
    EXPECT_EQ(made.rejected.unmask_step, again.rejected.unmask_step);
    EXPECT_NE(made.chosen.unmask_step, made.rejected.unmask_step);
    SyntheticOrder other = order;
    other.seed = 6;
    EXPECT_NE(made.chosen.unmask_step, Make(pair, BlockCausal(true), other).chosen.unmask_step);
    pair.id = "file/8";
    EXPECT_NE(made.chosen.unmask_step, Make(pair, BlockCausal(true), order).chosen.unmask_step);
  }
}

// Every position is as likely to come early as late.
TEST(ExternalPairTest, RandomOrderFavoursNoPosition) {
  std::vector<double> mean(8);
  constexpr int kPairs = 2000;
  for (int i = 0; i < kPairs; ++i) {
    ExternalPair pair = Pair(8, 7, 3);
    pair.id = absl::StrCat(i);
    const Trajectory t = Make(pair, BlockCausal(false)).chosen;
    for (int64_t p = 0; p < 8; ++p) mean[p] += static_cast<double>(t.unmask_step[p]) / kPairs;
  }
  EXPECT_THAT(mean, Each(::testing::DoubleNear(4.5, 0.2)));
}

// Of the tokens still masked at t, the step to s unmasks (t - s) / t: here a quarter of all each
// time, a third of the rest, a half of that. The sizes of the steps vary, unlike those of kRandom.
TEST(ExternalPairTest, TheNoiseScheduleUnmasksEachTokenByChance) {
  std::map<int32_t, int> tokens_of_step;
  std::map<size_t, int> pairs_of_steps;
  constexpr int kPairs = 2000;
  for (int i = 0; i < kPairs; ++i) {
    ExternalPair pair = Pair(8, 7, 3);
    pair.id = absl::StrCat(i);
    const Trajectory t =
        Make(pair, BlockCausal(false), {.kind = OrderKind::kNoise, .steps = 4}).chosen;
    const size_t steps = TargetSteps(t, ResponseBlocks(t).front()).size();
    ++pairs_of_steps[steps];
    if (steps != 4) continue;  // steps in which nothing happened aren't counted
    for (const int32_t step : t.unmask_step) ++tokens_of_step[step];
  }
  // All four steps happen with probability 1 - 4 * 0.75^8 + 6 * 0.5^8 - ... = 0.62.
  EXPECT_NEAR(pairs_of_steps[4], 0.62 * kPairs, 0.04 * kPairs);
  EXPECT_GT(pairs_of_steps[3], 0);
  for (const auto& [step, tokens] : tokens_of_step) {
    EXPECT_NEAR(tokens, 2 * pairs_of_steps[4], 0.1 * 2 * pairs_of_steps[4]) << step;
  }
}

TEST(ExternalPairTest, NamesWhatIsWrongWithAPair) {
  ExternalPair pair = Pair();
  pair.prompt_tokens.clear();
  EXPECT_THAT(Refusal(pair), HasSubstr("field 'prompt': is empty"));
  pair = Pair();
  pair.chosen_tokens[3] = kStop;
  EXPECT_THAT(Refusal(pair), HasSubstr("field 'chosen': stop token 98 at 3, before its end"));
  pair = Pair();
  pair.rejected_tokens[3] = kMask;
  EXPECT_THAT(Refusal(pair), HasSubstr("field 'rejected': holds the mask token 99"));
  pair = Pair();
  pair.rejected_tokens[3] = 100;
  EXPECT_THAT(Refusal(pair), HasSubstr("field 'rejected': token id 100 is outside"));
  pair = Pair();
  pair.rejected_tokens = pair.chosen_tokens;
  pair.rejected_tokens.push_back(kStop);  // what 'chosen' is given
  EXPECT_THAT(Refusal(pair), HasSubstr("field 'rejected': equals 'chosen'"));
  CanvasRules rules = BlockCausal(true);
  rules.max_new_tokens = 20;
  EXPECT_THAT(Refusal(Pair(), rules), HasSubstr("field 'chosen': too long: 21 tokens"));
  rules.max_new_tokens = 21;
  EXPECT_EQ(Refusal(Pair(), rules), "");
  rules.max_prompt_tokens = 4;
  EXPECT_THAT(Refusal(Pair(), rules), HasSubstr("field 'prompt': too long: 5 tokens"));
  rules.max_prompt_tokens = 5;
  rules.max_positions = 31;  // 5 + 27
  EXPECT_THAT(Refusal(Pair(), rules), HasSubstr("'chosen': too long: prompt and answer take 32"));
  rules.max_positions = 32;
  EXPECT_EQ(Refusal(Pair(), rules), "");
}

TEST(ExternalPairTest, TheHeldOutShareIsAFunctionOfThePromptAndTheSeed) {
  int held_out = 0, moved = 0;
  for (int32_t i = 0; i < 10000; ++i) {
    const std::vector<int32_t> prompt = {i % 100, i / 100};
    held_out += IsHeldOut(prompt, 1, 0.1);
    moved += IsHeldOut(prompt, 1, 0.1) != IsHeldOut(prompt, 2, 0.1);
    EXPECT_FALSE(IsHeldOut(prompt, 1, 0));
    if (IsHeldOut(prompt, 1, 0.1)) {
      EXPECT_TRUE(IsHeldOut(prompt, 1, 0.2));
    }
  }
  EXPECT_NEAR(held_out, 1000, 100);
  EXPECT_GT(moved, 1000);
}

TEST(ExternalPairTest, OrdersHaveNames) {
  EXPECT_EQ(*ParseOrderKind("random"), OrderKind::kRandom);
  EXPECT_EQ(*ParseOrderKind("noise"), OrderKind::kNoise);
  EXPECT_THAT(std::string(ParseOrderKind("best").status().message()), HasSubstr("'best'"));
}

}  // namespace
}  // namespace dtrpo::trajectory
