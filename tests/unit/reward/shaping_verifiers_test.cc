#include "common/reward/shaping_verifiers.h"

#include <gtest/gtest.h>

#include <string>

namespace dtrpo::reward {
namespace {

TEST(LengthVerifierTest, FallsInALineOnBothSides) {
  const auto verifier = *MakeLengthVerifier("10..20");
  const auto reward = [&](int64_t tokens) {
    return verifier->Judge({"", true, tokens}, "")->reward;
  };
  EXPECT_EQ(reward(0), 0);
  EXPECT_EQ(reward(5), 0.5);
  EXPECT_EQ(reward(10), 1);
  EXPECT_EQ(reward(20), 1);
  EXPECT_EQ(reward(30), 0.5);
  EXPECT_EQ(reward(40), 0);
  EXPECT_EQ(reward(1000), 0);
}

TEST(LengthVerifierTest, RefusesWhatIsNoRange) {
  for (const char* range :
       {"", "10", "20..10", "0..5", "-1..5", "a..b", "1..2..3", "1..99999999999"}) {
    EXPECT_FALSE(MakeLengthVerifier(range).ok()) << range;
  }
}

TEST(TagsVerifierTest, TheTableOfHardCases) {
  constexpr struct {
    const char* text;
    double thirds;  // of the three things that are checked
    const char* reason;
  } kCases[] = {
      {"<think>a</think><answer>b</answer>", 3, "well formed"},
      {" <think></think>\n<answer>b</answer>\n", 3, "well formed"},
      {"<think>a</think><answer>b</answer> done", 2, "text outside of the tags"},
      {"<think>a</think><answer>b", 1, "<answer> not exactly once, text outside of the tags"},
      {"<answer>b</answer><think>a</think>", 1, "<answer> out of order, text outside of the tags"},
      {"<think>a</think><think>c</think><answer>b</answer>", 1,
       "<think> not exactly once, text outside of the tags"},
      {"</think><think><answer>b</answer>", 1, "<think> out of order, text outside of the tags"},
      {"b", 0, "<think> not exactly once, <answer> not exactly once, text outside of the tags"},
      {"<think>a<answer>b</answer></think>", 2, "<answer> out of order"},
  };
  const auto verifier = *MakeTagsVerifier("think,answer");
  for (const auto& c : kCases) {
    const auto judgement = verifier->Judge({c.text, true, 1}, "");
    EXPECT_DOUBLE_EQ(judgement->reward * 3, c.thirds) << c.text << ": " << judgement->reason;
    EXPECT_EQ(judgement->reason, c.reason) << c.text;
  }
}

TEST(TagsVerifierTest, RefusesWhatIsNoName) {
  for (const char* names : {"", "a,,b", "<a>", "a b"}) {
    EXPECT_FALSE(MakeTagsVerifier(names).ok()) << names;
  }
}

}  // namespace
}  // namespace dtrpo::reward
