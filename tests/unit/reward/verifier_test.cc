#include "common/reward/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace dtrpo::reward {
namespace {

using ::testing::HasSubstr;

TEST(VerifierTest, ExactComparesTrimmedTexts) {
  const auto exact = *Verifier::Create("exact");
  EXPECT_EQ(exact->Judge(" 55\n", "55", true)->reward, 1);
  EXPECT_EQ(exact->Judge("56", "55", true)->reward, 0);
  EXPECT_THAT(exact->Judge("56", "55", true)->reason, HasSubstr("'56' is not '55'"));
  EXPECT_EQ(exact->Judge("5 5", "55", true)->reward, 0);
}

TEST(VerifierTest, NumberComparesNumbers) {
  const auto number = *Verifier::Create("number");
  EXPECT_EQ(number->Judge("so 1,000.0 it is.", "#### 1000", true)->reward, 1);
  EXPECT_EQ(number->Judge("1000 or 999", "1000", true)->reward, 0);
  EXPECT_EQ(number->Judge("a thousand", "1000", true)->reason, "no number in the answer");
}

TEST(VerifierTest, AnUnfinishedAnswerIsWrongEvenIfItSaysTheRightThing) {
  for (const char* name : {"exact", "number"}) {
    const auto judgement = (*Verifier::Create(name))->Judge("55", "55", false);
    EXPECT_EQ(judgement->reward, 0);
    EXPECT_EQ(judgement->reason, "no stop token");
  }
}

TEST(VerifierTest, DataThatCannotBeJudgedIsAnErrorNotAZero) {
  const auto judgement = (*Verifier::Create("number"))->Judge("55", "fifty-five", true);
  EXPECT_EQ(judgement.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(judgement.status().message()), HasSubstr("fifty-five"));
}

TEST(VerifierTest, UnknownNamesAreRefused) {
  EXPECT_THAT(std::string(Verifier::Create("judge").status().message()), HasSubstr("'judge'"));
}

}  // namespace
}  // namespace dtrpo::reward
