// Thread safety: one thread. What the benchmarks share: their flags, clock and memory, and the
// requests that tools/peers/make_prompts.py wrote.
#pragma once

#include <torch/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/diffusion/block_sampler.h"
#include "common/model/transformer.h"

namespace dtrpo::benchmarks {

// The released sampler's; blocks that are smaller aren't divided.
inline constexpr int32_t kSubBlock = 8;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start);
double Median(std::vector<double> values);  // REQUIRES: not empty
// A field of /proc/self/status, in bytes: VmRSS, RssAnon, RssFile, VmHWM (the peak of VmRSS).
double StatusBytes(const std::string& field);

struct Flags {
  std::string checkpoint;
  std::string prompts;             // folder of make_prompts.py
  std::string tokens_out;          // empty: nothing is written
  int32_t requests = 0;            // answers, or pairs to train on; 0: the benchmark's own choice
  int32_t new_tokens_divisor = 1;  // shorter answers
  int32_t micro_batch_pairs = 1;   // of the learner's step
  int32_t threads = 2;
};

// Takes Google Benchmark's flags and these from the command line, then runs what `register_all`
// registers. To be returned by main().
int RunBenchmarks(int argc, char** argv, Flags* flags, void (*register_all)());

// The first `count` lines of LENGTHS.jsonl. Aborts when there are fewer.
std::vector<diffusion::SampleRequest> ReadRequests(const Flags& flags, const std::string& lengths,
                                                   int32_t count);

// At temperature 0, `batch` sequences at a time.
std::unique_ptr<diffusion::BlockSampler> MakeSampler(const model::Transformer& model,
                                                     const std::string& unmask, int32_t batch);

}  // namespace dtrpo::benchmarks
