#include "common/dtrpo/preference_loss.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trajectory::Boundary;
using trajectory::MaskPlan;
using trajectory::PreferencePair;

// Pairs with their plans; `inputs` borrows from the rest.
struct Batch {
  std::vector<PreferencePair> pairs;
  std::vector<MaskPlan> plans;
  std::vector<PairInput> inputs;
};

std::unique_ptr<Batch> MakeBatch(int count, const trajectory::MaskPlanOptions& options) {
  auto batch = std::make_unique<Batch>();
  for (int i = 0; i < count; ++i) {
    PreferencePair& pair = batch->pairs.emplace_back();
    const support::TrajectoryShape shape = {.prompt_tokens = 4 + i, .max_new_tokens = 9};
    pair.chosen = support::RandomTrajectory(shape, 100 + static_cast<uint64_t>(i));
    pair.rejected = support::RandomTrajectory(shape, 200 + static_cast<uint64_t>(i));
    pair.rejected.prompt_tokens = pair.chosen.prompt_tokens;
    batch->plans.push_back(MakeMaskPlan(pair.chosen, options, 0));
    batch->plans.push_back(MakeMaskPlan(pair.rejected, options, 0));
  }
  for (int i = 0; i < count; ++i) {
    batch->inputs.push_back({&batch->pairs[i], &batch->plans[2 * i], &batch->plans[2 * i + 1]});
  }
  return batch;
}

int64_t Targets(const Batch& batch) {
  int64_t targets = 0;
  for (const MaskPlan& plan : batch.plans) targets += plan.target_count;
  return targets;
}

torch::Tensor RandomLogProbs(int64_t count, uint64_t seed) {
  torch::manual_seed(seed);
  return -torch::rand({count}, torch::kFloat64) - 0.1;
}

job::ObjectiveSpec Plain() {
  job::ObjectiveSpec objective;
  objective.staleness_correction = job::StalenessCorrection::kNone;
  objective.sft_weight = 0;
  return objective;
}

PreferenceLoss Loss(const Batch& batch, const torch::Tensor& policy, const torch::Tensor& reference,
                    const job::ObjectiveSpec& objective, int64_t global_pairs = 0) {
  auto loss = ComputePreferenceLoss(
      batch.inputs, policy, reference, objective,
      global_pairs > 0 ? global_pairs : static_cast<int64_t>(batch.inputs.size()));
  EXPECT_TRUE(loss.ok()) << loss.status();
  return *std::move(loss);
}

torch::Tensor GradientAt(const Batch& batch, const torch::Tensor& values,
                         const torch::Tensor& reference, const job::ObjectiveSpec& objective) {
  const torch::Tensor policy = values.clone().requires_grad_();
  Loss(batch, policy, reference, objective).loss.backward();
  return policy.grad();
}

TEST(PreferenceLossTest, PolicyEqualToTheReferenceGivesLogTwo) {
  const auto policy = ScoredModel(1), reference = ScoredModel(1);
  const auto batch = MakeBatch(3, {.draws = 2});
  const std::vector<ScoreInput> inputs = ScoreInputs(batch->inputs);
  const auto p = ScoreTargets(*policy, inputs, Boundary::kClean);
  const auto r = ScoreTargets(*reference, inputs, Boundary::kClean);
  ASSERT_TRUE(p.ok() && r.ok());
  const PreferenceLoss loss = Loss(*batch, *p, *r, Plain());
  EXPECT_NEAR(loss.loss.item<double>(), std::log(2.0), 1e-15);
  for (const PairTerms& pair : loss.pairs) {
    EXPECT_EQ(pair.log_ratio_chosen, 0);
    EXPECT_EQ(pair.log_ratio_rejected, 0);
    EXPECT_EQ(pair.margin, 0);
  }
}

// Every loss with every objective: without a difference, the constants of its formula.
TEST(PreferenceLossTest, VersionZeroGivesTheConstantOfEachLossWithEachObjective) {
  using trajectory::PlanKind;
  for (const PlanKind kind :
       {PlanKind::kDtrpo, PlanKind::kExact, PlanKind::kVrpo, PlanKind::kRandomMask}) {
    const auto batch = MakeBatch(2, {.kind = kind, .draws = 2, .behaviour_states = true});
    const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
    job::ObjectiveSpec objective = Plain();
    objective.beta = 0.2;
    objective.staleness_correction = job::StalenessCorrection::kRejectedRatio;
    EXPECT_NEAR(Loss(*batch, policy, policy, objective).loss.item<double>(), std::log(2.0), 1e-12);
    objective.label_smoothing = 0.3;
    EXPECT_NEAR(Loss(*batch, policy, policy, objective).loss.item<double>(), std::log(2.0), 1e-12);
    objective.label_smoothing = 0;
    objective.loss = job::PreferenceLossKind::kIpo;
    EXPECT_NEAR(Loss(*batch, policy, policy, objective).loss.item<double>(), 1 / 0.16, 1e-12);
  }
}

TEST(PreferenceLossTest, IpoAndLabelSmoothingAreThoseOfTheFormula) {
  const auto batch = MakeBatch(2, {});
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const torch::Tensor reference = RandomLogProbs(Targets(*batch), 2);
  job::ObjectiveSpec objective = Plain();
  objective.beta = 0.7;
  const PreferenceLoss plain = Loss(*batch, policy, reference, objective);
  objective.label_smoothing = 0.1;
  const PreferenceLoss smooth = Loss(*batch, policy, reference, objective);
  objective.label_smoothing = 0;
  objective.loss = job::PreferenceLossKind::kIpo;
  const PreferenceLoss ipo = Loss(*batch, policy, reference, objective);
  for (size_t i = 0; i < 2; ++i) {
    const PairTerms& pair = plain.pairs[i];
    const double d = pair.log_ratio_chosen - pair.log_ratio_rejected;
    const auto softplus = [](double x) { return std::log1p(std::exp(x)); };
    EXPECT_NEAR(pair.preference_loss, softplus(-0.7 * d), 1e-12);
    EXPECT_NEAR(smooth.pairs[i].preference_loss, 0.9 * softplus(-0.7 * d) + 0.1 * softplus(0.7 * d),
                1e-12);
    EXPECT_NEAR(ipo.pairs[i].preference_loss, (d - 1 / 1.4) * (d - 1 / 1.4), 1e-12);
    EXPECT_NEAR(ipo.pairs[i].margin, 0.7 * d, 1e-12);
  }
}

// The correction of random masks: rho from the states that were sampled, on the gradient of those
// that weren't.
TEST(PreferenceLossTest, TheCorrectionOfRandomMasksScalesTheirGradientByTheSampledStatesRatio) {
  using trajectory::PlanKind;
  for (const PlanKind kind : {PlanKind::kVrpo, PlanKind::kRandomMask}) {
    const auto batch = MakeBatch(1, {.kind = kind, .draws = 2, .behaviour_states = true});
    const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
    const torch::Tensor reference = RandomLogProbs(Targets(*batch), 2);
    for (float& x : batch->pairs[0].rejected.behaviour_logprob) x = -0.4f;
    job::ObjectiveSpec corrected = Plain();
    corrected.staleness_correction = job::StalenessCorrection::kRejectedRatio;
    const std::vector<double> p = HostNumbers(policy);
    const std::vector<double> with = HostNumbers(GradientAt(*batch, policy, reference, corrected));
    const std::vector<double> plain = HostNumbers(GradientAt(*batch, policy, reference, Plain()));
    const size_t chosen = static_cast<size_t>(batch->plans[0].target_count);
    const MaskPlan& plan = batch->plans[1];
    const std::vector<PlannedTarget> targets = PlannedTargets(plan);
    double exponent = 0;
    for (size_t j = 0; j < targets.size(); ++j) {
      const bool sampled = targets[j].state == kFirstTokenState ||
                           plan.blocks[targets[j].block].states[targets[j].state].step >= 1;
      if (sampled) exponent += p[chosen + j] + 0.4f;
    }
    const double rho = std::min(1.0, std::exp(exponent));
    EXPECT_LT(rho, 0.99);
    EXPECT_NEAR(Loss(*batch, policy, reference, corrected).pairs[0].rho, rho, 1e-9);
    for (size_t j = 0; j < targets.size(); ++j) {
      EXPECT_NEAR(with[chosen + j], rho * plain[chosen + j], 1e-12);
    }
  }
}

TEST(PreferenceLossTest, ACorrectionWithoutBehaviourStatesIsRefused) {
  const auto batch = MakeBatch(1, {.kind = trajectory::PlanKind::kVrpo});
  batch->pairs[0].id = "pair-7";
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const auto loss = ComputePreferenceLoss(batch->inputs, policy, policy, {}, 1);
  EXPECT_EQ(loss.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(loss.status().message()), HasSubstr("pair-7"));
}

TEST(PreferenceLossTest, ValueIsThatOfTheFormula) {
  const auto batch = MakeBatch(2, {.draws = 2});
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const torch::Tensor reference = RandomLogProbs(Targets(*batch), 2);
  job::ObjectiveSpec objective = Plain();
  objective.beta = 0.3;
  objective.sft_weight = 0.5;
  const PreferenceLoss loss = Loss(*batch, policy, reference, objective);
  const std::vector<double> p = HostNumbers(policy), r = HostNumbers(reference);
  size_t at = 0;
  double expected = 0;
  for (size_t pair = 0; pair < 2; ++pair) {
    double ratio[2] = {0, 0}, cross_entropy = 0;
    for (size_t side = 0; side < 2; ++side) {
      const MaskPlan& plan = batch->plans[2 * pair + side];
      for (const PlannedTarget& target : PlannedTargets(plan)) {
        const auto& block = plan.blocks[target.block];
        const double weight = target.state == kFirstTokenState
                                  ? 1.0
                                  : static_cast<double>(block.steps) / block.states.size();
        ratio[side] += weight * (p[at] - r[at]);
        if (side == 0) cross_entropy -= p[at] / static_cast<double>(plan.target_count);
        ++at;
      }
    }
    const double margin = 0.3 * (ratio[0] - ratio[1]);
    expected += std::log1p(std::exp(-margin)) + 0.5 * cross_entropy;
    EXPECT_NEAR(loss.pairs[pair].margin, margin, 1e-12);
    EXPECT_NEAR(loss.pairs[pair].sft_loss, cross_entropy, 1e-12);
  }
  EXPECT_NEAR(loss.loss.item<double>(), expected / 2, 1e-12);
}

TEST(PreferenceLossTest, MicroBatchesAddUpToTheWholeBatch) {
  const auto batch = MakeBatch(3, {});
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const torch::Tensor reference = RandomLogProbs(Targets(*batch), 2);
  const double whole = Loss(*batch, policy, reference, {}).loss.item<double>();
  double sum = 0;
  int64_t at = 0;
  for (size_t i = 0; i < 3; ++i) {
    const PairInput& input = batch->inputs[i];
    const int64_t count = input.chosen_plan->target_count + input.rejected_plan->target_count;
    sum += ComputePreferenceLoss({&input, 1}, policy.narrow(0, at, count),
                                 reference.narrow(0, at, count), {}, /*global_pairs=*/3)
               ->loss.item<double>();
    at += count;
  }
  EXPECT_NEAR(sum, whole, 1e-12);
}

// Through the scorer, the head and every layer, in float64.
TEST(PreferenceLossTest, GradientsMatchFiniteDifferences) {
  const auto policy = ScoredModel(1, /*token_shift=*/true, /*requires_grad=*/true);
  const auto reference = ScoredModel(2);
  const auto batch = MakeBatch(2, {.draws = 2});
  const std::vector<ScoreInput> inputs = ScoreInputs(batch->inputs);
  job::ObjectiveSpec objective = Plain();
  objective.sft_weight = 0.1;
  const torch::Tensor r = *ScoreTargets(*reference, inputs, Boundary::kClean);
  const auto loss = [&] {
    return Loss(*batch, *ScoreTargets(*policy, inputs, Boundary::kClean), r, objective).loss;
  };
  loss().backward();
  torch::manual_seed(3);
  constexpr double kStep = 1e-5;
  for (const auto& [name, parameter] : policy->NamedParameters()) {
    const torch::Tensor direction = torch::randn_like(parameter);
    const double slope = (parameter.grad() * direction).sum().item<double>();
    torch::NoGradGuard no_grad;
    const auto at = [&, &p = parameter](double step) {
      p.add_(direction, step);
      const double value = loss().item<double>();
      p.sub_(direction, step);
      return value;
    };
    const double difference = (at(kStep) - at(-kStep)) / (2 * kStep);
    EXPECT_NEAR(slope, difference, 1e-6 * std::max(1.0, std::abs(difference))) << name;
    // Adding the same to every key changes no attention, so a key bias may be without effect.
    if (name.find("k_proj.bias") == std::string::npos) {
      EXPECT_GT(std::abs(slope), 1e-7) << name;
    }
  }
}

TEST(PreferenceLossTest, TheCorrectionScalesTheRejectedGradientByRhoAndChangesNoValue) {
  const auto batch = MakeBatch(3, {.draws = 2});
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const torch::Tensor reference = RandomLogProbs(Targets(*batch), 2);
  // One answer the policy has left, one it has kept, one it likes better than before.
  for (size_t i = 0; i < 3; ++i) {
    for (float& x : batch->pairs[i].rejected.behaviour_logprob) {
      x = i == 0 ? -0.01f : i == 1 ? -0.7f : -9.f;
    }
  }
  job::ObjectiveSpec corrected = Plain();
  corrected.staleness_correction = job::StalenessCorrection::kRejectedRatio;
  const PreferenceLoss with = Loss(*batch, policy, reference, corrected);
  const PreferenceLoss without = Loss(*batch, policy, reference, Plain());
  EXPECT_EQ(with.loss.item<double>(), without.loss.item<double>());

  const std::vector<double> p = HostNumbers(policy);
  const std::vector<double> scaled = HostNumbers(GradientAt(*batch, policy, reference, corrected));
  const std::vector<double> plain = HostNumbers(GradientAt(*batch, policy, reference, Plain()));
  size_t at = 0;
  for (size_t i = 0; i < 3; ++i) {
    const size_t chosen_end = at + static_cast<size_t>(batch->plans[2 * i].target_count);
    for (; at < chosen_end; ++at) EXPECT_EQ(scaled[at], plain[at]);
    const MaskPlan& plan = batch->plans[2 * i + 1];
    const std::vector<PlannedTarget> targets = PlannedTargets(plan);
    double exponent = 0;  // (1/K) sum (log policy - log behaviour)
    for (size_t j = 0; j < targets.size(); ++j) {
      const double draws = std::max<double>(plan.blocks[targets[j].block].states.size(), 1);
      exponent +=
          (p[at + j] - batch->pairs[i].rejected.behaviour_logprob[targets[j].index]) / draws;
    }
    const double rho = std::min(1.0, std::exp(exponent));
    EXPECT_NEAR(with.pairs[i].rho, rho, 1e-9);
    EXPECT_EQ(without.pairs[i].rho, 1);
    for (size_t j = 0; j < targets.size(); ++j, ++at) {
      EXPECT_NEAR(scaled[at], rho * plain[at], 1e-12);
      EXPECT_NE(plain[at], 0);
    }
  }
  EXPECT_LT(with.pairs[0].rho, 0.2);
  EXPECT_EQ(with.pairs[2].rho, 1);
}

TEST(PreferenceLossTest, ExternalAnswersAreNotCorrected) {
  const auto batch = MakeBatch(1, {});
  batch->pairs[0].rejected.external = true;
  batch->pairs[0].rejected.behaviour_logprob.clear();
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const PreferenceLoss loss = Loss(*batch, policy, policy, {});
  EXPECT_EQ(loss.pairs[0].rho, 1);
}

TEST(PreferenceLossTest, TheSftTermPullsOnTheChosenAnswerOnly) {
  const auto batch = MakeBatch(1, {});
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  job::ObjectiveSpec sft = Plain();
  sft.sft_weight = 0.25;
  const std::vector<double> extra = HostNumbers(GradientAt(*batch, policy, policy, sft) -
                                                GradientAt(*batch, policy, policy, Plain()));
  const int64_t chosen = batch->plans[0].target_count;
  const std::vector<double> on_chosen(extra.begin(), extra.begin() + chosen);
  const std::vector<double> on_rejected(extra.begin() + chosen, extra.end());
  EXPECT_THAT(on_chosen, Each(DoubleNear(-0.25 / static_cast<double>(chosen), 1e-12)));
  EXPECT_THAT(on_rejected, Each(DoubleNear(0, 1e-12)));
}

TEST(PreferenceLossTest, AnImpossibleTokenGivesInfinityNotNan) {
  const auto batch = MakeBatch(1, {});
  torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  policy[0] = -std::numeric_limits<double>::infinity();
  // margin = -infinity: the loss is infinite, never NaN from 0 * infinity.
  const PreferenceLoss loss = Loss(*batch, policy, RandomLogProbs(Targets(*batch), 2), Plain());
  EXPECT_EQ(loss.loss.item<double>(), std::numeric_limits<double>::infinity());
}

TEST(PreferenceLossTest, ScoresThatDoNotFitThePlansAreRefused) {
  const auto batch = MakeBatch(1, {});
  const torch::Tensor policy = RandomLogProbs(Targets(*batch), 1);
  const auto loss = ComputePreferenceLoss(batch->inputs, policy, policy.slice(0, 1), {}, 1);
  EXPECT_EQ(loss.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(loss.status().message()), HasSubstr("reference log-probabilities"));
}

}  // namespace
}  // namespace dtrpo::objective
