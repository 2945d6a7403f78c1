// A training step on a checkpoint, reference included, against the clock and against bare matrix
// multiplications.
//
//   build/release/bin/learner_benchmark --checkpoint DIR --prompts DIR
//       --benchmark_filter=step/float32/dtrpo
//
// tools/peers makes both folders (make_checkpoint.py, make_prompts.py) and has the Python program
// that these numbers are compared with (compare_learner.py).
//
// step/DTYPE/OBJECTIVE   4 pairs of pairs.jsonl a step, in the file's order, a pair at a time: the
//                        reference scores them, then forward, backward, clipping and AdamW. The
//                        first step isn't timed. After each of the others the bare multiplications
//                        in it are timed: matmul_fraction is the median of their share
//
// One benchmark a run: memory is that of the process.
#include <benchmark/benchmark.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/check.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/dtrpo/remask.h"
#include "common/model/transformer.h"
#include "common/training/frozen_scores.h"
#include "common/training/preference_trainer.h"
#include "tests/benchmark/workload.h"

namespace dtrpo::benchmarks {
namespace {

using objective::ScoreInput;
using trajectory::MaskPlan;
using trajectory::PreferencePair;

constexpr int32_t kPairsPerStep = 4;
constexpr int32_t kDefaultPairs = 3 * kPairsPerStep;

Flags flags;

trajectory::Trajectory ReadAnswer(const nlohmann::json& value, const std::string& id,
                                  const std::vector<int32_t>& prompt, int32_t block_size) {
  trajectory::Trajectory t;
  t.id = id;
  t.model_id = "benchmark";
  t.external = true;
  t.prompt_tokens = prompt;
  t.block_size = block_size;
  t.response_tokens = value.at("response_tokens").get<std::vector<int32_t>>();
  t.unmask_step = value.at("unmask_step").get<std::vector<int32_t>>();
  t.behaviour_logprob.assign(t.response_tokens.size(), 0);
  const auto behind = std::find(t.unmask_step.begin(), t.unmask_step.end(), -1);
  t.stop_index = static_cast<int32_t>(behind - t.unmask_step.begin()) - 1;
  t.finish_reason = trajectory::FinishReason::kStop;
  t.sampler.max_new_tokens = static_cast<int32_t>(t.response_tokens.size());
  return t;
}

std::vector<PreferencePair> ReadPairs(int32_t count, int32_t block_size) {
  const std::string path = absl::StrCat(flags.prompts, "/pairs.jsonl");
  std::ifstream file(path);
  std::vector<PreferencePair> pairs;
  std::string line;
  while (static_cast<int32_t>(pairs.size()) < count && std::getline(file, line)) {
    const auto value = nlohmann::json::parse(line);
    const auto prompt = value.at("prompt_tokens").get<std::vector<int32_t>>();
    PreferencePair& pair = pairs.emplace_back();
    pair.id = value.at("id").get<std::string>();
    pair.chosen = ReadAnswer(value.at("chosen"), pair.id + "/chosen", prompt, block_size);
    pair.rejected = ReadAnswer(value.at("rejected"), pair.id + "/rejected", prompt, block_size);
    DTRPO_CHECK_OK(trajectory::Validate(pair));
  }
  DTRPO_CHECK_EQ(static_cast<int32_t>(pairs.size()), count) << path << " has too few lines";
  return pairs;
}

// The products of steps: every weight matrix times rows of its input's width, and in the backward
// pass the gradients of both. Of the last layer only keys and values are needed of all rows.
class BareMultiplications {
 public:
  explicit BareMultiplications(const model::Transformer& model) : model_(model) {
    for (const auto& [name, weight] : model.NamedParameters()) {
      if (weight.dim() == 2) weights_.emplace_back(name, weight.detach());
    }
  }

  void AddForward(const objective::RemaskedBatch& batch, bool backward) {
    const std::string last = absl::StrCat("layers.", model_.descriptor().num_layers - 1, ".");
    const std::set<int64_t> output(batch.target_rows.begin(), batch.target_rows.end());
    for (const auto& [name, weight] : weights_) {
      if (weight.size(0) == model_.descriptor().vocab_size) continue;
      const bool all = !absl::StrContains(name, last) || absl::StrContains(name, "k_proj") ||
                       absl::StrContains(name, "v_proj");
      Add(weight, all ? batch.rows.token_ids.size() : output.size(), backward);
    }
    Add(model_.HeadWeight().detach(), batch.target_rows.size(), backward);
  }

  double Seconds() const {
    const torch::NoGradGuard no_grad;
    const Clock::time_point start = Clock::now();
    for (const Product& p : products_) {
      const torch::Tensor x = RandomRows(p.rows, p.weight.size(1));
      const torch::Tensor y = torch::mm(x, p.weight.t());
      if (!p.backward) continue;
      benchmark::DoNotOptimize(torch::mm(y, p.weight));
      benchmark::DoNotOptimize(torch::mm(y.t(), x));
    }
    return SecondsSince(start);
  }

  double gflop() const { return gflop_; }

 private:
  struct Product {
    torch::Tensor weight;
    int64_t rows;
    bool backward;
  };

  void Add(const torch::Tensor& weight, size_t rows, bool backward) {
    products_.push_back({weight, static_cast<int64_t>(rows), backward});
    RandomRows(products_.back().rows, weight.size(1));
    gflop_ +=
        2e-9 * static_cast<double>(rows) * static_cast<double>(weight.numel()) * (backward ? 3 : 1);
  }

  // Made once for all of a width, not while the time is taken.
  torch::Tensor RandomRows(int64_t rows, int64_t width) const {
    torch::Tensor& all = inputs_[width];
    if (!all.defined() || all.size(0) < rows) {
      all = torch::randn({rows, width}).to(model_.dtype());
    }
    return all.narrow(0, 0, rows);
  }

  const model::Transformer& model_;
  model::NamedTensors weights_;
  mutable std::map<int64_t, torch::Tensor> inputs_;  // by width
  std::vector<Product> products_;
  double gflop_ = 0;
};

// Plans of some pairs as both models use them.
struct Planned {
  std::vector<MaskPlan> plans;
  std::vector<ScoreInput> inputs;

  Planned(absl::Span<const PreferencePair> pairs, const trajectory::MaskPlanOptions& options) {
    plans.reserve(2 * pairs.size());
    for (const PreferencePair& pair : pairs) {
      for (const trajectory::Trajectory* t : {&pair.chosen, &pair.rejected}) {
        plans.push_back(trajectory::MakeMaskPlan(*t, options, /*use_index=*/0));
        inputs.push_back({t, &plans.back()});
      }
    }
  }
};

// [[block, step], ...] of the drawn states.
nlohmann::json Drawn(const MaskPlan& plan) {
  auto states = nlohmann::json::array();
  for (const trajectory::BlockPlan& block : plan.blocks) {
    for (const trajectory::ScoredState& state : block.states) {
      states.push_back({state.block, state.step});
    }
  }
  return states;
}

class Training {
 public:
  Training(torch::Dtype dtype, const job::ObjectiveSpec& objective) {
    auto folder = checkpoint::CheckpointFolder::Open(flags.checkpoint);
    DTRPO_CHECK_OK(folder);
    folder_ = std::make_unique<checkpoint::CheckpointFolder>(*std::move(folder));
    auto reference = model::Transformer::Load(*folder_, {.dtype = dtype});
    DTRPO_CHECK_OK(reference);
    reference_ = *std::move(reference);
    auto full = model::Transformer::Load(*folder_, {.requires_grad = true});
    DTRPO_CHECK_OK(full);
    auto trained = training::TrainedModel::Create(*std::move(full), dtype);
    DTRPO_CHECK_OK(trained);

    spec_.objective = objective;
    spec_.training.steps = 1000;
    spec_.training.pairs_per_batch = kPairsPerStep;
    spec_.training.micro_batch_pairs = flags.micro_batch_pairs;
    spec_.training.learning_rate = 1e-5;
    spec_.training.schedule = job::Schedule::kConstant;
    auto options = training::PlanOptions(spec_, reference_->descriptor().attention);
    DTRPO_CHECK_OK(options);
    plan_options_ = *options;
    auto trainer = training::PreferenceTrainer::Create(*std::move(trained), spec_);
    DTRPO_CHECK_OK(trainer);
    trainer_ = *std::move(trainer);
  }

  const model::Transformer& model() const { return trainer_->model(); }
  const trajectory::MaskPlanOptions& plan_options() const { return plan_options_; }

  // The outcome's values.
  std::map<std::string, double> Step(int64_t step, absl::Span<const PreferencePair> pairs) {
    const Planned planned(pairs, plan_options_);
    training::FrozenScores frozen(reference_.get(), {.boundary = plan_options_.boundary});
    auto scores = frozen.Score(planned.inputs);
    DTRPO_CHECK_OK(scores);
    // Where the reference is the mapped file itself, its pages are the file's: they come back by
    // themselves at the next step, from the page cache.
    for (const std::string& name : folder_->TensorNames()) {
      folder_->ReleasePages(*folder_->Find(name));
    }
    training::StepInput input{.step = step,
                              .policy_version = step - 1,
                              .global_pairs = static_cast<int64_t>(pairs.size()),
                              .pairs = {}};
    for (size_t i = 0; i < pairs.size(); ++i) {
      input.pairs.push_back({.pair = &pairs[i],
                             .use_index = 0,
                             .reference_chosen = std::move((*scores)[2 * i]),
                             .reference_rejected = std::move((*scores)[2 * i + 1])});
    }
    auto outcome = trainer_->Step(input);
    DTRPO_CHECK_OK(outcome);
    DTRPO_CHECK(!outcome->skipped) << "step " << step;
    return outcome->values;
  }

  // Of a step with these pairs.
  BareMultiplications Multiplications(absl::Span<const PreferencePair> pairs, int64_t* rows) const {
    BareMultiplications bare(model());
    const size_t micro =
        flags.micro_batch_pairs > 0 ? flags.micro_batch_pairs : static_cast<int32_t>(pairs.size());
    for (size_t begin = 0; begin < pairs.size(); begin += micro) {
      const auto batch = Rows(pairs.subspan(begin, micro));
      bare.AddForward(batch, /*backward=*/true);
      *rows += static_cast<int64_t>(batch.rows.token_ids.size());
    }
    bare.AddForward(Rows(pairs), /*backward=*/false);
    return bare;
  }

 private:
  objective::RemaskedBatch Rows(absl::Span<const PreferencePair> pairs) const {
    const checkpoint::ModelDescriptor& d = reference_->descriptor();
    auto batch = objective::Remask(Planned(pairs, plan_options_).inputs,
                                   {.mask_id = d.mask_id,
                                    .vocabulary_size = d.vocab_size,
                                    .logit_shift = d.logit_shift,
                                    .boundary = plan_options_.boundary});
    DTRPO_CHECK_OK(batch);
    return *std::move(batch);
  }

  std::unique_ptr<checkpoint::CheckpointFolder> folder_;
  std::unique_ptr<model::Transformer> reference_;
  job::JobSpec spec_;
  trajectory::MaskPlanOptions plan_options_;
  std::unique_ptr<training::PreferenceTrainer> trainer_;
};

// What was trained on, for the peer to do the same.
void WriteStep(std::ofstream& file, int64_t step, absl::Span<const PreferencePair> pairs,
               const trajectory::MaskPlanOptions& options,
               const std::map<std::string, double>& values) {
  const Planned planned(pairs, options);
  auto drawn = nlohmann::json::array();
  for (size_t i = 0; i < pairs.size(); ++i) {
    drawn.push_back({{"id", pairs[i].id},
                     {"chosen", Drawn(planned.plans[2 * i])},
                     {"rejected", Drawn(planned.plans[2 * i + 1])}});
  }
  file << nlohmann::json{{"step", step},
                         {"loss", values.at("loss")},
                         {"gradient_norm", values.at("gradient_norm")},
                         {"pairs", drawn}}
              .dump()
       << "\n";
}

void Step(benchmark::State& state, torch::Dtype dtype, const job::ObjectiveSpec& objective) {
  Training training(dtype, objective);
  const int32_t count = flags.requests > 0 ? flags.requests : kDefaultPairs;
  DTRPO_CHECK_GE(count, 2 * kPairsPerStep) << "--requests: one step warms up";
  const std::vector<PreferencePair> all =
      ReadPairs(count, training.model().descriptor().block_size);
  std::ofstream file;
  if (!flags.tokens_out.empty()) file.open(flags.tokens_out);
  std::vector<double> seconds, multiplications, fraction;
  double gflop = 0;
  int64_t rows = 0;
  for (auto _ : state) {
    for (int32_t begin = 0; begin + kPairsPerStep <= count; begin += kPairsPerStep) {
      const int64_t step = begin / kPairsPerStep + 1;
      const auto pairs = absl::MakeConstSpan(all).subspan(begin, kPairsPerStep);
      const Clock::time_point start = Clock::now();
      const std::map<std::string, double> values = training.Step(step, pairs);
      const double elapsed = SecondsSince(start);
      if (file.is_open()) WriteStep(file, step, pairs, training.plan_options(), values);
      if (step == 1) continue;                              // warming up
      state.counters["peak_bytes"] = StatusBytes("VmHWM");  // before the bare products need any
      const BareMultiplications bare = training.Multiplications(pairs, &rows);
      seconds.push_back(elapsed);
      if (step == 2) bare.Seconds();
      multiplications.push_back(bare.Seconds());
      fraction.push_back(multiplications.back() / elapsed);
      gflop = bare.gflop();
    }
  }
  const double timed = static_cast<double>(seconds.size()) * kPairsPerStep;
  double total = 0;
  for (const double s : seconds) total += s;
  state.counters["pairs"] = timed;
  state.counters["pairs_per_second"] = timed / total;
  state.counters["rows_per_pair"] = static_cast<double>(rows) / timed;
  const int32_t micro = flags.micro_batch_pairs > 0 ? flags.micro_batch_pairs : kPairsPerStep;
  state.counters["forwards_per_step"] = 1 + (kPairsPerStep + micro - 1) / micro;
  state.counters["step_seconds"] = Median(seconds);
  state.counters["matmul_seconds"] = Median(multiplications);
  state.counters["matmul_fraction"] = Median(fraction);
  state.counters["matmul_gflop"] = gflop;
  DTRPO_CHECK(!file.is_open() || file.flush().good()) << flags.tokens_out << " can't be written";
}

void Register() {
  using benchmark::State;
  job::ObjectiveSpec dtrpo;
  dtrpo.sft_weight = 0;
  dtrpo.staleness_correction = job::StalenessCorrection::kNone;
  job::ObjectiveSpec vrpo = dtrpo;
  vrpo.kind = job::ObjectiveKind::kVrpo;
  vrpo.draws = 8;
  const std::pair<const char*, torch::Dtype> dtypes[] = {{"float32", torch::kFloat32},
                                                         {"bfloat16", torch::kBFloat16}};
  const std::pair<const char*, job::ObjectiveSpec> objectives[] = {{"dtrpo", dtrpo},
                                                                   {"vrpo", vrpo}};
  for (const auto& [dtype_name, dtype] : dtypes) {
    for (const auto& [objective_name, objective] : objectives) {
      benchmark::RegisterBenchmark(
          absl::StrCat("step/", dtype_name, "/", objective_name).c_str(),
          [dtype = dtype, objective = objective](State& state) { Step(state, dtype, objective); })
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
