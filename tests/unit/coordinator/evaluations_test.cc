#include "services/coordinator/evaluations.h"

#include <gtest/gtest.h>

#include <set>

namespace dtrpo::coordinator {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

Evaluations::Options SmallOptions() {
  return {.prompts = 4,
          .every_versions = 2,
          .show_samples = 2,
          .lease = absl::Seconds(10),
          .max_failures = 2,
          .give_up_after = absl::Seconds(30)};
}

v1::PromptResult Result(const EvaluationLease& lease, v1::PromptResult::Outcome outcome,
                        bool correct = false) {
  v1::PromptResult result;
  result.set_lease_id(lease.lease_id);
  result.set_kind(v1::EVALUATE);
  result.set_version(lease.version);
  result.set_prompt_index(lease.prompt);
  result.set_outcome(outcome);
  result.set_correct(correct ? 1 : 0);
  result.set_tokens(6);
  result.set_forwards(2);
  return result;
}

TEST(EvaluationsTest, OnlyAWorkerThatHoldsTheVersionGetsItsPrompts) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(0, 0, kStart);
  EXPECT_TRUE(evaluations.Lease(kStart, "rollout-1", 10, {1, 2}).empty());
  const auto leases = evaluations.Lease(kStart, "rollout-1", 10, {2, 0});
  ASSERT_EQ(leases.size(), 4u);
  EXPECT_EQ(leases[0].version, 0);
  EXPECT_TRUE(evaluations.Lease(kStart, "rollout-2", 10, {0}).empty());
}

TEST(EvaluationsTest, AreCompleteOnceEachPromptIsJudgedOrFailedForGood) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(0, 0, kStart);
  auto leases = evaluations.Lease(kStart, "rollout-1", 4, {0});
  EXPECT_TRUE(evaluations.Report(Result(leases[0], v1::PromptResult::EVALUATED, true), kStart));
  EXPECT_TRUE(evaluations.Report(Result(leases[1], v1::PromptResult::EVALUATED, false), kStart));
  EXPECT_TRUE(evaluations.Report(Result(leases[2], v1::PromptResult::EVALUATED, true), kStart));
  EXPECT_TRUE(evaluations.Report(Result(leases[3], v1::PromptResult::FAILED), kStart));
  EXPECT_EQ(evaluations.outcome(0), Evaluations::Outcome::kRunning);  // one failure of two
  leases = evaluations.Lease(kStart, "rollout-1", 4, {0});
  ASSERT_EQ(leases.size(), 1u);
  EXPECT_TRUE(evaluations.Report(Result(leases[0], v1::PromptResult::FAILED), kStart));
  EXPECT_EQ(evaluations.outcome(0), Evaluations::Outcome::kComplete);

  const v1::EvaluationRecord record = evaluations.Records().front();
  EXPECT_EQ(record.correct(), 2);
  EXPECT_EQ(record.total(), 3);
  EXPECT_EQ(record.failed(), 1);
  EXPECT_DOUBLE_EQ(record.tokens_per_forward(), 3);
  EXPECT_TRUE(record.complete());
}

TEST(EvaluationsTest, SeveralAnswersToEachPromptGivePassAtK) {
  Evaluations::Options options = SmallOptions();
  options.samples = 2;
  options.pass_k = {1, 2};
  Evaluations evaluations(options);
  evaluations.Begin(0, 0, kStart);
  auto leases = evaluations.Lease(kStart, "rollout-1", 4, {0});
  for (int i = 0; i < 3; ++i) {  // 0, 1 and 2 of its answers are right
    v1::PromptResult result = Result(leases[i], v1::PromptResult::EVALUATED);
    result.set_correct(i);
    EXPECT_TRUE(evaluations.Report(result, kStart));
  }
  EXPECT_TRUE(evaluations.Report(Result(leases[3], v1::PromptResult::FAILED), kStart));
  leases = evaluations.Lease(kStart, "rollout-1", 1, {0});
  EXPECT_TRUE(evaluations.Report(Result(leases[0], v1::PromptResult::FAILED), kStart));
  const v1::EvaluationRecord record = evaluations.Records().front();
  EXPECT_TRUE(record.complete());
  EXPECT_EQ(record.correct(), 3);
  EXPECT_EQ(record.total(), 6);
  ASSERT_EQ(record.estimates_size(), 2);
  EXPECT_EQ(record.estimates(0).value(), 0.5);
  EXPECT_EQ(record.estimates(0).questions(), 3);
  EXPECT_DOUBLE_EQ(record.estimates(1).value(), 2.0 / 3);
}

TEST(EvaluationsTest, TheFirstAnswerToAPromptCounts) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(0, 0, kStart);
  const auto leases = evaluations.Lease(kStart, "rollout-1", 1, {0});
  EXPECT_TRUE(evaluations.Report(Result(leases[0], v1::PromptResult::EVALUATED, true), kStart));
  EXPECT_FALSE(evaluations.Report(Result(leases[0], v1::PromptResult::EVALUATED, true), kStart));
  EXPECT_EQ(evaluations.Records().front().total(), 1);
}

TEST(EvaluationsTest, AnExpiredPromptIsLeasedAgainAndALateAnswerStillCounts) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(0, 0, kStart);
  const auto first = evaluations.Lease(kStart, "rollout-1", 4, {0});
  EXPECT_EQ(evaluations.Expire(kStart + absl::Seconds(10)), 4);
  EXPECT_TRUE(evaluations.Report(Result(first[0], v1::PromptResult::EVALUATED, true), kStart));
  EXPECT_EQ(evaluations.Lease(kStart, "rollout-2", 10, {0}).size(), 3u);
}

TEST(EvaluationsTest, BeginEveryNVersionsAndOncePerVersion) {
  Evaluations evaluations(SmallOptions());
  for (int64_t version : {1, 2, 3, 4, 4}) evaluations.OnVersion(version, version * 10, kStart);
  evaluations.Begin(4, 40, kStart);
  EXPECT_EQ(evaluations.PinnedVersions(), (std::vector<int64_t>{2, 4}));
}

TEST(EvaluationsTest, WithoutHeldOutPromptsThereIsNone) {
  Evaluations::Options options = SmallOptions();
  options.prompts = 0;
  Evaluations evaluations(options);
  evaluations.Begin(0, 0, kStart);
  EXPECT_FALSE(evaluations.HasUnfinished());
  EXPECT_EQ(evaluations.outcome(0), Evaluations::Outcome::kNone);
}

TEST(EvaluationsTest, TheSamePromptsAreShownEachTime) {
  Evaluations evaluations(SmallOptions());
  std::set<int64_t> shown[2];
  for (int64_t version : {0, 1}) {
    evaluations.Begin(version, 0, kStart);
    for (const auto& lease : evaluations.Lease(kStart, "rollout-1", 4, {version})) {
      if (lease.keep_sample) shown[version].insert(lease.prompt);
    }
  }
  EXPECT_EQ(shown[0], (std::set<int64_t>{0, 2}));
  EXPECT_EQ(shown[0], shown[1]);
}

TEST(EvaluationsTest, AreGivenUpOnceNobodyHasHeldTheWeightsForLong) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(2, 2, kStart);
  EXPECT_TRUE(evaluations.GiveUpUnheld({2, 3}, kStart + absl::Seconds(20)).empty());
  EXPECT_TRUE(evaluations.GiveUpUnheld({3}, kStart + absl::Seconds(50)).empty());
  EXPECT_EQ(evaluations.GiveUpUnheld({3}, kStart + absl::Seconds(51)), (std::vector<int64_t>{2}));
  EXPECT_EQ(evaluations.outcome(2), Evaluations::Outcome::kGivenUp);
  EXPECT_FALSE(evaluations.HasUnfinished());
}

TEST(EvaluationsTest, RolloutsThatStillLoadAreWaitedForTenTimesAsLong) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(0, 0, kStart);
  EXPECT_TRUE(evaluations.GiveUpUnheld({}, kStart + absl::Seconds(300)).empty());
  EXPECT_EQ(evaluations.GiveUpUnheld({}, kStart + absl::Seconds(301)).size(), 1u);
}

TEST(EvaluationsTest, AreRepeatedWhenTheWeightsWereReplaced) {
  Evaluations evaluations(SmallOptions());
  evaluations.OnVersion(2, 2, kStart);
  for (const auto& lease : evaluations.Lease(kStart, "rollout-1", 4, {2})) {
    evaluations.Report(Result(lease, v1::PromptResult::EVALUATED, true), kStart);
  }
  ASSERT_EQ(evaluations.outcome(2), Evaluations::Outcome::kComplete);
  evaluations.ForgetFrom(2);
  evaluations.OnVersion(2, 2, kStart);
  EXPECT_EQ(evaluations.outcome(2), Evaluations::Outcome::kRunning);
}

TEST(EvaluationsTest, AGoneWorkersPromptsAreFreeAtOnce) {
  Evaluations evaluations(SmallOptions());
  evaluations.Begin(0, 0, kStart);
  evaluations.Lease(kStart, "rollout-1", 3, {0});
  EXPECT_EQ(evaluations.ReleaseWorker("rollout-1"), 3);
  EXPECT_EQ(evaluations.Lease(kStart, "rollout-2", 10, {0}).size(), 4u);
}

}  // namespace
}  // namespace dtrpo::coordinator
