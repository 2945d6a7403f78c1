#include "tools/dtrpo/compare/compare_objectives_command.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tools/dtrpo/prompt_data.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);
constexpr char kRunsGroup[] = "Runs: every combination of these";
constexpr char kSamplingGroup[] = "Sampling, judging, evaluation";
constexpr char kTrainingGroup[] = "Training";

constexpr char kHelp[] =
    R"(Each run samples answers to prompts, pairs them by their reward and takes a step on the pairs, in each
iteration, starting from --model; everything is in this process, and runs differ in their keys only:
  dtrpo             --draws K steps of each block; log-ratios weighed by T_b / K
  exact             every step
  vrpo              --vrpo-draws masks of each block, in antithetic pairs, weighed by 1 / t
  vrpo_independent  the same without pairs
  random_mask       one random mask of each block
Staleness S: sampled with the weights of every S-th version only, so answers are 0 to S - 1 versions
old. Correction: staleness_correction rejected_ratio (on) or none (off); --sft-weight is of both.
A finished run is a line of FILE at once; a run that is there isn't made again, so a comparison can
be stopped, resumed and made in parts. Standard output: tables of all runs in FILE with these
settings. Forwards and rows a pair are of policy and reference together, "plain" without packing;
ms a pair is reference and learner; variance of R over draws is of the trained policy, on the pairs
of its last iteration.

Example: dtrpo compare-objectives --model examples/arithmetic/base --prompts train.jsonl \
  --heldout heldout.jsonl --output runs.jsonl --unmask steps:2 --max-new-tokens 4)";

struct NamedObjective {
  const char* name;
  job::ObjectiveKind kind;
  bool antithetic;
};
constexpr NamedObjective kObjectives[] = {
    {"dtrpo", job::ObjectiveKind::kDtrpo, true},
    {"exact", job::ObjectiveKind::kExact, true},
    {"vrpo", job::ObjectiveKind::kVrpo, true},
    {"vrpo_independent", job::ObjectiveKind::kVrpo, false},
    {"random_mask", job::ObjectiveKind::kRandomMask, true},
};

std::vector<std::string> ObjectiveNames() {
  std::vector<std::string> names;
  for (const NamedObjective& objective : kObjectives) names.emplace_back(objective.name);
  return names;
}

// Lines on standard error, one every few seconds.
class Progress {
 public:
  Progress(std::string what, int64_t iterations)
      : what_(std::move(what)),
        iterations_(iterations),
        start_(base::RealClock()->Now()),
        last_(start_) {}

  void MaybePrint(int64_t made, double accuracy) {
    const absl::Time now = base::RealClock()->Now();
    if (made < iterations_ && now - last_ < kProgressEvery) return;
    last_ = now;
    const double left = absl::ToDoubleSeconds(now - start_) / static_cast<double>(made) *
                        static_cast<double>(iterations_ - made);
    std::cerr << absl::StrFormat("compare: %s: iteration %d of %d heldout_accuracy %.4f ETA %s",
                                 what_, made, iterations_, accuracy,
                                 absl::FormatDuration(absl::Seconds(std::ceil(left))))
              << std::endl;
  }

 private:
  const std::string what_;
  const int64_t iterations_;
  const absl::Time start_;
  absl::Time last_;
};

}  // namespace

CompareObjectivesCommand::CompareObjectivesCommand() : objectives_(ObjectiveNames()) {
  spec_.training.steps = 120;
  spec_.training.learning_rate = 5e-4;
}

void CompareObjectivesCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddModelOptions(app, &model_);
  app->add_option("--prompts", prompts_path_, "to train on: prompts with answers, JSONL")
      ->required()
      ->type_name("FILE");
  app->add_option("--heldout", heldout_path_, "to evaluate on, JSONL")
      ->required()
      ->type_name("FILE");
  app->add_option("--output", output_path_, "finished runs, JSONL; new ones are added")
      ->required()
      ->type_name("FILE");
  app->add_option("--answer-field", answer_field_, "field of a line that holds the answer")
      ->type_name("NAME")
      ->capture_default_str();
  app->add_flag("--raw-prompts", raw_prompts_, "never put text prompts into the chat template");
  AddRunOptions(app);
  AddTrainingOptions(app);
  AddEvaluationOptions(app, kSamplingGroup, "--batch", &evaluation_);
}

void CompareObjectivesCommand::AddRunOptions(CLI::App* app) {
  app->add_option("--objectives", objectives_, "names, see below")
      ->delimiter(',')
      ->check(CLI::IsMember(ObjectiveNames()))
      ->type_name("NAME,...")
      ->group(kRunsGroup)
      ->capture_default_str();
  app->add_option("--staleness", staleness_, "versions")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("S,...")
      ->group(kRunsGroup)
      ->capture_default_str();
  app->add_option("--corrections", corrections_, "on, off or both")
      ->delimiter(',')
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("WORD,...")
      ->group(kRunsGroup)
      ->capture_default_str();
  app->add_option("--seeds", seeds_, "of prompt order, sampling and draws")
      ->delimiter(',')
      ->type_name("S,...")
      ->group(kRunsGroup)
      ->capture_default_str();
}

void CompareObjectivesCommand::AddTrainingOptions(CLI::App* app) {
  const auto number = [app](const char* name, auto* value, const char* what,
                            const CLI::Validator& check) {
    app->add_option(name, *value, what)
        ->check(check)
        ->type_name("N")
        ->group(kTrainingGroup)
        ->capture_default_str();
  };
  const CLI::Range count(1, 1 << 20);
  number("--iterations", &spec_.training.steps, "updates of a run", count);
  number("--prompts-per-iteration", &sampling_.prompts, "prompts", count);
  number("--samples-per-prompt", &sampling_.samples_per_prompt, "answers at temperature 1",
         CLI::Range(2, 1024));
  number("--learning-rate", &spec_.training.learning_rate, "of AdamW; falls linearly to a fifth",
         CLI::PositiveNumber);
  number("--beta", &spec_.objective.beta, "of DPO", CLI::PositiveNumber);
  number("--sft-weight", &spec_.objective.sft_weight,
         "of the cross-entropy of the chosen answer's scored tokens", CLI::NonNegativeNumber);
  number("--draws", &spec_.objective.draws, "K of dtrpo", count);
  number("--vrpo-draws", &vrpo_draws_, "masks of vrpo", count);
  number("--evaluate-every", &evaluate_every_, "iterations; 0: at the end only",
         CLI::NonNegativeNumber);
  number("--evaluate-prompts", &evaluate_prompts_, "of --heldout, spread evenly; 0: all",
         CLI::NonNegativeNumber);
  number("--variance-draws", &variance_draws_, "of which the variance of R is estimated",
         CLI::Range(2, 1 << 20));
}

std::vector<RunKey> CompareObjectivesCommand::Keys() const {
  std::vector<RunKey> keys;
  for (const uint64_t seed : seeds_) {
    for (const std::string& objective : objectives_) {
      for (const int64_t staleness : staleness_) {
        for (const std::string& correction : corrections_) {
          keys.push_back({objective, staleness, correction == "on", seed});
        }
      }
    }
  }
  return keys;
}

std::string CompareObjectivesCommand::Settings() const {
  const trajectory::SamplerParameters& sampler = evaluation_.parameters;
  return nlohmann::ordered_json({{"model", model_.path},
                                 {"prompts", prompts_path_},
                                 {"heldout", heldout_path_},
                                 {"iterations", spec_.training.steps},
                                 {"prompts_per_iteration", sampling_.prompts},
                                 {"samples_per_prompt", sampling_.samples_per_prompt},
                                 {"learning_rate", spec_.training.learning_rate},
                                 {"beta", spec_.objective.beta},
                                 {"sft_weight", spec_.objective.sft_weight},
                                 {"draws", spec_.objective.draws},
                                 {"vrpo_draws", vrpo_draws_},
                                 {"unmask", sampler.unmask},
                                 {"sub_block", sampler.sub_block},
                                 {"max_new_tokens", sampler.max_new_tokens},
                                 {"verifier", evaluation_.verifier},
                                 {"evaluate_prompts", evaluate_prompts_}})
      .dump();
}

job::JobSpec CompareObjectivesCommand::SpecOf(const RunKey& key) const {
  job::JobSpec spec = spec_;
  spec.seed = key.seed;
  const auto* objective =
      std::find_if(std::begin(kObjectives), std::end(kObjectives),
                   [&key](const NamedObjective& o) { return o.name == key.objective; });
  spec.objective.kind = objective->kind;
  spec.objective.antithetic = objective->antithetic;
  if (objective->kind == job::ObjectiveKind::kVrpo) spec.objective.draws = vrpo_draws_;
  if (objective->kind == job::ObjectiveKind::kRandomMask) spec.objective.draws = 1;
  spec.objective.staleness_correction =
      key.correction ? job::StalenessCorrection::kRejectedRatio : job::StalenessCorrection::kNone;
  return spec;
}

absl::StatusOr<RunRecord> CompareObjectivesCommand::RunOne(const RunKey& key,
                                                           const RunInputs& shared) const {
  RunInputs inputs = shared;
  inputs.spec = SpecOf(key);
  inputs.sampling.seed = key.seed;
  inputs.staleness = key.staleness;
  Progress progress(absl::StrCat(key.objective, " staleness ", key.staleness, " correction ",
                                 key.correction ? "on" : "off", " seed ", key.seed),
                    inputs.spec.training.steps);
  inputs.progress = [&progress](int64_t made, double accuracy) {
    progress.MaybePrint(made, accuracy);
  };
  DTRPO_ASSIGN_OR_RETURN(const RunResult result, RunObjective(inputs));
  return RunRecord{.key = key,
                   .settings = Settings(),
                   .accuracy = result.accuracy,
                   .pairs = result.pairs,
                   .plain_forwards_per_pair = result.cost.plain_forwards,
                   .forwards_per_pair = result.cost.forwards,
                   .rows_per_pair = result.cost.rows,
                   .seconds_per_pair = result.train_seconds /
                                       static_cast<double>(std::max<int64_t>(result.pairs, 1)),
                   .variance = result.spread.variance,
                   .relative_sd = result.spread.relative_sd,
                   .total_seconds = result.total_seconds};
}

absl::Status CompareObjectivesCommand::Run() {
  DTRPO_ASSIGN_OR_RETURN(std::vector<RunRecord> runs, ReadRuns(output_path_));
  DTRPO_ASSIGN_OR_RETURN(const LoadedModel base, LoadModel(model_));
  DTRPO_ASSIGN_OR_RETURN(const text::PromptEncoder encoder,
                         text::PromptEncoder::Load(model_.path, !raw_prompts_));
  const auto read = [&](const std::string& path) {
    return ReadPromptFile(path, base.folder, encoder, answer_field_,
                          evaluation_.parameters.max_new_tokens);
  };
  DTRPO_ASSIGN_OR_RETURN(const std::vector<text::Prompt> prompts, read(prompts_path_));
  DTRPO_ASSIGN_OR_RETURN(std::vector<text::Prompt> heldout, read(heldout_path_));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<AnswerEvaluator> evaluator,
                         AnswerEvaluator::Create(std::move(heldout), &encoder, evaluation_));
  RunInputs shared;
  shared.model = model_;
  shared.model.threads = 0;
  shared.sampling = sampling_;
  shared.sampling.parameters = evaluation_.parameters;
  shared.sampling.parameters.temperature = 1;
  shared.sampling.verifier = evaluation_.verifier;
  shared.sampling.batch = evaluation_.batch;
  shared.evaluate_every = evaluate_every_;
  shared.variance_draws = variance_draws_;
  shared.prompts = &prompts;
  shared.encoder = &encoder;
  shared.reference = base.model.get();
  shared.evaluate = [&](const model::Transformer& model) -> absl::StatusOr<double> {
    DTRPO_ASSIGN_OR_RETURN(const Evaluation evaluation,
                           evaluator->Evaluate(model, evaluate_prompts_));
    return evaluation.Accuracy();
  };
  DTRPO_ASSIGN_OR_RETURN(const double before, shared.evaluate(*base.model));
  std::cerr << absl::StrFormat("compare: heldout_accuracy of the base %.4f", before) << std::endl;

  const std::string settings = Settings();
  for (const RunKey& key : Keys()) {
    const bool there = std::any_of(runs.begin(), runs.end(), [&](const RunRecord& run) {
      return run.key == key && run.settings == settings;
    });
    if (there) continue;
    DTRPO_ASSIGN_OR_RETURN(RunRecord run, RunOne(key, shared));
    std::cerr << "compare: " << ToJsonLine(run) << std::endl;
    runs.push_back(std::move(run));
    DTRPO_RETURN_IF_ERROR(WriteRuns(output_path_, runs));
  }
  std::vector<RunRecord> mine;
  std::copy_if(runs.begin(), runs.end(), std::back_inserter(mine),
               [&](const RunRecord& run) { return run.settings == settings; });
  std::cout << ObjectiveTable(mine) << "\n" << StalenessTable(mine) << std::flush;
  std::cerr << absl::StrFormat("compare: runs=%d base_accuracy=%.4f output=%s", mine.size(), before,
                               output_path_)
            << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
