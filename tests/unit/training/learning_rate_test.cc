#include "common/training/learning_rate.h"

#include "gtest/gtest.h"

namespace dtrpo::training {
namespace {

job::TrainingSpec Spec(job::Schedule schedule) {
  job::TrainingSpec spec;
  spec.steps = 101;
  spec.learning_rate = 1;
  spec.final_learning_rate_ratio = 0.2;
  spec.schedule = schedule;
  return spec;
}

TEST(LearningRateTest, LinearFallsFromTheFirstStepToTheLast) {
  const auto spec = Spec(job::Schedule::kLinear);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 1), 1.0);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 51), 0.6);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 101), 0.2);
}

TEST(LearningRateTest, CosineIsHalfWayInTheMiddle) {
  const auto spec = Spec(job::Schedule::kCosine);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 1), 1.0);
  EXPECT_NEAR(LearningRate(spec, 51), 0.6, 1e-12);
  EXPECT_NEAR(LearningRate(spec, 101), 0.2, 1e-12);
}

TEST(LearningRateTest, WarmUpRisesToTheFullRateAndTheScheduleStartsAfterIt) {
  auto spec = Spec(job::Schedule::kLinear);
  spec.warmup_steps = 10;
  EXPECT_DOUBLE_EQ(LearningRate(spec, 1), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 10), 1.0);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 11), 1.0);
  EXPECT_DOUBLE_EQ(LearningRate(spec, 101), 0.2);
}

TEST(LearningRateTest, AJobOfOneStepUsesTheFullRate) {
  auto spec = Spec(job::Schedule::kLinear);
  spec.steps = 1;
  EXPECT_DOUBLE_EQ(LearningRate(spec, 1), 1.0);
}

}  // namespace
}  // namespace dtrpo::training
