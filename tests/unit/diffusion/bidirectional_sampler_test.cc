// Bidirectional families (LLaDA-like and Dream-like tiny models): each recorded log-probability is
// that of one plain forward over prompt and whole canvas as they stood.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/diffusion/block_sampler.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/state_at.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::HasSubstr;
using trajectory::FinishReason;
using trajectory::Trajectory;

constexpr int32_t kVocabulary = 23;
constexpr int32_t kMask = 22;
constexpr int32_t kStop = 21;

checkpoint::ModelDescriptor Descriptor(int32_t shift, int32_t block_size) {
  checkpoint::ModelDescriptor d;
  d.family = shift == 1 ? "dream" : "llada";
  d.architecture = shift == 1 ? checkpoint::Architecture::kQwen2 : checkpoint::Architecture::kLlada;
  d.attention = checkpoint::Attention::kBidirectional;
  d.block_origin = checkpoint::BlockOrigin::kResponse;
  d.hidden_size = 16;
  d.num_layers = 2;
  d.num_heads = d.num_key_value_heads = 4;
  d.head_dim = 4;
  d.intermediate_size = 24;
  d.vocab_size = kVocabulary;
  d.rope_theta = 10000;
  d.rms_norm_eps = 1e-6;
  d.qkv_bias = shift == 1;
  d.block_size = block_size;
  d.logit_shift = shift;
  d.mask_id = kMask;
  d.pad_id = kStop;
  d.stop_ids = {kStop};
  return d;
}

std::unique_ptr<model::Transformer> Model(const checkpoint::ModelDescriptor& descriptor) {
  auto model = model::Transformer::Random(descriptor, 7, {});
  EXPECT_TRUE(model.ok()) << model.status();
  torch::NoGradGuard no_grad;
  for (const torch::Tensor& parameter : (*model)->Parameters()) {
    if (parameter.dim() == 2) parameter.mul_(12);  // peaks, as trained distributions have them
  }
  return *std::move(model);
}

std::vector<SampleRequest> Requests(const std::vector<int64_t>& prompt_lengths) {
  std::vector<SampleRequest> requests;
  for (const int64_t length : prompt_lengths) {
    SampleRequest& request = requests.emplace_back();
    request.id = absl::StrCat("p", length, "/", requests.size());
    request.seed = 100 * length + requests.size();
    for (int64_t i = 0; i < length; ++i) {
      request.prompt_tokens.push_back(static_cast<int32_t>((5 * i + 3) % 20));
    }
  }
  return requests;
}

SamplerOptions Options(const std::string& unmask, double temperature, int32_t sub_block = 0) {
  SamplerOptions options;
  options.parameters.unmask = unmask;
  options.parameters.temperature = temperature;
  options.parameters.sub_block = sub_block;
  options.parameters.max_new_tokens = 10;
  return options;
}

std::vector<Trajectory> SampleAll(const model::Transformer& model, const SamplerOptions& options,
                                  const std::vector<SampleRequest>& requests) {
  auto sampler = BlockSampler::Create(&model, options);
  EXPECT_TRUE(sampler.ok()) << sampler.status();
  auto trajectories = (*sampler)->Sample(requests);
  EXPECT_TRUE(trajectories.ok()) << trajectories.status();
  return *std::move(trajectories);
}

// Log-probabilities [V] for response token i in the state in which it was committed.
torch::Tensor AtCommit(const model::Transformer& model, const Trajectory& t, int64_t i) {
  torch::NoGradGuard no_grad;
  const int64_t block = i / t.block_size;
  std::vector<int32_t> tokens = t.prompt_tokens;
  for (const int32_t token : trajectory::StateBefore(t, block, t.unmask_step[i], kMask)) {
    tokens.push_back(token);
  }
  model::RowBatch batch;
  for (const int32_t token : tokens) {
    batch.positions.push_back(static_cast<int64_t>(batch.token_ids.size()));
    batch.token_ids.push_back(token);
  }
  const int64_t rows = static_cast<int64_t>(tokens.size());
  batch.segments = {{0, rows, {{0, rows}}}};
  const int64_t row =
      static_cast<int64_t>(t.prompt_tokens.size()) + i - model.descriptor().logit_shift;
  torch::Tensor logits =
      model.Head(model.Forward(batch).narrow(0, row, 1)).to(torch::kFloat64).squeeze(0);
  logits[kMask] = -std::numeric_limits<double>::infinity();
  return logits.log_softmax(0);
}

void ExpectRecordedLogProbabilities(const model::Transformer& model, const Trajectory& t) {
  for (int64_t i = 0; i < static_cast<int64_t>(t.response_tokens.size()); ++i) {
    if (t.unmask_step[i] == trajectory::kNeverCommitted) continue;
    const torch::Tensor expected = AtCommit(model, t, i);
    EXPECT_NEAR(t.behaviour_logprob[i], expected[t.response_tokens[i]].item<double>(), 1e-4)
        << t.id << " response token " << i << " step " << t.unmask_step[i];
    if (t.sampler.temperature == 0) {
      EXPECT_EQ(t.response_tokens[i], expected.argmax().item<int64_t>()) << t.id << " token " << i;
    }
  }
}

TEST(BidirectionalSamplerTest, RecordedLogProbabilitiesEqualAFullForwardOverEachState) {
  for (const int32_t shift : {0, 1}) {
    for (const int32_t block_size : {0, 4}) {
      const auto model = Model(Descriptor(shift, block_size));
      for (const std::string unmask : {"steps:2", "threshold:0.3"}) {
        for (const double temperature : {0.0, 1.0}) {
          for (const int32_t sub_block : {0, 3}) {
            SCOPED_TRACE(absl::StrCat("shift ", shift, " block ", block_size, " ", unmask,
                                      " temperature ", temperature, " sub_block ", sub_block));
            for (const Trajectory& t : SampleAll(*model, Options(unmask, temperature, sub_block),
                                                 Requests({1, 2, 3, 4, 5, 8, 9}))) {
              EXPECT_TRUE(trajectory::Validate(t, kVocabulary).ok())
                  << trajectory::Validate(t, kVocabulary);
              ExpectRecordedLogProbabilities(*model, t);
            }
          }
        }
      }
    }
  }
}

TEST(BidirectionalSamplerTest, TheWholeCanvasIsRecordedAndOneBlockWhereTheModelHasNone) {
  const auto whole = Model(Descriptor(1, 0));
  const auto blocks = Model(Descriptor(1, 4));
  int stopped = 0;
  for (const Trajectory& t :
       SampleAll(*whole, Options("steps:2", 1), Requests({3, 3, 3, 3, 3, 3, 3, 3}))) {
    EXPECT_EQ(t.block_size, 10);  // max_new_tokens
    EXPECT_EQ(t.response_tokens.size(), 10u);
    EXPECT_EQ(t.block_origin, trajectory::BlockOrigin::kResponse);
    EXPECT_EQ(t.sampler.first_token, trajectory::FirstToken::kNone);
    stopped += t.finish_reason == FinishReason::kStop;
  }
  for (const Trajectory& t :
       SampleAll(*blocks, Options("steps:2", 1), Requests({3, 3, 3, 3, 3, 3, 3, 3}))) {
    EXPECT_EQ(t.block_size, 4);
    EXPECT_EQ(t.response_tokens.size(), 12u);  // to the end of the third block
    stopped += t.finish_reason == FinishReason::kStop;
  }
  EXPECT_GT(stopped, 0);
}

// A control: were later blocks not on the canvas, as for block-causal models, the numbers would be
// others.
TEST(BidirectionalSamplerTest, LaterMaskedBlocksMatter) {
  const auto model = Model(Descriptor(0, 4));
  SamplerOptions longer = Options("steps:2", 0);
  longer.parameters.max_new_tokens = 12;
  SamplerOptions shorter = longer;
  shorter.parameters.max_new_tokens = 4;
  const Trajectory a = SampleAll(*model, longer, Requests({5}))[0];
  const Trajectory b = SampleAll(*model, shorter, Requests({5}))[0];
  EXPECT_GT(std::abs(a.behaviour_logprob[0] - b.behaviour_logprob[0]), 1e-3);
}

// Invariant 5.
TEST(BidirectionalSamplerTest, SameSeedGivesTheSameTrajectoryWhateverTheBatch) {
  const auto model = Model(Descriptor(1, 4));
  const auto requests = Requests({3, 4, 4, 8, 9, 17, 1});
  SamplerOptions options = Options("threshold:0.3", 1);
  const auto expected = SampleAll(*model, options, requests);
  for (const int32_t batch : {1, 3}) {
    for (const int64_t rows : {1, 40, 4096}) {  // one sequence, about two, all
      options.batch_sequences = batch;
      options.max_prefill_rows = rows;
      const auto got = SampleAll(*model, options, requests);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].response_tokens, expected[i].response_tokens) << expected[i].id;
        EXPECT_EQ(got[i].unmask_step, expected[i].unmask_step) << expected[i].id;
        for (size_t j = 0; j < got[i].behaviour_logprob.size(); ++j) {
          EXPECT_NEAR(got[i].behaviour_logprob[j], expected[i].behaviour_logprob[j], 1e-5);
        }
      }
    }
  }
}

TEST(BidirectionalSamplerTest, OneForwardAStepAndRowsBoundWhoSharesIt) {
  const auto model = Model(Descriptor(0, 4));
  SamplerOptions options = Options("steps:2", 0);
  options.parameters.max_new_tokens = 8;
  for (const int64_t rows : {4096, 13}) {  // a sequence has 5 + 8 rows
    options.max_prefill_rows = rows;
    auto sampler = BlockSampler::Create(model.get(), options);
    ASSERT_TRUE(sampler.ok()) << sampler.status();
    const auto t = (*sampler)->Sample(Requests({5, 5}));
    ASSERT_TRUE(t.ok()) << t.status();
    ASSERT_EQ((*t)[0].finish_reason, FinishReason::kLength);
    EXPECT_EQ((*sampler)->statistics().forwards, rows == 13 ? 8 : 4);  // 2 blocks of 2 steps
    EXPECT_EQ((*sampler)->statistics().sequence_forwards, 8);
  }
}

TEST(BidirectionalSamplerTest, RefusesOtherBlockOriginsAndGreedyFirstTokens) {
  checkpoint::ModelDescriptor odd = Descriptor(1, 4);
  odd.block_origin = checkpoint::BlockOrigin::kAbsolute;
  const auto odd_model = Model(odd);
  EXPECT_THAT(
      std::string(BlockSampler::Create(odd_model.get(), Options("steps:2", 0)).status().message()),
      HasSubstr("block_origin absolute"));
  const auto model = Model(Descriptor(1, 4));
  SamplerOptions options = Options("steps:2", 0);
  options.parameters.first_token = trajectory::FirstToken::kGreedy;
  EXPECT_THAT(std::string(BlockSampler::Create(model.get(), options).status().message()),
              HasSubstr("first_token greedy"));
}

}  // namespace
}  // namespace dtrpo::diffusion
