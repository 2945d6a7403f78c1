// What a checkpoint costs: time to load, memory, seconds per block of one sequence.
//
//   build/release/bin/checkpoint_benchmark --checkpoint DIR --prompts DIR
//       --benchmark_filter=checkpoint/bfloat16
//
// One benchmark a run: memory is that of the process. Mapped weights count as resident once they
// were touched ("file" below), copies of them as "anonymous". The files are in the page cache after
// the first run; the first one reads the disk.
#include <benchmark/benchmark.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/diffusion/block_sampler.h"
#include "common/model/transformer.h"
#include "tests/benchmark/workload.h"

namespace dtrpo::benchmarks {
namespace {

Flags flags;

// Of one sequence, two tokens a step; the first block, whose forward also takes in the prompt,
// isn't counted.
double SecondsPerBlock(const model::Transformer& model) {
  constexpr int32_t kBlocks = 3;
  const auto sampler = MakeSampler(model, absl::StrCat("steps:", kSubBlock / 2), 1);
  std::vector<diffusion::SampleRequest> requests = ReadRequests(flags, "equal", 1);
  requests[0].max_new_tokens = kBlocks * model.descriptor().block_size;
  Clock::time_point first_block_end;
  double seconds = 0;
  const auto on_block = [&](const diffusion::FinishedBlock& block) {
    if (block.begin == 0) {
      first_block_end = Clock::now();
    } else if (block.last) {
      seconds = SecondsSince(first_block_end) / (kBlocks - 1);
    }
  };
  DTRPO_CHECK_OK(sampler->Sample(requests, nullptr, on_block));
  return seconds;
}

void Checkpoint(benchmark::State& state, torch::Dtype dtype) {
  for (auto _ : state) {
    const Clock::time_point start = Clock::now();
    const auto folder = checkpoint::CheckpointFolder::Open(flags.checkpoint);
    DTRPO_CHECK_OK(folder);
    const auto model = model::Transformer::Load(*folder, {dtype});
    DTRPO_CHECK_OK(model);
    state.counters["load_seconds"] = SecondsSince(start);
    double weights = 0;
    for (const auto& [name, tensor] : (*model)->NamedParameters()) weights += tensor.nbytes();
    state.counters["weights_bytes"] = weights;
    state.counters["resident_after_load_bytes"] = StatusBytes("VmRSS");
    state.counters["anonymous_after_load_bytes"] = StatusBytes("RssAnon");
    state.counters["seconds_per_block"] = SecondsPerBlock(**model);
    state.counters["resident_after_block_bytes"] = StatusBytes("VmRSS");
    state.counters["anonymous_after_block_bytes"] = StatusBytes("RssAnon");
    state.counters["peak_bytes"] = StatusBytes("VmHWM");
  }
}

void Register() {
  using benchmark::State;
  benchmark::RegisterBenchmark("checkpoint/float32",
                               [](State& state) { Checkpoint(state, torch::kFloat32); })
      ->Iterations(1)
      ->UseRealTime();
  benchmark::RegisterBenchmark("checkpoint/bfloat16",
                               [](State& state) { Checkpoint(state, torch::kBFloat16); })
      ->Iterations(1)
      ->UseRealTime();
}

}  // namespace
}  // namespace dtrpo::benchmarks

int main(int argc, char** argv) {
  using namespace dtrpo::benchmarks;
  return RunBenchmarks(argc, argv, &flags, &Register);
}
