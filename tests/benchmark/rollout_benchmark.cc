// The rollout engine on a checkpoint, against the clock and against bare matrix multiplications.
//
//   build/release/bin/rollout_benchmark --checkpoint DIR --prompts DIR
//       --benchmark_filter=rollout/float32/batch:16/threshold/equal
//
// tools/peers makes both folders (make_checkpoint.py, make_prompts.py) and has the Python program
// that these numbers are compared with (compare.py).
//
// rollout/DTYPE/batch:B/POLICY/LENGTHS   answers to the first prompts of LENGTHS.jsonl, B sequences
//                                        at a time
// step/DTYPE/batch:B                     one denoising step of B sequences in step, and the bare
//                                        multiplications in it: matmul_fraction is their share
//
// Temperature 0, sub-blocks of 8.
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/check.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/diffusion/block_sampler.h"
#include "common/model/transformer.h"
#include "tests/benchmark/workload.h"

namespace dtrpo::benchmarks {
namespace {

using diffusion::BlockSampler;
using diffusion::SampleRequest;
using diffusion::SampleStatistics;

Flags flags;

const model::Transformer& Model(torch::Dtype dtype) {
  static std::map<torch::Dtype, std::unique_ptr<model::Transformer>> models;
  std::unique_ptr<model::Transformer>& model = models[dtype];
  if (model == nullptr) {
    const auto folder = checkpoint::CheckpointFolder::Open(flags.checkpoint);
    DTRPO_CHECK_OK(folder);
    auto loaded = model::Transformer::Load(*folder, {dtype});
    DTRPO_CHECK_OK(loaded);
    model = *std::move(loaded);
  }
  return *model;
}

void WriteTokens(absl::Span<const trajectory::Trajectory> trajectories) {
  std::ofstream file(flags.tokens_out);
  for (const trajectory::Trajectory& t : trajectories) {
    std::vector<int32_t> tokens = t.response_tokens;
    tokens.resize(trajectory::TargetCount(t));
    file << nlohmann::json{{"id", t.id}, {"response_tokens", tokens}}.dump() << "\n";
  }
  DTRPO_CHECK(file.flush().good()) << flags.tokens_out << " can't be written";
}

void Rollout(benchmark::State& state, torch::Dtype dtype, int32_t batch, const std::string& unmask,
             const std::string& lengths) {
  const model::Transformer& model = Model(dtype);
  const int32_t count = flags.requests > 0 ? flags.requests : std::max(2, batch);
  const std::vector<SampleRequest> requests = ReadRequests(flags, lengths, count);
  const std::unique_ptr<BlockSampler> sampler = MakeSampler(model, unmask, batch);
  SampleRequest warm_up = requests[0];
  warm_up.max_new_tokens = 1;
  DTRPO_CHECK_OK(sampler->Sample({warm_up}));

  const SampleStatistics before = sampler->statistics();
  std::vector<trajectory::Trajectory> trajectories;
  for (auto _ : state) {
    auto sampled = sampler->Sample(requests);
    DTRPO_CHECK_OK(sampled);
    trajectories = *std::move(sampled);
  }
  const SampleStatistics& after = sampler->statistics();
  const auto runs = static_cast<double>(state.iterations());
  const auto tokens = static_cast<double>(after.tokens - before.tokens);
  const auto sequence_forwards =
      static_cast<double>(after.sequence_forwards - before.sequence_forwards);
  state.counters["tokens"] = tokens / runs;
  state.counters["tokens_per_second"] = benchmark::Counter(tokens, benchmark::Counter::kIsRate);
  state.counters["forwards"] = static_cast<double>(after.forwards - before.forwards) / runs;
  state.counters["sequence_forwards"] = sequence_forwards / runs;
  state.counters["rows"] = sequence_forwards * model.descriptor().block_size / runs;
  if (!flags.tokens_out.empty()) WriteTokens(trajectories);
}

// The products of one step: every weight matrix once, times rows of its input's width. Of the last
// layer only keys and values are needed of all rows.
class BareMultiplications {
 public:
  BareMultiplications(const model::Transformer& model, int64_t rows, int64_t head_rows) {
    const std::string last = absl::StrCat("layers.", model.descriptor().num_layers - 1, ".");
    for (const auto& [name, weight] : model.NamedParameters()) {
      if (weight.dim() != 2 || weight.size(0) == model.descriptor().vocab_size) continue;
      const bool all_rows = !absl::StrContains(name, last) || absl::StrContains(name, "k_proj") ||
                            absl::StrContains(name, "v_proj");
      Add(weight, all_rows ? rows : head_rows);
    }
    Add(model.HeadWeight(), head_rows);
  }

  double Seconds() const {
    const Clock::time_point start = Clock::now();
    for (const auto& [input, weight] : pairs_) {
      benchmark::DoNotOptimize(torch::mm(input, weight.t()));
    }
    return SecondsSince(start);
  }

 private:
  void Add(const torch::Tensor& weight, int64_t rows) {
    torch::Tensor& input = inputs_[{rows, weight.size(1)}];
    if (!input.defined()) input = torch::randn({rows, weight.size(1)}).to(weight.scalar_type());
    pairs_.emplace_back(input, weight);
  }

  std::map<std::pair<int64_t, int64_t>, torch::Tensor> inputs_;
  std::vector<std::pair<torch::Tensor, torch::Tensor>> pairs_;
};

struct StepTimes {
  std::vector<double> step, multiplications, fraction;
};

// Times every forward of all sequences, from one call of `keep_going` to the next, and right after
// each the bare multiplications: what disturbs the machine then disturbs both.
void TimeSteps(BlockSampler* sampler, absl::Span<const SampleRequest> requests,
               const BareMultiplications& bare, StepTimes* times) {
  Clock::time_point last = Clock::now();
  int64_t sequence_forwards = sampler->statistics().sequence_forwards;
  const auto keep_going = [&] {
    const double seconds = SecondsSince(last);
    const SampleStatistics& now = sampler->statistics();
    if (now.sequence_forwards - sequence_forwards == static_cast<int64_t>(requests.size())) {
      times->step.push_back(seconds);
      times->multiplications.push_back(bare.Seconds());
      times->fraction.push_back(times->multiplications.back() / seconds);
    }
    sequence_forwards = now.sequence_forwards;
    last = Clock::now();
    return true;
  };
  DTRPO_CHECK_OK(sampler->Sample(requests, keep_going));
}

void Step(benchmark::State& state, torch::Dtype dtype, int32_t batch) {
  const torch::NoGradGuard no_grad;
  const model::Transformer& model = Model(dtype);
  const int32_t block = model.descriptor().block_size;
  std::vector<SampleRequest> requests = ReadRequests(flags, "equal", batch);
  for (SampleRequest& request : requests) request.max_new_tokens = block;
  // One token a step: the sub-block's masks, and with them the rows of the head, are 8, 7, ... 1.
  const int32_t sub_block = std::min(kSubBlock, block);
  const std::unique_ptr<BlockSampler> sampler =
      MakeSampler(model, absl::StrCat("steps:", sub_block), batch);
  const BareMultiplications bare(model, batch * block, batch * (sub_block + 1) / 2);
  StepTimes warm_up, times;
  TimeSteps(sampler.get(), absl::MakeConstSpan(requests).subspan(0, 1), bare, &warm_up);
  for (auto _ : state) TimeSteps(sampler.get(), requests, bare, &times);
  state.counters["rows"] = batch * block;
  state.counters["step_seconds"] = Median(times.step);
  state.counters["matmul_seconds"] = Median(times.multiplications);
  state.counters["matmul_fraction"] = Median(times.fraction);
}

void Register() {
  using benchmark::State;
  const std::pair<const char*, torch::Dtype> dtypes[] = {{"float32", torch::kFloat32},
                                                         {"bfloat16", torch::kBFloat16}};
  const std::pair<const char*, const char*> policies[] = {{"threshold", "threshold:0.9"},
                                                          {"static", "steps:4"}};
  for (const auto& [dtype_name, dtype] : dtypes) {
    for (const int32_t batch : {1, 16, 64}) {
      const std::string cell = absl::StrCat(dtype_name, "/batch:", batch);
      for (const auto& [policy_name, unmask] : policies) {
        for (const char* lengths : {"equal", "mixed"}) {
          const std::string name = absl::StrCat("rollout/", cell, "/", policy_name, "/", lengths);
          benchmark::RegisterBenchmark(
              name.c_str(), [dtype = dtype, batch, unmask = unmask, lengths](
                                State& state) { Rollout(state, dtype, batch, unmask, lengths); })
              ->Iterations(1)
              ->UseRealTime()
              ->Unit(benchmark::kMillisecond);
        }
      }
      benchmark::RegisterBenchmark(
          absl::StrCat("step/", cell).c_str(),
          [dtype = dtype, batch](State& state) { Step(state, dtype, batch); })
          ->Iterations(1)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace
}  // namespace dtrpo::benchmarks

int main(int argc, char** argv) {
  using namespace dtrpo::benchmarks;
  return RunBenchmarks(argc, argv, &flags, &Register);
}
