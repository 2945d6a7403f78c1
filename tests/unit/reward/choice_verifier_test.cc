#include "common/reward/choice_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace dtrpo::reward {
namespace {

using ::testing::HasSubstr;

TEST(ChoiceVerifierTest, TheTableOfHardCases) {
  constexpr struct {
    const char* text;
    char letter;  // '-': none
  } kCases[] = {
      {"B", 'B'},
      {"b", 'B'},
      {"(B)", 'B'},
      {"B.", 'B'},
      {"B) because it flies", 'B'},
      {"The answer is B", 'B'},
      {"The answer is (C).", 'C'},
      {"Answer: D", 'D'},
      {"answer: **C**", 'C'},
      {"The correct answer is B because birds fly.", 'B'},
      {"Answer: A bird", '-'},
      {"A bird flies", '-'},
      {"The answer is A. No: the answer is C.", 'C'},
      {"\\boxed{B}", 'B'},
      {"\\boxed{\\text{C}}", 'C'},
      {"The answer is A, so \\boxed{D}", 'D'},
      {"A and B. #### C", 'C'},
      {"I choose between (A) and (B)", 'B'},
      {"option D\nis right", 'D'},
      {"The answer is E.", '-'},
      {"", '-'},
      {"42", '-'},
  };
  const LetterReader letter('D');
  for (const auto& c : kCases) {
    EXPECT_EQ(letter.Read(c.text).value_or('-'), c.letter) << "'" << c.text << "'";
  }
}

TEST(ChoiceVerifierTest, SaysWhatWasChosen) {
  const auto verifier = *MakeChoiceVerifier("");
  EXPECT_EQ(verifier->Judge({"The answer is B.", true, 5}, "(B)")->reward, 1);
  EXPECT_EQ(verifier->Judge({"The answer is C.", true, 5}, "B")->reason, "chooses C, not B");
  EXPECT_THAT(verifier->Judge({"no idea", true, 2}, "B")->reason, HasSubstr("no letter"));
}

TEST(ChoiceVerifierTest, MoreLettersAreAnArgument) {
  EXPECT_EQ((*MakeChoiceVerifier("ABCDE"))->Judge({"E", true, 1}, "E")->reward, 1);
  for (const char* letters : {"A", "BCD", "ABD", "abc", "A,B"}) {
    EXPECT_FALSE(MakeChoiceVerifier(letters).ok()) << letters;
  }
}

TEST(ChoiceVerifierTest, AnExpectedAnswerWithoutALetterIsAFaultOfTheData) {
  const auto judgement = (*MakeChoiceVerifier("AB"))->Judge({"A", true, 1}, "C");
  EXPECT_EQ(judgement.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(judgement.status().message()), HasSubstr("'C'"));
}

}  // namespace
}  // namespace dtrpo::reward
