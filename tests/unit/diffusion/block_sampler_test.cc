// The sampler against a tiny random model: what it records must be what a forward over the whole
// sequence, without cache or batch, says about the same states.
#include "common/diffusion/block_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/trajectory/block_layout.h"
#include "common/trajectory/state_at.h"
#include "tests/unit/diffusion/tiny_sampler.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::HasSubstr;
using trajectory::FinishReason;
using trajectory::FirstToken;

// Log-probabilities [V] that the model gives for the token at `position` when `tokens` (prompt and
// canvas up to the end of a block) stand there; computed from scratch.
torch::Tensor LogProbabilities(const model::Transformer& model, const std::vector<int32_t>& tokens,
                               int64_t position) {
  torch::NoGradGuard no_grad;
  model::RowBatch batch;
  for (int64_t i = 0; i < static_cast<int64_t>(tokens.size()); ++i) {
    batch.token_ids.push_back(tokens[i]);
    batch.positions.push_back(i);
    if (i % kBlock == 0) batch.segments.push_back({i, i + kBlock, {{0, i + kBlock}}});
  }
  const torch::Tensor hidden = model.Forward(batch);
  const int64_t row = position - model.descriptor().logit_shift;
  torch::Tensor logits = model.Head(hidden.narrow(0, row, 1)).to(torch::kFloat64).squeeze(0);
  logits[kMask] = -std::numeric_limits<double>::infinity();
  return logits.log_softmax(0);
}

// What stood on prompt + canvas when response token i was committed, up to the block whose row
// predicted it.
std::vector<int32_t> StateAtCommit(const Trajectory& t, int64_t i) {
  const int64_t prompt = static_cast<int64_t>(t.prompt_tokens.size());
  const std::vector<trajectory::ResponseBlock> blocks = trajectory::ResponseBlocks(t);
  int64_t b = 0;
  while (blocks[b].end <= i) ++b;
  std::vector<int32_t> tokens = t.prompt_tokens;
  int64_t end = blocks[b].position;  // a block-first token is read from the clean rows before
  std::vector<int32_t> response = t.response_tokens;
  if (t.unmask_step[i] >= 1) {
    end += kBlock;
    response = trajectory::StateBefore(t, b, t.unmask_step[i], kMask);
  }
  tokens.insert(tokens.end(), response.begin(), response.end());
  EXPECT_GE(end, prompt - prompt % kBlock);
  tokens.resize(end);
  return tokens;
}

void ExpectRecordedLogProbabilities(const model::Transformer& model, const Trajectory& t) {
  for (int64_t i = 0; i < static_cast<int64_t>(t.response_tokens.size()); ++i) {
    if (t.unmask_step[i] == trajectory::kNeverCommitted) continue;
    const int64_t position = static_cast<int64_t>(t.prompt_tokens.size()) + i;
    const torch::Tensor expected = LogProbabilities(model, StateAtCommit(t, i), position);
    EXPECT_NEAR(t.behaviour_logprob[i], expected[t.response_tokens[i]].item<double>(), 1e-4)
        << t.id << " response token " << i << " step " << t.unmask_step[i];
    if (t.sampler.temperature == 0) {
      EXPECT_EQ(t.response_tokens[i], expected.argmax().item<int64_t>()) << t.id << " token " << i;
    }
  }
}

TEST(BlockSamplerTest, RecordedLogProbabilitiesEqualARecomputationWithoutCache) {
  for (const int32_t shift : {0, 1}) {
    const auto model = TinyModel(shift);
    for (const std::string unmask : {"steps:2", "threshold:0.3", "factor:1", "entropy:1",
                                     "dream:origin,5", "dream:topk_margin,3", "random:2"}) {
      for (const double temperature : {0.0, 1.0}) {
        for (const int32_t sub_block : {0, 2}) {
          SCOPED_TRACE(absl::StrCat("shift ", shift, " ", unmask, " temperature ", temperature,
                                    " sub_block ", sub_block));
          const auto trajectories = SampleAll(*model, Options(unmask, temperature, sub_block),
                                              Requests({1, 3, 4, 5, 6, 7, 8}, 1));
          for (const Trajectory& t : trajectories) {
            EXPECT_TRUE(trajectory::Validate(t, kVocabulary).ok())
                << trajectory::Validate(t, kVocabulary);
            ExpectRecordedLogProbabilities(*model, t);
          }
        }
      }
    }
  }
}

TEST(BlockSamplerTest, FiltersOnlyChooseTheToken) {
  const auto model = TinyModel();
  SamplerOptions options = Options("steps:2", 0.8);
  options.parameters.top_p = 0.7;
  options.parameters.top_k = 5;
  for (const Trajectory& t : SampleAll(*model, options, Requests({3, 4}, 4))) {
    ExpectRecordedLogProbabilities(*model, t);
  }
}

// Invariant 5.
TEST(BlockSamplerTest, SameSeedGivesTheSameTrajectoryWhateverTheBatch) {
  const auto model = TinyModel();
  for (const std::string unmask :
       {"steps:2", "threshold:0.3", "random:1", "dream:origin,9", "dream:entropy,6,0.001,0.5"}) {
    const auto requests = Requests({3, 4, 8, 9, 17}, 4);
    SamplerOptions options = Options(unmask, 1);
    const auto expected = SampleAll(*model, options, requests);
    for (const int32_t batch : {1, 3, 7}) {
      options.batch_sequences = batch;
      options.max_prefill_rows = batch == 3 ? 4 : 4096;  // prompts arrive a block at a time
      const auto got = SampleAll(*model, options, requests);
      ASSERT_EQ(got.size(), expected.size());
      for (size_t i = 0; i < got.size(); ++i) ExpectSameTrajectory(expected[i], got[i]);
    }
    auto reversed = requests;
    std::reverse(reversed.begin(), reversed.end());
    auto got = SampleAll(*model, options, reversed);
    std::reverse(got.begin(), got.end());
    for (size_t i = 0; i < got.size(); ++i) ExpectSameTrajectory(expected[i], got[i]);
  }
}

TEST(BlockSamplerTest, TemperedConfidenceChangesTheOrderButNotWhatIsRecorded) {
  const auto model = TinyModel();
  const auto requests = Requests({3, 4, 8}, 4);
  SamplerOptions options = Options("threshold:0.6", 0.5);
  const auto untempered = SampleAll(*model, options, requests);
  options.parameters.confidence = trajectory::kTempered;
  const auto tempered = SampleAll(*model, options, requests);
  bool other_order = false;
  for (size_t i = 0; i < tempered.size(); ++i) {
    EXPECT_EQ(tempered[i].sampler.confidence, trajectory::kTempered);
    EXPECT_TRUE(trajectory::Validate(tempered[i], kVocabulary).ok());
    ExpectRecordedLogProbabilities(*model, tempered[i]);
    other_order = other_order || tempered[i].unmask_step != untempered[i].unmask_step;
  }
  EXPECT_TRUE(other_order);
}

TEST(BlockSamplerTest, AnotherSeedGivesAnotherTrajectory) {
  const auto model = TinyModel();
  const auto t = SampleAll(*model, Options("steps:2", 1), Requests({4}, 2));
  EXPECT_NE(t[0].response_tokens, t[1].response_tokens);
}

TEST(BlockSamplerTest, StepsPolicyCommitsItsShareInEveryStep) {
  const auto model = TinyModel();
  for (const Trajectory& t : SampleAll(*model, Options("steps:3", 1), Requests({5}, 8))) {
    for (const trajectory::ResponseBlock& block : trajectory::ResponseBlocks(t)) {
      const auto begin = t.unmask_step.begin();
      if (std::count(begin + block.begin, begin + block.end, trajectory::kNeverCommitted) > 0) {
        continue;  // ended by a stop token
      }
      for (const int32_t step : {1, 2, 3}) {  // three masks: one was prompt or first token
        EXPECT_EQ(std::count(begin + block.begin, begin + block.end, step), 1);
      }
    }
  }
}

TEST(BlockSamplerTest, SequencesEndByStopOrByLength) {
  const auto model = TinyModel();
  int stopped = 0;
  int full = 0;
  for (const Trajectory& t : SampleAll(*model, Options("steps:2", 1), Requests({4, 5, 6}, 16))) {
    if (t.finish_reason == FinishReason::kStop) {
      ++stopped;
      ASSERT_GE(t.stop_index, 0);
      EXPECT_EQ(t.response_tokens[t.stop_index], kStop);
      for (int32_t i = 0; i <= t.stop_index; ++i) EXPECT_GE(t.unmask_step[i], 0);
    } else {
      ++full;
      EXPECT_EQ(t.stop_index, -1);
      EXPECT_EQ(std::count(t.response_tokens.begin(), t.response_tokens.end(), kMask), 0);
    }
    EXPECT_EQ((t.prompt_tokens.size() + t.response_tokens.size()) % kBlock, 0u);
  }
  EXPECT_GT(stopped, 0);
  EXPECT_GT(full, 0);
}

TEST(BlockSamplerTest, GreedyFirstTokenIsTheArgmaxOfTheCleanRow) {
  const auto model = TinyModel();
  SamplerOptions options = Options("steps:2", 1);
  options.parameters.first_token = FirstToken::kGreedy;
  int other_than_argmax = 0;
  for (const Trajectory& t : SampleAll(*model, options, Requests({4, 5}, 8))) {
    EXPECT_EQ(t.sampler.first_token, FirstToken::kGreedy);
    for (int64_t i = 0; i < static_cast<int64_t>(t.response_tokens.size()); ++i) {
      if (t.unmask_step[i] < 0) continue;
      const torch::Tensor p = LogProbabilities(*model, StateAtCommit(t, i),
                                               static_cast<int64_t>(t.prompt_tokens.size()) + i);
      const bool is_argmax = t.response_tokens[i] == p.argmax().item<int64_t>();
      if (t.unmask_step[i] == 0) {
        EXPECT_TRUE(is_argmax) << t.id << " token " << i;
      }
      if (!is_argmax) ++other_than_argmax;
    }
    ExpectRecordedLogProbabilities(*model, t);
  }
  EXPECT_GT(other_than_argmax, 0);
}

TEST(BlockSamplerTest, RecordsWhatMadeTheTrajectory) {
  const auto model = TinyModel(0);
  const auto t = SampleAll(*model, Options("steps:2", 0), Requests({4}, 1));
  EXPECT_EQ(t[0].model_id, "tiny");
  EXPECT_EQ(t[0].seed, 4000u);
  EXPECT_EQ(t[0].weights_version, std::vector<int64_t>{3});
  EXPECT_EQ(t[0].sampler.unmask, "steps:2");
  EXPECT_EQ(t[0].sampler.first_token, FirstToken::kNone);  // no token shift
  EXPECT_EQ(t[0].block_size, kBlock);
}

TEST(BlockSamplerTest, RefusesParametersThatMakeNoSense) {
  const auto model = TinyModel();
  const auto refusal = [&](void (*change)(SamplerOptions*)) {
    SamplerOptions options = Options("steps:2", 1);
    change(&options);
    return std::string(BlockSampler::Create(model.get(), options).status().message());
  };
  EXPECT_THAT(refusal([](auto* o) { o->parameters.unmask = "x:1"; }), HasSubstr("unmask 'x:1'"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.confidence = "hot"; }),
              HasSubstr("confidence 'hot'"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.repetition_guard = 2; }),
              HasSubstr("repetition_guard 2"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.temperature = -1; }), HasSubstr("temperature"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.top_p = 0; }), HasSubstr("top_p"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.top_k = -1; }), HasSubstr("top_k"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.sub_block = 5; }), HasSubstr("sub_block"));
  EXPECT_THAT(refusal([](auto* o) { o->parameters.max_new_tokens = 0; }),
              HasSubstr("max_new_tokens"));
  EXPECT_THAT(refusal([](auto* o) { o->batch_sequences = 0; }), HasSubstr("batch_sequences"));
}

TEST(BlockSamplerTest, RefusesPromptsNamingTheRequest) {
  const auto model = TinyModel();
  auto sampler = BlockSampler::Create(model.get(), Options("steps:2", 1));
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  for (const std::vector<int32_t>& prompt : {std::vector<int32_t>{}, {1, kVocabulary}, {-1}}) {
    const auto result = (*sampler)->Sample({{"good", {1}, 1}, {"bad", prompt, 1}});
    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(result.status().message()), HasSubstr("'bad'"));
  }
}

TEST(BlockSamplerTest, LogitsThatAreNotFiniteAreAnError) {
  const auto model = TinyModel();
  {
    torch::NoGradGuard no_grad;
    model->Parameters().back().fill_(std::numeric_limits<float>::quiet_NaN());
  }
  auto sampler = BlockSampler::Create(model.get(), Options("steps:2", 1));
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  const auto result = (*sampler)->Sample(Requests({4}, 1));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("not finite"));
}

}  // namespace
}  // namespace dtrpo::diffusion
