#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "common/trajectory/trajectory.h"
#include "tests/support/random_trajectory.h"

namespace dtrpo::trajectory {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 13;

// P = 5, B = 4: blocks [0,3) [3,7) [7,11), stop at 8, so that the last block may hold masks.
Trajectory Good() {
  Trajectory t = support::RandomTrajectory(
      {.prompt_tokens = 5, .max_new_tokens = 9, .block_size = 4, .stop_index = 8}, 4);
  t.response_tokens[10] = 12;
  t.unmask_step[10] = kNeverCommitted;
  t.behaviour_logprob[10] = 0;
  return t;
}

TEST(TrajectoryValidationTest, AcceptsWhatASamplerWrites) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    support::TrajectoryShape shape;
    shape.prompt_tokens = 1 + static_cast<int64_t>(seed % 7);
    shape.max_new_tokens = 1 + static_cast<int32_t>(seed % 11);
    shape.token_shift = seed % 2 == 0;
    if (seed % 3 != 0) shape.stop_index = static_cast<int32_t>(seed % shape.max_new_tokens);
    const Trajectory t = support::RandomTrajectory(shape, seed);
    EXPECT_TRUE(Validate(t, kVocabulary).ok()) << seed << ": " << Validate(t, kVocabulary);
  }
}

struct Fault {
  std::string field;  // that the refusal must name
  std::function<void(Trajectory&)> make;
};

TEST(TrajectoryValidationTest, NamesTheFieldThatIsWrong) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Fault> faults = {
      {"format_version", [](Trajectory& t) { t.format_version = 2; }},
      {"id", [](Trajectory& t) { t.id.clear(); }},
      {"id", [](Trajectory& t) { t.id.assign(5000, 'x'); }},
      {"model_id", [](Trajectory& t) { t.model_id.assign(5000, 'x'); }},
      {"reward_reason", [](Trajectory& t) { t.reward_reason.assign(1 << 20, 'x'); }},
      {"prompt_tokens", [](Trajectory& t) { t.prompt_tokens.clear(); }},
      {"prompt_tokens", [](Trajectory& t) { t.prompt_tokens[1] = -1; }},
      {"prompt_tokens", [](Trajectory& t) { t.prompt_tokens[1] = 13; }},
      {"response_tokens", [](Trajectory& t) { t.response_tokens.clear(); }},
      {"response_tokens", [](Trajectory& t) { t.response_tokens[2] = 13; }},
      {"response_tokens", [](Trajectory& t) { t.response_tokens.pop_back(); }},
      {"response_tokens", [](Trajectory& t) { t.response_tokens[1] = 12; }},     // a committed mask
      {"response_tokens", [](Trajectory& t) { t.sampler.max_new_tokens = 2; }},  // canvas too long
      {"unmask_step", [](Trajectory& t) { t.unmask_step.pop_back(); }},
      {"unmask_step", [](Trajectory& t) { t.unmask_step[0] = -2; }},
      {"unmask_step", [](Trajectory& t) { t.unmask_step[0] = 5; }},  // more steps than rows
      {"unmask_step", [](Trajectory& t) { t.unmask_step[0] = 0; }},  // begins in the prompt
      {"unmask_step", [](Trajectory& t) { t.unmask_step[4] = 0; }},  // not the first
      {"unmask_step", [](Trajectory& t) { t.unmask_step[3] = 1; }},  // the first, at a later step
      {"unmask_step", [](Trajectory& t) { t.sampler.first_token = FirstToken::kNone; }},
      {"unmask_step", [](Trajectory& t) { t.unmask_step[8] = -1; }},  // a mask before the stop
      {"distinct steps", [](Trajectory& t) { t.unmask_step[4] = t.unmask_step[5] = 4; }},
      {"behaviour_logprob", [](Trajectory& t) { t.behaviour_logprob.pop_back(); }},
      {"behaviour_logprob", [nan](Trajectory& t) { t.behaviour_logprob[0] = nan; }},
      {"behaviour_logprob", [](Trajectory& t) { t.behaviour_logprob[0] = -INFINITY; }},
      {"behaviour_logprob", [](Trajectory& t) { t.behaviour_logprob[0] = 0.5; }},
      {"behaviour_logprob", [](Trajectory& t) { t.behaviour_logprob[10] = -1; }},
      {"block_size", [](Trajectory& t) { t.block_size = 0; }},
      {"block_size", [](Trajectory& t) { t.block_size = -4; }},
      {"block_origin", [](Trajectory& t) { t.block_origin = static_cast<BlockOrigin>(7); }},
      {"stop_index", [](Trajectory& t) { t.stop_index = 11; }},
      {"stop_index", [](Trajectory& t) { t.stop_index = -2; }},
      {"stop_index", [](Trajectory& t) { t.stop_index = -1; }},  // finish_reason says STOP
      {"finish_reason", [](Trajectory& t) { t.finish_reason = FinishReason::kLength; }},
      {"finish_reason", [](Trajectory& t) { t.finish_reason = static_cast<FinishReason>(9); }},
      {"sampler.unmask", [](Trajectory& t) { t.sampler.unmask.clear(); }},
      {"sampler.confidence", [](Trajectory& t) { t.sampler.confidence.clear(); }},
      {"sampler.sub_block", [](Trajectory& t) { t.sampler.sub_block = 5; }},
      {"sampler.temperature", [](Trajectory& t) { t.sampler.temperature = -1; }},
      {"sampler.temperature", [](Trajectory& t) { t.sampler.temperature = NAN; }},
      {"sampler.top_p", [](Trajectory& t) { t.sampler.top_p = 0; }},
      {"sampler.top_p", [](Trajectory& t) { t.sampler.top_p = NAN; }},
      {"sampler.top_k", [](Trajectory& t) { t.sampler.top_k = -1; }},
      {"sampler.max_new_tokens", [](Trajectory& t) { t.sampler.max_new_tokens = 0; }},
      {"sampler.first_token",
       [](Trajectory& t) { t.sampler.first_token = static_cast<FirstToken>(5); }},
      {"weights_version", [](Trajectory& t) { t.weights_version.clear(); }},
      {"weights_version", [](Trajectory& t) { t.weights_version = {-1}; }},
      {"weights_version",
       [](Trajectory& t) {
         t.weights_version = {1, 2};
       }},
      {"weights_version",
       [](Trajectory& t) {
         t.weights_version = {2, 1, 1};
       }},
      {"weights_version",
       [](Trajectory& t) {
         t.external = true;
         t.behaviour_logprob.clear();
       }},
      {"behaviour_logprob",
       [](Trajectory& t) {
         t.external = true;
         t.weights_version.clear();
       }},
      {"reward", [](Trajectory& t) { t.reward = NAN; }},
  };
  ASSERT_TRUE(Validate(Good(), kVocabulary).ok()) << Validate(Good(), kVocabulary);
  for (size_t i = 0; i < faults.size(); ++i) {
    Trajectory t = Good();
    faults[i].make(t);
    const absl::Status status = Validate(t, kVocabulary);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << i << " " << faults[i].field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(faults[i].field)) << "fault " << i;
  }
}

TEST(TrajectoryValidationTest, AnEarlierBlockMayNotHoldMasksWhileALaterOneIsCommitted) {
  Trajectory t = Good();
  t.finish_reason = FinishReason::kCancelled;
  t.stop_index = -1;
  t.unmask_step[1] = kNeverCommitted;
  t.response_tokens[1] = 12;
  t.behaviour_logprob[1] = 0;
  EXPECT_THAT(std::string(Validate(t).message()), HasSubstr("earlier block"));
}

TEST(TrajectoryValidationTest, ACancelledTrajectoryMayEndAnywhere) {
  Trajectory t = Good();
  t.finish_reason = FinishReason::kCancelled;
  t.stop_index = -1;
  for (size_t i = 7; i < 11; ++i) {
    t.unmask_step[i] = kNeverCommitted;
    t.response_tokens[i] = 12;
    t.behaviour_logprob[i] = 0;
  }
  EXPECT_TRUE(Validate(t).ok()) << Validate(t);
}

TEST(TrajectoryValidationTest, AVersionPerBlockIsAcceptedAndTheOldestCounts) {
  Trajectory t = Good();
  t.weights_version = {3, 4, 4};
  EXPECT_TRUE(Validate(t).ok()) << Validate(t);
  EXPECT_EQ(OldestVersion(t), 3);
  t.external = true;
  EXPECT_EQ(OldestVersion(t), -1);
}

PreferencePair GoodPair() {
  PreferencePair pair;
  pair.id = "pair";
  pair.chosen = support::RandomTrajectory({}, 1);
  pair.rejected = support::RandomTrajectory({}, 2);
  pair.rejected.prompt_tokens = pair.chosen.prompt_tokens;
  return pair;
}

TEST(PairValidationTest, NamesTheAnswerAndTheField) {
  ASSERT_TRUE(Validate(GoodPair()).ok()) << Validate(GoodPair());
  const std::vector<std::pair<std::string, std::function<void(PreferencePair&)>>> faults = {
      {"id", [](PreferencePair& p) { p.id.clear(); }},
      {"chosen: trajectory", [](PreferencePair& p) { p.chosen.prompt_tokens.clear(); }},
      {"rejected: trajectory", [](PreferencePair& p) { p.rejected.reward = NAN; }},
      {"rejected.id", [](PreferencePair& p) { p.rejected.id = p.chosen.id; }},
      {"rejected.prompt_tokens", [](PreferencePair& p) { p.rejected.prompt_tokens[0] ^= 1; }},
      {"chosen.finish_reason",
       [](PreferencePair& p) { p.chosen.finish_reason = FinishReason::kCancelled; }},
      {"rejected.response_tokens",
       [](PreferencePair& p) { p.rejected.response_tokens = p.chosen.response_tokens; }},
  };
  for (const auto& [field, make] : faults) {
    PreferencePair pair = GoodPair();
    make(pair);
    EXPECT_THAT(std::string(Validate(pair).message()), HasSubstr(field));
  }
}

TEST(PairValidationTest, SizeCountsTheTokensOfBothAnswers) {
  PreferencePair pair = GoodPair();
  const int64_t before = SizeBytes(pair);
  pair.rejected.text.assign(1000, 'x');
  EXPECT_EQ(SizeBytes(pair), before + 1000);
}

}  // namespace
}  // namespace dtrpo::trajectory
