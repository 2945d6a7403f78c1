#include "common/evaluation/interval.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/base/philox.h"

namespace dtrpo::evaluation {
namespace {

TEST(IntervalTest, OfZerosAndOnesIsWilsons) {
  std::vector<double> scores(20, 0.0);
  for (int i = 0; i < 8; ++i) scores[i] = 1;
  const Estimate estimate = MeanWithInterval(scores, 1);
  EXPECT_DOUBLE_EQ(estimate.value, 0.4);
  EXPECT_NEAR(estimate.low, 0.2188,
              5e-5);  // statsmodels proportion_confint(8, 20, method="wilson")
  EXPECT_NEAR(estimate.high, 0.6134, 5e-5);
}

TEST(IntervalTest, StaysOpenWhereEveryAnswerIsRightOrWrong) {
  const Estimate all = MeanWithInterval(std::vector<double>(30, 1.0), 8);
  EXPECT_EQ(all.value, 1);
  EXPECT_NEAR(all.low, 30 / (30 + 1.959964 * 1.959964), 1e-6);
  EXPECT_DOUBLE_EQ(all.high, 1);
  const Estimate none = MeanWithInterval({}, 1);
  EXPECT_EQ(none.low, 0);
  EXPECT_EQ(none.high, 1);
}

// Questions differ in how hard they are: a third is right with probability `low`, the rest with
// `high`. The interval must cover the mean over all questions there could be.
double Coverage(int questions, int answers, double low, double high) {
  constexpr int kTrials = 1000;
  const double truth = low / 3 + high * 2 / 3;
  int covered = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    base::CounterRng rng(7, trial);
    std::vector<double> scores(questions);
    for (double& score : scores) {
      const double p = rng.Uniform01() < 1.0 / 3 ? low : high;
      for (int i = 0; i < answers; ++i) score += rng.Uniform01() < p ? 1.0 / answers : 0;
    }
    const Estimate estimate = MeanWithInterval(scores, answers);
    covered += estimate.low <= truth && truth <= estimate.high ? 1 : 0;
  }
  return static_cast<double>(covered) / kTrials;
}

TEST(IntervalTest, CoversTheTruthAsOftenAsItSays) {
  for (const int questions : {30, 100, 400}) {
    for (const int answers : {1, 4, 16}) {
      for (const auto& [low, high] : {std::pair(0.02, 0.08), {0.1, 0.9}, {0.5, 0.5}, {0.9, 0.99}}) {
        const double coverage = Coverage(questions, answers, low, high);
        EXPECT_GT(coverage, 0.92) << questions << " " << answers << " " << low << " " << high;
        EXPECT_LT(coverage, 0.99) << questions << " " << answers << " " << low << " " << high;
      }
    }
  }
}

// To take each of 16 answers for a question of its own would promise too much.
TEST(IntervalTest, IsWiderThanIfAnswersWereQuestions) {
  std::vector<double> by_question, by_answer;
  for (int q = 0; q < 50; ++q) {
    by_question.push_back(q % 2);
    for (int i = 0; i < 16; ++i) by_answer.push_back(q % 2);
  }
  const Estimate questions = MeanWithInterval(by_question, 16);
  const Estimate answers = MeanWithInterval(by_answer, 1);
  EXPECT_GT(questions.high - questions.low, 3 * (answers.high - answers.low));
}

TEST(ComparePairedTest, FindsADifferenceThatSeparateIntervalsHide) {
  std::vector<double> a, b;
  for (int q = 0; q < 200; ++q) {
    a.push_back(q % 2);
    b.push_back(q % 2 == 1 || q % 20 == 0 ? 1 : 0);  // ten more are right, none is lost
  }
  const PairedDifference paired = ComparePaired(a, b, 1);
  EXPECT_DOUBLE_EQ(paired.difference, 0.05);
  EXPECT_GT(paired.low, 0.015);
  EXPECT_LT(paired.high, 0.09);
  EXPECT_LT(paired.p_value, 0.002);
  EXPECT_GT(MeanWithInterval(a, 1).high, MeanWithInterval(b, 1).low);

  const PairedDifference again = ComparePaired(a, b, 1);
  EXPECT_EQ(again.low, paired.low);
  const PairedDifference turned = ComparePaired(b, a, 1);
  EXPECT_DOUBLE_EQ(turned.difference, -0.05);
}

TEST(ComparePairedTest, EqualRunsDoNotDiffer) {
  const std::vector<double> a = {1, 0, 1, 1, 0};
  const PairedDifference paired = ComparePaired(a, a, 3);
  EXPECT_EQ(paired.difference, 0);
  EXPECT_EQ(paired.p_value, 1);
}

TEST(ComparePairedTest, AFewQuestionsProveLittle) {
  EXPECT_EQ(ComparePaired({0.0}, {1.0}, 3).p_value, 1);
  EXPECT_EQ(ComparePaired({0.0, 0.0, 0.0, 1.0}, {1.0, 1.0, 1.0, 1.0}, 3).p_value, 0.25);
  EXPECT_EQ(ComparePaired({}, {}, 3).p_value, 1);
}

TEST(ComparePairedTest, ItsIntervalCoversTheTruthAndItsPValueSeldomCriesWolf) {
  constexpr int kTrials = 60, kQuestions = 80;
  for (const double gain : {0.0, 0.15}) {
    int covered = 0, significant = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      base::CounterRng rng(11, trial);
      std::vector<double> a(kQuestions), b(kQuestions);
      for (int q = 0; q < kQuestions; ++q) {
        const double p = rng.Uniform01() * (1 - gain);
        a[q] = rng.Uniform01() < p ? 1 : 0;
        b[q] = rng.Uniform01() < p + gain ? 1 : 0;
      }
      const PairedDifference paired = ComparePaired(a, b, trial);
      covered += paired.low <= gain && gain <= paired.high ? 1 : 0;
      significant += paired.p_value < 0.05 ? 1 : 0;
    }
    EXPECT_GT(covered, 0.88 * kTrials) << gain;
    if (gain == 0) {
      EXPECT_LT(significant, 0.12 * kTrials);
    } else {
      EXPECT_GT(significant, 0.35 * kTrials);
    }
  }
}

}  // namespace
}  // namespace dtrpo::evaluation
