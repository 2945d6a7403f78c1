#include "tests/benchmark/workload.h"

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/model/torch_runtime.h"

namespace dtrpo::benchmarks {

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  DTRPO_CHECK(!values.empty());
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double StatusBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kibibytes = 0;
    if (word == field + ":" && status >> kibibytes) return kibibytes * 1024;
  }
  DTRPO_CHECK(false) << "no " << field << " in /proc/self/status";
  return 0;
}

int RunBenchmarks(int argc, char** argv, Flags* flags, void (*register_all)()) {
  benchmark::Initialize(&argc, argv);  // takes its own flags out
  CLI::App app("--benchmark_filter, --benchmark_format and so on as in Google Benchmark.");
  app.add_option("--checkpoint", flags->checkpoint, "folder")->required();
  app.add_option("--prompts", flags->prompts, "folder of make_prompts.py")->required();
  app.add_option("--tokens_out", flags->tokens_out,
                 "JSONL of the last benchmark's answers, or of its training steps");
  app.add_option("--requests", flags->requests,
                 "answers of a run (0: as many as the batch), or pairs to train on (0: 3 steps)");
  app.add_option("--micro_batch_pairs", flags->micro_batch_pairs,
                 "pairs that share a training step's forward; 0: all");
  app.add_option("--new_tokens_divisor", flags->new_tokens_divisor, "shorter answers")
      ->check(CLI::Range(1, 32));
  app.add_option("--threads", flags->threads)->check(CLI::Range(1, 256))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  model::SetThreads(flags->threads);
  register_all();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

std::vector<diffusion::SampleRequest> ReadRequests(const Flags& flags, const std::string& lengths,
                                                   int32_t count) {
  const std::string path = absl::StrCat(flags.prompts, "/", lengths, ".jsonl");
  std::ifstream file(path);
  std::vector<diffusion::SampleRequest> requests;
  std::string line;
  while (static_cast<int32_t>(requests.size()) < count && std::getline(file, line)) {
    const auto value = nlohmann::json::parse(line);
    diffusion::SampleRequest request;
    request.id = value.at("id").get<std::string>();
    request.prompt_tokens = value.at("prompt_tokens").get<std::vector<int32_t>>();
    request.max_new_tokens = value.at("max_new_tokens").get<int32_t>() / flags.new_tokens_divisor;
    requests.push_back(std::move(request));
  }
  DTRPO_CHECK_EQ(static_cast<int32_t>(requests.size()), count) << path << " has too few lines";
  return requests;
}

std::unique_ptr<diffusion::BlockSampler> MakeSampler(const model::Transformer& model,
                                                     const std::string& unmask, int32_t batch) {
  diffusion::SamplerOptions options;
  options.parameters.unmask = unmask;
  options.parameters.sub_block = std::min(kSubBlock, model.descriptor().block_size);
  options.batch_sequences = batch;
  auto sampler = diffusion::BlockSampler::Create(&model, options);
  DTRPO_CHECK_OK(sampler);
  return *std::move(sampler);
}

}  // namespace dtrpo::benchmarks
