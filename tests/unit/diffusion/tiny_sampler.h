// A sampler over a tiny random model, and requests for it.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/diffusion/block_sampler.h"
#include "common/model/transformer.h"

namespace dtrpo::diffusion {

using trajectory::Trajectory;

constexpr int32_t kVocabulary = 23;
constexpr int32_t kMask = 22;
constexpr int32_t kStop = 21;
constexpr int32_t kBlock = 4;

inline checkpoint::ModelDescriptor TinyDescriptor(int32_t shift) {
  checkpoint::ModelDescriptor d;
  d.family = "fast_dllm_v2";
  d.hidden_size = 16;
  d.num_layers = 2;
  d.num_heads = 4;
  d.num_key_value_heads = 2;
  d.head_dim = 4;
  d.intermediate_size = 24;
  d.vocab_size = kVocabulary;
  d.rope_theta = 10000;
  d.rms_norm_eps = 1e-6;
  d.qkv_bias = true;
  d.block_size = kBlock;
  d.logit_shift = shift;
  d.mask_id = kMask;
  d.pad_id = kStop;
  d.stop_ids = {kStop};
  return d;
}

inline std::unique_ptr<model::Transformer> TinyModel(int32_t shift = 1, uint64_t seed = 7) {
  auto model = model::Transformer::Random(TinyDescriptor(shift), seed, {});
  EXPECT_TRUE(model.ok()) << model.status();
  // As initialised all tokens are about equally likely; real distributions have peaks.
  torch::NoGradGuard no_grad;
  for (const torch::Tensor& parameter : (*model)->Parameters()) {
    if (parameter.dim() == 2) parameter.mul_(12);
  }
  return *std::move(model);
}

inline std::vector<int32_t> Prompt(int64_t length, int32_t salt = 0) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i) tokens.push_back((5 * i + 3 + salt) % 20);
  return tokens;
}

inline std::vector<SampleRequest> Requests(const std::vector<int64_t>& prompt_lengths,
                                           int32_t samples) {
  std::vector<SampleRequest> requests;
  for (const int64_t length : prompt_lengths) {
    for (int32_t s = 0; s < samples; ++s) {
      requests.push_back({absl::StrCat("p", length, "/", s), Prompt(length),
                          static_cast<uint64_t>(1000 * length + s)});
    }
  }
  return requests;
}

inline SamplerOptions Options(const std::string& unmask, double temperature,
                              int32_t sub_block = 0) {
  SamplerOptions options;
  options.parameters.unmask = unmask;
  options.parameters.temperature = temperature;
  options.parameters.sub_block = sub_block;
  options.parameters.max_new_tokens = 10;
  options.model_id = "tiny";
  options.weights_version = 3;
  return options;
}

inline std::vector<Trajectory> SampleAll(const model::Transformer& model,
                                         const SamplerOptions& options,
                                         const std::vector<SampleRequest>& requests) {
  auto sampler = BlockSampler::Create(&model, options);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  auto trajectories = (*sampler)->Sample(requests);
  EXPECT_TRUE(trajectories.ok()) << trajectories.status();
  return *std::move(trajectories);
}

inline void ExpectSameTrajectory(const Trajectory& a, const Trajectory& b) {
  SCOPED_TRACE(a.id);
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.response_tokens, b.response_tokens);
  EXPECT_EQ(a.unmask_step, b.unmask_step);
  EXPECT_EQ(a.stop_index, b.stop_index);
  ASSERT_EQ(a.behaviour_logprob.size(), b.behaviour_logprob.size());
  for (size_t i = 0; i < a.behaviour_logprob.size(); ++i) {
    EXPECT_NEAR(a.behaviour_logprob[i], b.behaviour_logprob[i], 1e-5);
  }
}

}  // namespace dtrpo::diffusion
