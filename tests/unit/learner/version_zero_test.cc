// Invariant 3 over the real scorer: at version 0 the policy is the reference, in each dtype and
// however their forwards are put together.
#include <gtest/gtest.h>

#include <cmath>

#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/training/preference_trainer.h"
#include "services/reference/reference_scorer.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::learner {
namespace {

constexpr char kJob[] = "job";
constexpr int kPairs = 12;

struct Case {
  std::string dtype;
  torch::Dtype expected;
  int32_t micro_batch_pairs;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.dtype << " by " << c.micro_batch_pairs; }

class VersionZeroTest : public ::testing::TestWithParam<Case> {};

TEST_P(VersionZeroTest, TheLossIsLogTwo) {
  const std::string path = testing::TempDir() + "dtrpo_version_zero";
  support::WriteTinyCheckpoint(path);
  job::JobSpec spec;
  spec.model.path = path;
  spec.model.dtype = GetParam().dtype;
  spec.objective.sft_weight = 0;
  spec.training.steps = 1;
  spec.training.micro_batch_pairs = GetParam().micro_batch_pairs;

  base::FakeMetrics registry;
  reference::ReferenceMetrics metrics(&registry);
  reference::ReferenceScorer scorer({.batch_trajectories = 7}, base::RealClock(), &metrics);
  ASSERT_TRUE(scorer.Load(kJob, spec.model).ok());
  auto trained =
      training::TrainedModel::Create(support::LoadModel(path, true), GetParam().expected);
  ASSERT_TRUE(trained.ok()) << trained.status();
  const auto plan = training::PlanOptions(spec, trained->model().descriptor().attention);
  const auto trainer = training::PreferenceTrainer::Create(*std::move(trained), spec);
  ASSERT_TRUE(trainer.ok()) << trainer.status();

  std::vector<trajectory::PreferencePair> pairs;
  std::vector<reference::ScoreItem> items;
  for (uint64_t seed = 1; seed <= kPairs; ++seed) {
    pairs.push_back(support::TinyPair(seed));
    items.push_back({pairs.back().chosen, 0});
    items.push_back({pairs.back().rejected, 0});
  }
  const auto scores = scorer.Score(kJob, "", *plan, items);
  ASSERT_TRUE(scores.ok()) << scores.status();
  training::StepInput input{.step = 1, .policy_version = 0, .global_pairs = kPairs, .pairs = {}};
  for (int i = 0; i < kPairs; ++i) {
    input.pairs.push_back({.pair = &pairs[i],
                           .use_index = 0,
                           .reference_chosen = scores->targets[2 * i],
                           .reference_rejected = scores->targets[2 * i + 1]});
  }
  const auto outcome = (*trainer)->Step(input);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  RecordProperty("loss", std::to_string(outcome->values.at("preference_loss")));
  EXPECT_NEAR(outcome->values.at("preference_loss"), std::log(2.0), 1e-6);
  EXPECT_NEAR(outcome->values.at("margin"), 0, 1e-5);
  EXPECT_GT(outcome->values.at("gradient_norm"), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, VersionZeroTest,
                         ::testing::Values(Case{"float32", torch::kFloat32, 0},
                                           Case{"float32", torch::kFloat32, 5},
                                           Case{"bfloat16", torch::kBFloat16, 0},
                                           Case{"bfloat16", torch::kBFloat16, 5},
                                           Case{"auto", torch::kFloat32, 1}));

}  // namespace
}  // namespace dtrpo::learner
