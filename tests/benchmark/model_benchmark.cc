// Forwards at the demo's size (width 96, 3 layers, 4/2 heads, block 4), one thread:
//
//   build/release/bin/model_benchmark
//
// SamplerStep   one denoising step of S sequences against a cache, with context lengths of 8 to 20
// Score         S sequences of 3 blocks, each block re-masked once, forward only
// TrainStep     the same with log-probabilities and the backward pass
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <memory>
#include <vector>

#include "common/base/check.h"
#include "common/model/target_log_probs.h"
#include "common/model/torch_runtime.h"
#include "common/model/transformer.h"

namespace dtrpo::model {
namespace {

constexpr int64_t kBlock = 4, kMask = 3;

std::unique_ptr<Transformer> DemoModel(bool requires_grad) {
  checkpoint::ModelDescriptor d;
  d.family = "fast_dllm_v2";
  d.hidden_size = 96;
  d.num_layers = 3;
  d.num_heads = 4;
  d.num_key_value_heads = 2;
  d.head_dim = 24;
  d.intermediate_size = 256;
  d.vocab_size = 64;
  d.rope_theta = 1e4;
  d.rms_norm_eps = 1e-6;
  d.tie_word_embeddings = true;
  d.qkv_bias = true;
  d.block_size = kBlock;
  d.logit_shift = 1;
  d.mask_id = kMask;
  d.stop_ids = {2};
  auto model = Transformer::Random(d, 1, {torch::kFloat32, requires_grad});
  DTRPO_CHECK_OK(model);
  SetThreads(1);
  return *std::move(model);
}

// One block of each of `sequences`, which lie one after another in the cache, 32 rows apart.
RowBatch SamplerRows(int64_t sequences) {
  RowBatch batch;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t base = 32 * s, context = 8 + s % 4 * kBlock, row = s * kBlock;
    for (int64_t i = 0; i < kBlock; ++i) {
      batch.token_ids.push_back(i < 2 ? 10 + s % 40 : kMask);
      batch.positions.push_back(context + i);
      batch.cache_rows.push_back(base + context + i);
    }
    batch.segments.push_back({row, row + kBlock, {{base, base + context + kBlock}}});
  }
  return batch;
}

// Two clean blocks and three noisy ones of each sequence.
RowBatch ScoreRows(int64_t sequences) {
  RowBatch batch;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t base = batch.token_ids.size();
    for (const int64_t block : {0, 1, 0, 1, 2}) {
      const bool clean = static_cast<int64_t>(batch.token_ids.size()) < base + 2 * kBlock;
      const int64_t row = batch.token_ids.size();
      for (int64_t i = 0; i < kBlock; ++i) {
        batch.token_ids.push_back(clean || i < 2 ? 10 + (s + i) % 40 : kMask);
        batch.positions.push_back(block * kBlock + i);
      }
      Segment segment{row, row + kBlock, {}};
      if (block > 0) segment.keys.push_back({base, base + block * kBlock});
      segment.keys.push_back({row, row + kBlock});
      batch.segments.push_back(segment);
    }
  }
  return batch;
}

void SamplerStep(benchmark::State& state) {
  const auto model = DemoModel(false);
  const RowBatch batch = SamplerRows(state.range(0));
  const c10::InferenceMode inference;
  KvCache cache(model->descriptor(), 32 * state.range(0), torch::kFloat32);
  for (auto _ : state) {
    benchmark::DoNotOptimize(model->Head(model->Forward(batch, &cache)));
  }
  state.counters["rows"] = batch.token_ids.size();
  state.counters["rows_per_second"] =
      benchmark::Counter(batch.token_ids.size(), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(SamplerStep)->Arg(16)->Arg(64)->Arg(256)->Unit(benchmark::kMillisecond);

void Score(benchmark::State& state) {
  const auto model = DemoModel(false);
  const RowBatch batch = ScoreRows(state.range(0));
  const c10::InferenceMode inference;
  for (auto _ : state) benchmark::DoNotOptimize(model->Forward(batch));
  state.counters["rows"] = batch.token_ids.size();
}
BENCHMARK(Score)->Arg(32)->Arg(128)->Unit(benchmark::kMillisecond);

void TrainStep(benchmark::State& state) {
  const auto model = DemoModel(true);
  const RowBatch batch = ScoreRows(state.range(0));
  const int64_t rows = batch.token_ids.size();
  const torch::Tensor targets = torch::randint(4, 64, {rows}, torch::kInt64);
  for (auto _ : state) {
    TargetLogProbs(*model, model->Forward(batch), targets, kMask).sum().backward();
  }
  state.counters["rows"] = rows;
}
BENCHMARK(TrainStep)->Arg(32)->Arg(128)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace dtrpo::model
