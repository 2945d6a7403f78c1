// Token sampler, policies and sequence state together against an independent twin of them
// (tests/golden/make_sampler_fixtures.py): tables of logits stand for the model.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "common/base/philox.h"
#include "common/diffusion/sequence_state.h"
#include "common/diffusion/token_sampler.h"
#include "common/diffusion/unmask_policy.h"

namespace dtrpo::diffusion {
namespace {

using nlohmann::json;

// [s, n, V]: row [k, j] is for the j-th position after the prompt, at every s-th step from the
// k-th.
torch::Tensor Tables(const json& golden) {
  const auto tables = golden["tables"].get<std::vector<std::vector<std::vector<float>>>>();
  std::vector<torch::Tensor> all;
  for (const auto& table : tables) {
    for (const auto& row : table) all.push_back(torch::tensor(row));
  }
  return torch::stack(all).view(
      {static_cast<int64_t>(tables.size()), static_cast<int64_t>(tables[0].size()), -1});
}

// One block as long as the prompt, without token shift; never stops early.
trajectory::Trajectory Sample(const torch::Tensor& tables, const json& golden, const json& c) {
  const auto policy = ParseUnmaskPolicy(c["unmask"].get<std::string>()).value();
  SequenceRules rules;
  rules.block_size = static_cast<int32_t>(tables.size(1));
  rules.sub_block = c["sub_block"].get<int32_t>();
  rules.max_new_tokens = rules.block_size;
  rules.mask_id = golden["mask_id"].get<int32_t>();
  rules.policy = policy.get();
  TokenSamplerOptions options;
  options.temperature = c["temperature"].get<double>();
  options.top_p = c["top_p"].get<double>();
  options.top_k = c["top_k"].get<int32_t>();
  options.mask_id = rules.mask_id;
  options.tempered_confidence = c["confidence"] == trajectory::kTempered;
  options.needs = policy->needs();
  const TokenSampler sampler(options);

  const int64_t prompt = golden["prompt_tokens"].get<int64_t>();
  const uint64_t seed = c["seed"].get<uint64_t>();
  SequenceState state(&rules, std::vector<int32_t>(prompt, 1), seed);
  for (int64_t step = 0; state.stage() != SequenceState::Stage::kDone; ++step) {
    std::vector<torch::Tensor> rows;
    std::vector<RowDraw> draws;
    for (const TokenQuery& query : state.Queries()) {
      rows.push_back(tables[step % tables.size(0)][query.position - prompt]);
      draws.push_back({base::CounterRng(seed, query.position).Uniform01At(query.draw), false});
    }
    state.Advance(sampler.Pick(torch::stack(rows), draws));
  }
  trajectory::Trajectory t;
  state.FillTrajectory(&t);
  return t;
}

TEST(SamplerGoldenTest, CommitsWhatTheTwinCommits) {
  const json golden =
      json::parse(base::PosixFileSystem()
                      ->Read(absl::StrCat(DTRPO_SOURCE_DIR, "/tests/golden/sampler/expected.json"))
                      .value());
  const torch::Tensor tables = Tables(golden);
  ASSERT_GE(golden["cases"].size(), 100u);
  for (const json& c : golden["cases"]) {
    SCOPED_TRACE(c.dump());
    const trajectory::Trajectory t = Sample(tables, golden, c);
    EXPECT_EQ(t.unmask_step, c["step"].get<std::vector<int32_t>>());
    EXPECT_EQ(t.response_tokens, c["token"].get<std::vector<int32_t>>());
    const auto logprobs = c["logprob"].get<std::vector<float>>();
    ASSERT_EQ(t.behaviour_logprob.size(), logprobs.size());
    for (size_t i = 0; i < logprobs.size(); ++i) {
      EXPECT_NEAR(t.behaviour_logprob[i], logprobs[i], 1e-5);
    }
  }
}

}  // namespace
}  // namespace dtrpo::diffusion
