#include "common/reward/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace dtrpo::reward {
namespace {

using ::testing::HasSubstr;

// Gives each answer its length; "fail" fails.
class LengthService : public RemoteReward {
 public:
  Judgements JudgeAll(const std::string& reward, absl::Span<const AnsweredQuestion> items,
                      const KeepGoing&) override {
    Judgements judgements;
    for (const AnsweredQuestion& item : items) {
      asked.push_back(absl::StrCat(reward, " ", item.question->id, " ", item.answer.text));
      if (item.answer.text == "fail") {
        judgements.push_back(absl::UnavailableError("it broke"));
      } else if (item.answer.text == "huge") {
        judgements.push_back(Judgement{1e308, true, "a number"});
      } else {
        const double length = static_cast<double>(item.answer.text.size());
        judgements.push_back(Judgement{length, length > 2, "its length"});
      }
    }
    return judgements;
  }
  std::vector<std::string> asked;
};

std::unique_ptr<Judge> Make(std::vector<Term> terms, RemoteReward* remote = nullptr) {
  auto judge = Judge::Create(std::move(terms), remote);
  EXPECT_TRUE(judge.ok()) << judge.status();
  return *std::move(judge);
}

absl::StatusOr<Judgement> JudgeOne(const Judge& judge, const Answer& answer,
                                   const std::string& expected) {
  const Question question = {.id = "q", .prompt = "", .expected = expected, .data_json = ""};
  const AnsweredQuestion item = {&question, answer};
  return judge.JudgeAll({&item, 1}).front();
}

TEST(JudgeTest, OneTermJudgesAsItsRuleDoes) {
  const auto judge = Make({{"number"}});
  const auto judgement = JudgeOne(*judge, {"it is 7", true, 3}, "7");
  EXPECT_EQ(judgement->reward, 1);
  EXPECT_TRUE(judgement->correct);
  EXPECT_EQ(judgement->reason, (*Verifier::Create("number"))->Judge({"7", true, 1}, "7")->reason);
  EXPECT_FALSE(judge->asks_service());
}

TEST(JudgeTest, AddsWeightedTermsAndSaysWhatEachGave) {
  const auto judge = Make({{"number"}, {"length:1..10", 0.5}, {"regex:sorry", -0.25}});
  const auto judgement = JudgeOne(*judge, {"sorry, 7", true, 15}, "7");
  EXPECT_DOUBLE_EQ(judgement->reward, 1 + 0.5 * 0.5 - 0.25);
  EXPECT_EQ(judgement->reason,
            "number 1: correct; length:1..10 0.5: 15 tokens, wanted 1 to 10; regex:sorry 1: "
            "matches");
}

TEST(JudgeTest, ShapingHasNoSayInWhatIsCorrect) {
  const auto judge = Make({{"number"}, {"length:1..10"}});
  EXPECT_TRUE(JudgeOne(*judge, {"7", true, 500}, "7")->correct);
  EXPECT_FALSE(JudgeOne(*judge, {"8", true, 5}, "7")->correct);
  EXPECT_GT(JudgeOne(*judge, {"8", true, 5}, "7")->reward, 0);
  EXPECT_EQ(JudgeOne(*judge, {"7", false, 5}, "7")->reward, 0) << "no stop token";
}

TEST(JudgeTest, ASumMayHoldServices) {
  LengthService service;
  const auto judge = Make({{"exact", 10}, {"service:length"}}, &service);
  EXPECT_TRUE(judge->asks_service());
  const auto judgement = JudgeOne(*judge, {"abc", true, 2}, "abc");
  EXPECT_EQ(judgement->reward, 13);
  EXPECT_TRUE(judgement->correct);
  EXPECT_THAT(judgement->reason, HasSubstr("service:length 3: its length"));
  EXPECT_FALSE(JudgeOne(*judge, {"ab", true, 2}, "ab")->correct) << "the service says no";
}

TEST(JudgeTest, WhatFailsIsAnErrorAndLeavesTheOthersAlone) {
  LengthService service;
  const auto judge = Make({{"number"}, {"service:length"}}, &service);
  const std::vector<Question> questions = {
      {.id = "a", .prompt = "", .expected = "1", .data_json = ""},
      {.id = "b", .prompt = "", .expected = "no number", .data_json = ""}};
  const std::vector<AnsweredQuestion> items = {{&questions[0], {"1", true, 1}},
                                               {&questions[0], {"fail", true, 1}},
                                               {&questions[1], {"1", true, 1}}};
  const Judgements judgements = judge->JudgeAll(items);
  ASSERT_EQ(judgements.size(), 3u);
  EXPECT_EQ(judgements[0]->reward, 2);
  EXPECT_EQ(judgements[1].status().message(), "it broke");
  EXPECT_EQ(judgements[2].status().code(), absl::StatusCode::kInvalidArgument);
  // What the data made impossible isn't sent over the network.
  EXPECT_THAT(service.asked, ::testing::ElementsAre("length a 1", "length a fail"));
}

TEST(JudgeTest, ASumThatIsNoNumberIsAnError) {
  LengthService service;
  const auto judge = Make({{"service:length", 1e6}, {"exact"}}, &service);
  EXPECT_THAT(std::string(JudgeOne(*judge, {"huge", true, 1}, "").status().message()),
              HasSubstr("the sum is inf, no number"));
  EXPECT_EQ(JudgeOne(*judge, {"four", true, 1}, "")->reward, 4e6);
}

TEST(JudgeTest, TermsThatMakeNoSenseAreRefused) {
  EXPECT_FALSE(Judge::Check({}).ok());
  const std::vector<Term> infinite = {{"number", 1e300}}, unknown = {{"judge"}},
                          remote = {{"service:mine"}};
  EXPECT_FALSE(Judge::Check(infinite).ok());
  EXPECT_FALSE(Judge::Check(unknown).ok());
  EXPECT_TRUE(Judge::Check(remote).ok());
  EXPECT_THAT(std::string(Judge::Create(remote, nullptr).status().message()),
              HasSubstr("needs the address of a reward service"));
}

TEST(TermTest, AWeightStandsBeforeAStar) {
  EXPECT_EQ(ParseTerm("0.5*length:1..10").weight, 0.5);
  EXPECT_EQ(ParseTerm(" -2 * exact").rule, "exact");
  EXPECT_EQ(ParseTerm("regex:2*3").rule, "regex:2*3") << "a star of the pattern's own";
  EXPECT_EQ(ServiceReward("service:mine"), "mine");
  EXPECT_EQ(ServiceReward("exact"), "");
}

}  // namespace
}  // namespace dtrpo::reward
