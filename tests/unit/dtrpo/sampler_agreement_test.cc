// The two ways a trajectory gets its log-probabilities: recorded by the sampler, step by step over
// its cache, and scored afterwards in one forward. For the same weights they are the same numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "common/diffusion/block_sampler.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/unit/dtrpo/step_oracle.h"

namespace dtrpo::objective {
namespace {

using trajectory::Trajectory;

std::vector<Trajectory> Sample(const model::Transformer& model, const std::string& unmask,
                               int32_t sub_block, double temperature = 1) {
  diffusion::SamplerOptions options;
  options.parameters.unmask = unmask;
  options.parameters.sub_block = sub_block;
  options.parameters.temperature = temperature;
  options.parameters.max_new_tokens = 14;
  options.model_id = "tiny";
  std::vector<diffusion::SampleRequest> requests;
  for (uint64_t i = 0; i < 9; ++i) {
    diffusion::SampleRequest& request = requests.emplace_back();
    request.id = "t" + std::to_string(i);
    request.seed = i;
    for (uint64_t p = 0; p <= i; ++p) request.prompt_tokens.push_back(static_cast<int32_t>(p % 11));
  }
  auto sampler = diffusion::BlockSampler::Create(&model, options);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  auto trajectories = (*sampler)->Sample(requests);
  EXPECT_TRUE(trajectories.ok()) << trajectories.status();
  return *std::move(trajectories);
}

// Returns how many were compared.
int64_t ExpectScoresAsRecorded(const model::Transformer& model, const Trajectory& t) {
  const trajectory::MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const std::vector<double> scores = Score(model, t, plan);
  const std::vector<PlannedTarget> targets = PlannedTargets(plan);
  EXPECT_EQ(static_cast<int64_t>(targets.size()), TargetCount(t));
  for (size_t i = 0; i < targets.size(); ++i) {
    EXPECT_NEAR(scores[i], t.behaviour_logprob[targets[i].index], 1e-6)  // kept as float
        << t.id << " token " << targets[i].index << " " << t.sampler.unmask;
  }
  return static_cast<int64_t>(targets.size());
}

// Invariant 2, from end to end.
TEST(SamplerAgreementTest, ExactScoresEqualWhatTheCachedSamplerRecorded) {
  for (const bool shift : {true, false}) {
    const auto model = ScoredModel(1, shift);
    for (const auto& [unmask, sub_block] :
         {std::pair("steps:2", 0), std::pair("steps:1", 2), std::pair("threshold:0.4", 0),
          std::pair("threshold:0.9,2", 2), std::pair("factor:1", 0), std::pair("entropy:1", 0),
          std::pair("dream:origin,5", 0), std::pair("dream:maskgit_plus,3", 0),
          std::pair("dream:topk_margin,9", 2), std::pair("dream:entropy,4,0.001,0.5", 0),
          std::pair("sequential:1", 0), std::pair("random:2", 0)}) {
      int64_t compared = 0;
      for (const Trajectory& t : Sample(*model, unmask, sub_block)) {
        ASSERT_TRUE(Validate(t, 13).ok()) << Validate(t, 13);
        compared += ExpectScoresAsRecorded(*model, t);
      }
      EXPECT_GT(compared, 40);
    }
  }
}

TEST(SamplerAgreementTest, ExactScoresEqualWhatTheBidirectionalSamplerRecorded) {
  for (const bool shift : {true, false}) {
    const auto model = BidirectionalModel(1, shift);
    for (const auto& [unmask, sub_block, temperature] :
         {std::tuple("steps:2", 0, 1.0), std::tuple("steps:1", 2, 0.0),
          std::tuple("threshold:0.4", 0, 1.0)}) {
      int64_t compared = 0;
      for (const Trajectory& t : Sample(*model, unmask, sub_block, temperature)) {
        ASSERT_TRUE(Validate(t, 13).ok()) << Validate(t, 13);
        compared += ExpectScoresAsRecorded(*model, t);
      }
      EXPECT_GT(compared, 40);
    }
  }
}

}  // namespace
}  // namespace dtrpo::objective
