#include "tools/dtrpo/train_options.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dtrpo::tools {
namespace {

constexpr char kOrderGroup[] = "Order of unmasking (pairs come without one)";
constexpr char kHeldoutGroup[] = "Held-out pairs";
constexpr char kObjectiveGroup[] = "Objective";
constexpr char kTrainingGroup[] = "Training";

const std::map<std::string, job::Weighting> kWeightings = {{"steps", job::Weighting::kSteps},
                                                           {"one", job::Weighting::kOne},
                                                           {"mean", job::Weighting::kMean}};
const std::map<std::string, job::ObjectiveKind> kObjectives = {
    {"dtrpo", job::ObjectiveKind::kDtrpo},
    {"exact", job::ObjectiveKind::kExact},
    {"vrpo", job::ObjectiveKind::kVrpo},
    {"random_mask", job::ObjectiveKind::kRandomMask}};
const std::map<std::string, job::PreferenceLossKind> kLosses = {
    {"sigmoid", job::PreferenceLossKind::kSigmoid}, {"ipo", job::PreferenceLossKind::kIpo}};
const std::map<std::string, job::Schedule> kSchedules = {{"constant", job::Schedule::kConstant},
                                                         {"linear", job::Schedule::kLinear},
                                                         {"cosine", job::Schedule::kCosine}};

void AddDataOptions(CLI::App* app, TrainOptions* o) {
  app->add_option("--pairs", o->job.data.pairs, "preference pairs, JSONL")
      ->required()
      ->type_name("FILE");
  app->add_option("--output", o->output_path,
                  "folder of the new checkpoint; replaced if this program wrote it")
      ->required()
      ->type_name("DIR");
  app->add_flag("--restart", o->restart,
                "forget an interrupted training in --output; otherwise it goes on");
  app->add_option("--rejects", o->rejects_path,
                  "where lines that can't be used are listed; default: OUTPUT.rejects.jsonl")
      ->type_name("FILE");
  app->add_flag("--raw-prompts", o->raw_prompts, "never put text prompts into the chat template");
  app->add_option("--max-prompt-tokens", o->job.data.max_prompt_tokens, "longer ones are rejected")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--max-new-tokens", o->job.sampling.max_new_tokens,
                  "answers that are longer with their stop token are rejected; the canvas of "
                  "bidirectional models")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("M")
      ->capture_default_str();
  app->add_option("--seed", o->job.seed, "of order, draws, shuffling and the held-out split")
      ->type_name("S")
      ->capture_default_str();
  app->add_option("--max-shard-bytes", o->max_shard_bytes,
                  "weights above it are saved in several files")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 60))
      ->type_name("N")
      ->capture_default_str();
}

void AddOrderOptions(CLI::App* app, TrainOptions* o) {
  app->add_option("--order", o->job.data.pairs_order,
                  "random: tokens in random order; noise: the noise schedule, where each step "
                  "unmasks tokens by chance")
      ->check(CLI::IsMember({"random", "noise"}))
      ->group(kOrderGroup)
      ->capture_default_str();
  app->add_option("--unmask", o->job.sampling.unmask,
                  "steps:k: in as many steps a sub-block as this sampler takes; other samplers: "
                  "one token a step")
      ->type_name("HOW")
      ->group(kOrderGroup)
      ->capture_default_str();
  app->add_option("--sub-block", o->job.sampling.sub_block, "tokens; 0: the whole block")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kOrderGroup)
      ->capture_default_str();
}

void AddHeldoutOptions(CLI::App* app, TrainOptions* o) {
  app->add_option("--heldout-share", o->job.data.pairs_heldout,
                  "of the prompts, by hash: not trained on, but looked at; 0: none")
      ->check(CLI::Range(0.0, 0.5))
      ->type_name("X")
      ->group(kHeldoutGroup)
      ->capture_default_str();
  app->add_option("--heldout-pairs", o->heldout_pairs,
                  "look at N of them at most, the same ones each time; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kHeldoutGroup)
      ->capture_default_str();
  app->add_option("--evaluate-every", o->evaluate_every, "steps; 0: before and after only")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kHeldoutGroup)
      ->capture_default_str();
}

void AddObjectiveOptions(CLI::App* app, job::ObjectiveSpec* objective, TrainOptions* o) {
  app->add_option("--beta", objective->beta, "of DPO")
      ->check(CLI::PositiveNumber)
      ->type_name("B")
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option(
         "--objective", o->objective,
         "which states of an answer are scored: dtrpo: K steps of each block; exact: every "
         "step; vrpo: the ELBO by K noise levels; random_mask: K random masks")
      ->check(CLI::IsMember({"dtrpo", "exact", "vrpo", "random_mask"}))
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option("--draws", objective->draws, "K (see --draw-from)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("K")
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option("--draw-from", objective->draw_from,
                  "block: K steps of each block; sequence: K states of the answer; default: block, "
                  "and sequence for bidirectional models")
      ->check(CLI::IsMember({"block", "sequence"}))
      ->type_name("WHAT")
      ->group(kObjectiveGroup);
  app->add_option("--weighting", o->weighting, "of drawn steps; steps: unbiased")
      ->check(CLI::IsMember({"steps", "one", "mean"}))
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option("--boundary", objective->boundary, "where a block's first token is read")
      ->check(CLI::IsMember({"clean", "noisy", "exclude"}))
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option("--antithetic", objective->antithetic,
                  "vrpo: noise levels in pairs t, 1 - t with complementary masks")
      ->type_name("true|false")
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option("--loss", o->loss, "of the margin: sigmoid (DPO) or ipo")
      ->check(CLI::IsMember({"sigmoid", "ipo"}))
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_option("--label-smoothing", objective->label_smoothing,
                  "probability that a pair's labels are wrong; sigmoid only")
      ->check(CLI::Range(0.0, 0.499))
      ->type_name("P")
      ->group(kObjectiveGroup)
      ->capture_default_str();
  app->add_flag("--length-normalised", objective->length_normalised,
                "log-ratios per token of the answer")
      ->group(kObjectiveGroup);
  app->add_option("--sft-weight", objective->sft_weight,
                  "of the cross-entropy of the chosen answer's scored tokens")
      ->check(CLI::NonNegativeNumber)
      ->type_name("W")
      ->group(kObjectiveGroup)
      ->capture_default_str();
}

void AddTrainingOptions(CLI::App* app, job::JobSpec* job, TrainOptions* o) {
  job::TrainingSpec* const t = &job->training;
  app->add_option("--steps", t->steps, "updates; 0: as many as --epochs take")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--epochs", job->data.epochs, "uses of each pair where --steps doesn't say")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--pairs-per-batch", t->pairs_per_batch, "pairs of an update")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("B")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--micro-batch-pairs", t->micro_batch_pairs,
                  "pairs that share a forward: bounds the memory; 0: all of the batch")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--learning-rate", t->learning_rate, "of AdamW, after the warm-up")
      ->check(CLI::PositiveNumber)
      ->type_name("R")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--schedule", o->schedule, "of the learning rate")
      ->check(CLI::IsMember({"constant", "linear", "cosine"}))
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--final-learning-rate-ratio", t->final_learning_rate_ratio,
                  "of the last step's rate to --learning-rate")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("X")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--warmup-steps", t->warmup_steps, "over which the rate rises from 0")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--weight-decay", t->weight_decay, "of AdamW, on matrices")
      ->check(CLI::NonNegativeNumber)
      ->type_name("W")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--max-gradient-norm", t->max_gradient_norm, "0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->type_name("C")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--checkpoint-every", t->checkpoint_every,
                  "steps between checkpoints in --output, from which the same command goes on")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N")
      ->group(kTrainingGroup)
      ->capture_default_str();
  app->add_option("--max-skipped-steps", t->max_skipped_steps,
                  "steps in a row whose numbers aren't finite")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kTrainingGroup)
      ->capture_default_str();
}

}  // namespace

TrainOptions::TrainOptions() {
  job.sampling.unmask = "steps:4";
  job.data.epochs = 1;
  job.data.pairs_heldout = 0.1;
}

void TrainOptions::Resolve() {
  if (rejects_path.empty()) {
    rejects_path = absl::StrCat(absl::StripSuffix(output_path, "/"), ".rejects.jsonl");
  }
  job.data.apply_chat_template = !raw_prompts;
  job.model.path = model.path;
  job.model.mask_token_id = std::max(0, model.mask_token_id);
  job.model.block_size = model.block_size;
  job.model.stop_ids = model.stop_ids;
  job.model.dtype = model.dtype;
  job.objective.weighting = kWeightings.at(weighting);
  job.objective.kind = kObjectives.at(objective);
  job.objective.loss = kLosses.at(loss);
  job.training.schedule = kSchedules.at(schedule);
}

void AddTrainOptions(CLI::App* app, TrainOptions* options) {
  AddModelOptions(app, &options->model);
  AddDataOptions(app, options);
  AddOrderOptions(app, options);
  AddHeldoutOptions(app, options);
  AddObjectiveOptions(app, &options->job.objective, options);
  AddTrainingOptions(app, &options->job, options);
  AddTrainedPartOptions(app, &options->job.training);
}

}  // namespace dtrpo::tools
