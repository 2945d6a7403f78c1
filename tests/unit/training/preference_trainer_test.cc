#include "common/training/preference_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <utility>

#include "common/base/check.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::HasSubstr;

checkpoint::ModelDescriptor Descriptor() {
  const std::string path = support::TestFolder() + "/base";
  support::WriteTinyCheckpoint(path);
  return support::LoadModel(path)->descriptor();
}

job::JobSpec Spec() {
  job::JobSpec spec;
  spec.training.steps = 10;
  spec.training.learning_rate = 1e-2;
  spec.training.schedule = job::Schedule::kConstant;
  return spec;
}

class PreferenceTrainerTest : public ::testing::Test {
 protected:
  PreferenceTrainerTest() : descriptor_(Descriptor()) {
    for (uint64_t seed = 1; seed <= 5; ++seed) pairs_.push_back(support::TinyPair(seed));
  }

  // Float64, so that nothing but mathematics makes a difference.
  std::unique_ptr<model::Transformer> Model(bool requires_grad) const {
    auto model = model::Transformer::Random(
        descriptor_, /*seed=*/3, {.dtype = torch::kFloat64, .requires_grad = requires_grad});
    DTRPO_CHECK_OK(model);
    return *std::move(model);
  }

  std::unique_ptr<PreferenceTrainer> Trainer(const job::JobSpec& spec) const {
    auto trainer = PreferenceTrainer::Create(TrainedModel::Of(Model(true)), spec);
    DTRPO_CHECK_OK(trainer);
    return *std::move(trainer);
  }

  std::vector<float> Score(const trajectory::Trajectory& t, const job::JobSpec& spec) const {
    torch::NoGradGuard no_grad;
    const auto plan = trajectory::MakeMaskPlan(t, *PlanOptions(spec, descriptor_.attention), 0);
    const objective::ScoreInput input{&t, &plan};
    const auto scores =
        objective::ScoreTargets(*Model(false), {&input, 1}, trajectory::Boundary::kClean);
    DTRPO_CHECK_OK(scores);
    const torch::Tensor flat = scores->to(torch::kFloat32);
    return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
  }

  StepInput Input(const job::JobSpec& spec, int64_t step = 1) const {
    StepInput input{.step = step, .policy_version = step - 1, .global_pairs = 5, .pairs = {}};
    for (const trajectory::PreferencePair& pair : pairs_) {
      input.pairs.push_back({.pair = &pair,
                             .use_index = 0,
                             .reference_chosen = Score(pair.chosen, spec),
                             .reference_rejected = Score(pair.rejected, spec)});
    }
    return input;
  }

  static double MaxDifference(const model::Transformer& a, const model::Transformer& b) {
    double largest = 0;
    for (size_t i = 0; i < a.NamedParameters().size(); ++i) {
      const torch::Tensor difference =
          (a.NamedParameters()[i].second - b.NamedParameters()[i].second).detach().abs();
      largest = std::max(largest, difference.max().item<double>());
    }
    return largest;
  }

  const checkpoint::ModelDescriptor descriptor_;
  std::vector<trajectory::PreferencePair> pairs_;
};

TEST_F(PreferenceTrainerTest, ThetaEqualToTheReferenceGivesLossLogTwo) {
  job::JobSpec spec = Spec();
  spec.objective.sft_weight = 0;
  const auto outcome = Trainer(spec)->Step(Input(spec));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_FALSE(outcome->skipped);
  EXPECT_NEAR(outcome->values.at("loss"), std::log(2.0), 1e-6);
  EXPECT_NEAR(outcome->values.at("margin"), 0, 1e-5);
  EXPECT_EQ(outcome->values.at("learning_rate"), 1e-2);
}

TEST_F(PreferenceTrainerTest, MicroBatchesGiveTheWeightsOfOneBatch) {
  job::JobSpec spec = Spec();
  const auto whole = Trainer(spec);
  std::vector<std::unique_ptr<PreferenceTrainer>> cut;
  for (const int32_t micro : {1, 2, 64}) {
    spec.training.micro_batch_pairs = micro;
    cut.push_back(Trainer(spec));
  }
  for (int64_t step = 1; step <= 3; ++step) {
    const StepInput input = Input(spec, step);
    const auto expected = whole->Step(input);
    ASSERT_TRUE(expected.ok()) << expected.status();
    for (const auto& trainer : cut) {
      const auto outcome = trainer->Step(input);
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      EXPECT_EQ(outcome->values.at("pairs"), 5);
      for (const char* name : {"loss", "margin", "gradient_norm", "estimator_variance"}) {
        EXPECT_NEAR(outcome->values.at(name), expected->values.at(name), 1e-6) << name;
      }
    }
  }
  for (const auto& trainer : cut) {
    EXPECT_LT(MaxDifference(whole->model(), trainer->model()), 1e-6);
  }
  EXPECT_GT(MaxDifference(whole->model(), *Model(false)), 1e-3) << "nothing was trained";
}

// Two ranks: each has a slice, the loss divides by all pairs, and gradients add up.
TEST_F(PreferenceTrainerTest, ALossOfASliceIsItsShareOfTheWhole) {
  const job::JobSpec spec = Spec();
  StepInput input = Input(spec);
  input.pairs.resize(1);
  const double of_five = Trainer(spec)->Step(input)->values.at("gradient_norm");
  input.global_pairs = 1;
  const double of_one = Trainer(spec)->Step(input)->values.at("gradient_norm");
  EXPECT_NEAR(of_one, 5 * of_five, 1e-9 * of_one);
}

TEST_F(PreferenceTrainerTest, TrainingRaisesTheMargin) {
  const job::JobSpec spec = Spec();
  const auto trainer = Trainer(spec);
  double margin = 0;
  for (int64_t step = 1; step <= 8; ++step) {
    const auto outcome = trainer->Step(Input(spec, step));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    margin = outcome->values.at("margin");
  }
  EXPECT_GT(margin, 0.1);
}

TEST_F(PreferenceTrainerTest, ALossThatIsntFiniteChangesNothingAndNamesThePair) {
  job::JobSpec spec = Spec();
  spec.training.micro_batch_pairs = 1;
  const auto trainer = Trainer(spec);
  StepInput input = Input(spec);
  input.pairs[3].reference_rejected[0] = std::numeric_limits<float>::quiet_NaN();
  const auto outcome = trainer->Step(input);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->skipped);
  EXPECT_EQ(outcome->offending_pair, pairs_[3].id);
  EXPECT_EQ(MaxDifference(trainer->model(), *Model(false)), 0);
  // The next step is as if that one had not been.
  const auto fresh = Trainer(spec);
  ASSERT_TRUE(fresh->Step(Input(spec)).ok());
  ASSERT_FALSE(trainer->Step(Input(spec))->skipped);
  EXPECT_EQ(MaxDifference(trainer->model(), fresh->model()), 0);
}

TEST_F(PreferenceTrainerTest, AGradientThatIsntFiniteNamesThePairThoughItsLossIs) {
  job::JobSpec spec = Spec();
  spec.objective.sft_weight = 0;
  spec.objective.beta = 1e200;  // the square of a gradient of its size is no double
  const auto trainer = Trainer(spec);
  StepInput input = Input(spec);
  // All but one are so sure to be right that they have no gradient; that one is as sure to be
  // wrong.
  for (size_t i = 0; i < input.pairs.size(); ++i) {
    for (float& score : input.pairs[i].reference_chosen) score += i == 3 ? 1 : -1;
  }
  const auto outcome = trainer->Step(input);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(std::isfinite(outcome->values.at("loss")));
  EXPECT_TRUE(outcome->skipped);
  EXPECT_EQ(outcome->offending_pair, pairs_[3].id);
  EXPECT_EQ(MaxDifference(trainer->model(), *Model(false)), 0);
}

TEST_F(PreferenceTrainerTest, TheGradientIsClippedToItsLimit) {
  job::JobSpec spec = Spec();
  spec.training.max_gradient_norm = 0;
  const auto free = Trainer(spec);
  const double norm = free->Step(Input(spec))->values.at("gradient_norm");
  spec.training.max_gradient_norm = norm / 2;
  const auto clipped = Trainer(spec);
  EXPECT_NEAR(clipped->Step(Input(spec))->values.at("gradient_norm"), norm, 1e-9)
      << "the norm is reported as it was";
  const auto momentum = [](PreferenceTrainer& trainer) {
    double sum = 0;
    for (const auto& [name, tensor] : trainer.optimizer().State()) {
      if (name.find("exp_avg.") != std::string::npos) sum += tensor.abs().sum().item<double>();
    }
    return sum;
  };
  EXPECT_NEAR(momentum(*clipped), momentum(*free) / 2, 1e-9);
}

TEST_F(PreferenceTrainerTest, ScoresThatDontFitThePlanAreRefused) {
  const job::JobSpec spec = Spec();
  StepInput input = Input(spec);
  input.pairs[0].reference_chosen.pop_back();
  EXPECT_FALSE(Trainer(spec)->Step(input).ok());
}

TEST(PlanOptionsTest, ComeFromTheJobAndAnUnknownBoundaryIsRefused) {
  constexpr checkpoint::Attention kCausal = checkpoint::Attention::kBlockCausal;
  job::JobSpec spec = Spec();
  spec.seed = 9;
  spec.objective.draws = 3;
  EXPECT_EQ(PlanOptions(spec, kCausal)->job_seed, 9u);
  EXPECT_EQ(PlanOptions(spec, kCausal)->draws, 3);
  using trajectory::PlanKind;
  for (const auto& [kind, plan] :
       {std::pair{job::ObjectiveKind::kDtrpo, PlanKind::kDtrpo},
        std::pair{job::ObjectiveKind::kExact, PlanKind::kExact},
        std::pair{job::ObjectiveKind::kVrpo, PlanKind::kVrpo},
        std::pair{job::ObjectiveKind::kRandomMask, PlanKind::kRandomMask}}) {
    spec.objective.kind = kind;
    for (const bool corrected : {true, false}) {
      spec.objective.antithetic = corrected;
      spec.objective.staleness_correction =
          corrected ? job::StalenessCorrection::kRejectedRatio : job::StalenessCorrection::kNone;
      const auto options = PlanOptions(spec, kCausal);
      ASSERT_TRUE(options.ok());
      EXPECT_EQ(options->kind, plan);
      EXPECT_EQ(options->antithetic, corrected);
      // Where the states of the plan aren't those that were sampled, the correction brings some.
      EXPECT_EQ(options->behaviour_states, corrected && !HoldsSampledStates(plan));
    }
  }
  spec.objective.boundary = "foggy";
  EXPECT_THAT(std::string(PlanOptions(spec, kCausal).status().message()), HasSubstr("foggy"));
}

}  // namespace
}  // namespace dtrpo::training
