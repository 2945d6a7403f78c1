#include "tools/dtrpo/sft_command.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/text/tokenizer.h"
#include "common/training/training_state.h"
#include "tools/dtrpo/output_folder.h"
#include "tools/dtrpo/prompt_data.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);
constexpr char kHeldoutGroup[] = "Held-out accuracy (greedy)";

constexpr char kHelp[] = R"(A data line is a prompt as `dtrpo generate` takes it, with its answer:
  {"id": "a", "prompt": "2+2=", "answer": "4"}
The model learns the answer followed by its stop token. Each use of an example masks the tokens of
every block with a probability drawn anew; the masked ones are predicted. Bidirectional models: the
answer is one block, filled up with pad tokens to the longest answer of the data, which are learnt,
too. In bfloat16, float32 masters take the steps. The same options, seed and number of --threads
give the same weights on the same kind of machine.
DIR becomes a Hugging Face folder with the files of --model beside the new weights. The last line on
standard error, heldout_accuracy over all held-out prompts ("none" without --heldout):
  sft: examples=N steps=N seconds=S loss=L heldout_accuracy=A output=DIR

Example: dtrpo sft --model BASE --data train.jsonl --output DIR --steps 1000 --learning-rate 1e-5)";

// Lines on standard error: every evaluation, and a step every few seconds.
class Progress {
 public:
  explicit Progress(int64_t steps)
      : steps_(steps), start_(base::RealClock()->Now()), last_(start_) {}

  void MaybePrint(const training::SftStep& step) {
    const absl::Time now = base::RealClock()->Now();
    if (!step.heldout_accuracy && now - last_ < kProgressEvery) return;
    last_ = now;
    std::cerr << absl::StrFormat("sft: step %d of %d loss %.4f learning_rate %.3g", step.step,
                                 steps_, step.loss, step.learning_rate);
    if (step.heldout_accuracy) {
      std::cerr << absl::StrFormat(" heldout_accuracy %.4f", *step.heldout_accuracy);
    }
    std::cerr << std::endl;
  }

  double Seconds() const { return absl::ToDoubleSeconds(base::RealClock()->Now() - start_); }

 private:
  const int64_t steps_;
  const absl::Time start_;
  absl::Time last_;
};

}  // namespace

void SftCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddModelOptions(app, &model_);
  app->add_option("--init", init_,
                  "start from the folder's weights, or from random ones (the folder then needs "
                  "none)")
      ->check(CLI::IsMember({"weights", "random"}))
      ->capture_default_str();
  app->add_option("--data", data_path_, "prompts with answers, JSONL")
      ->required()
      ->type_name("FILE");
  app->add_option("--output", output_path_,
                  "folder of the new checkpoint; replaced if this program wrote it")
      ->required()
      ->type_name("DIR");
  app->add_option("--max-shard-bytes", max_shard_bytes_,
                  "weights above it are saved in several files")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 60))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--answer-field", answer_field_, "field of a line that holds the answer")
      ->check([](const std::string& name) { return std::string(name.empty() ? "empty" : ""); })
      ->type_name("NAME")
      ->capture_default_str();
  app->add_flag("--raw-prompts", raw_prompts_, "never put text prompts into the chat template");
  app->add_option("--seed", training_.seed, "of random weights, the order and the masks")
      ->type_name("S")
      ->capture_default_str();
  app->add_option("--steps", training_.steps, "updates at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--batch", training_.batch_examples, "examples of an update")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("B")
      ->capture_default_str();
  app->add_option("--learning-rate", training_.learning_rate, "of AdamW, after the warm-up")
      ->check(CLI::PositiveNumber)
      ->type_name("R")
      ->capture_default_str();
  app->add_option("--warmup", training_.warmup_steps, "updates over which the rate rises from 0")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--weight-decay", training_.weight_decay, "of AdamW, on matrices")
      ->check(CLI::NonNegativeNumber)
      ->type_name("W")
      ->capture_default_str();
  app->add_option("--clip", training_.max_gradient_norm, "largest gradient norm; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->type_name("C")
      ->capture_default_str();
  app->add_option("--boundary", boundary_,
                  "a block's first token is predicted from the clean row before it, as sampling "
                  "does, or from the noisy one (token shift only)")
      ->check(CLI::IsMember({"clean", "noisy"}))
      ->capture_default_str();
  AddTrainedPartOptions(app, &parts_.training);
  AddHeldoutOptions(app);
}

void SftCommand::AddHeldoutOptions(CLI::App* app) {
  app->add_option("--heldout", heldout_path_,
                  "prompts with answers that are not in the data, JSONL")
      ->type_name("FILE")
      ->group(kHeldoutGroup);
  app->add_option("--evaluate-every", training_.evaluate_every, "updates; 0: at the end only")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kHeldoutGroup)
      ->capture_default_str();
  app->add_option("--evaluate-prompts", evaluate_prompts_,
                  "only N of them on the way, spread evenly; 0: all. At the end always all")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(kHeldoutGroup)
      ->capture_default_str();
  app->add_option("--stop-at-accuracy", training_.stop_at_accuracy,
                  "stop at the first evaluation that reaches it; 0: make all steps")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("A")
      ->group(kHeldoutGroup)
      ->capture_default_str();
  AddEvaluationOptions(app, kHeldoutGroup, "--evaluate-batch", &evaluation_);
}

absl::Status SftCommand::CheckOptions() const {
  if (heldout_path_.empty() && training_.evaluate_every > 0) {
    return absl::InvalidArgumentError("--evaluate-every needs --heldout");
  }
  if (training_.stop_at_accuracy > 0 && training_.evaluate_every == 0) {
    return absl::InvalidArgumentError("--stop-at-accuracy needs --evaluate-every");
  }
  if (init_ == "random" && !training::TrainedPartsOf(parts_).all()) {
    return absl::InvalidArgumentError(
        "--init random trains all weights: no --trainable, no --lora-rank");
  }
  return absl::OkStatus();
}

absl::Status SftCommand::Run() {
  DTRPO_RETURN_IF_ERROR(CheckOutputFolder(output_path_));
  DTRPO_ASSIGN_OR_RETURN(ModelToTrain loaded, Load());
  DTRPO_ASSIGN_OR_RETURN(const text::PromptEncoder encoder,
                         text::PromptEncoder::Load(model_.path, !raw_prompts_));
  DTRPO_ASSIGN_OR_RETURN(std::vector<objective::SftExample> examples,
                         ReadExamples(loaded.folder, encoder));
  const size_t example_count = examples.size();
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<AnswerEvaluator> evaluator,
                         MakeEvaluator(loaded.folder, encoder));
  training::SftOptions options = training_;
  DTRPO_ASSIGN_OR_RETURN(options.boundary, trajectory::ParseBoundary(boundary_));
  DTRPO_ASSIGN_OR_RETURN(
      const std::unique_ptr<training::SftTrainer> trainer,
      training::SftTrainer::Create(std::move(loaded.model), std::move(examples), options));

  Progress progress(options.steps);
  training::SftHooks hooks;
  hooks.report = [&progress](const training::SftStep& step) { progress.MaybePrint(step); };
  if (evaluator != nullptr) {
    hooks.evaluate = [&](const model::Transformer& model) -> absl::StatusOr<double> {
      DTRPO_ASSIGN_OR_RETURN(const Evaluation part, evaluator->Evaluate(model, evaluate_prompts_));
      return part.Accuracy();
    };
  }
  DTRPO_ASSIGN_OR_RETURN(const training::SftStep last, trainer->Run(hooks));
  std::string accuracy = "none";
  if (evaluator != nullptr) {
    DTRPO_ASSIGN_OR_RETURN(const Evaluation whole, evaluator->Evaluate(trainer->model()));
    accuracy = absl::StrFormat("%.4f", whole.Accuracy());
  }
  if (options.stop_at_accuracy > 0 && !(last.heldout_accuracy >= options.stop_at_accuracy)) {
    std::cerr << absl::StrFormat("sft: made all %d steps without reaching --stop-at-accuracy %g\n",
                                 options.steps, options.stop_at_accuracy);
  }
  DTRPO_RETURN_IF_ERROR(training::WriteTrainingCheckpoint(
      base::PosixFileSystem(), output_path_, trainer->model(), loaded.folder,
      /*optimizer=*/nullptr, /*progress=*/{},
      {.max_shard_bytes = max_shard_bytes_,
       .adapter_only = parts_.training.lora.save == "adapter"}));
  std::cerr << absl::StrFormat(
                   "sft: examples=%d steps=%d seconds=%.1f loss=%.4f heldout_accuracy=%s output=%s",
                   example_count, last.step, progress.Seconds(), last.loss, accuracy, output_path_)
            << std::endl;
  return absl::OkStatus();
}

absl::StatusOr<ModelToTrain> SftCommand::Load() const {
  if (init_ == "random") return RandomModelToTrain(model_, training_.seed);
  job::JobSpec parts = parts_;
  parts.seed = training_.seed;
  return LoadModelToTrain(model_, parts);
}

absl::StatusOr<std::vector<objective::SftExample>> SftCommand::ReadExamples(
    const checkpoint::CheckpointFolder& folder, const text::PromptEncoder& encoder) const {
  DTRPO_ASSIGN_OR_RETURN(
      const std::vector<text::Prompt> prompts,
      ReadPromptFile(data_path_, folder, encoder, answer_field_, /*max_new_tokens=*/1));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<text::Tokenizer> tokenizer,
                         base::Annotate(text::Tokenizer::Load(model_.path), "answers are text"));
  const checkpoint::ModelDescriptor& descriptor = folder.descriptor();
  const int64_t limit = folder.config().max_position_embeddings;
  std::vector<objective::SftExample> examples;
  examples.reserve(prompts.size());
  for (const text::Prompt& prompt : prompts) {
    const std::string where =
        absl::StrCat(data_path_, ":", prompt.line, ": field '", answer_field_, "'");
    objective::SftExample example;
    example.prompt_tokens = prompt.tokens;
    DTRPO_ASSIGN_OR_RETURN(example.answer_tokens,
                           base::Annotate(tokenizer->Encode(prompt.answer), where));
    const auto outside = [&](int32_t token) { return token >= descriptor.vocab_size; };
    if (std::any_of(example.answer_tokens.begin(), example.answer_tokens.end(), outside)) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": the tokenizer gives ids outside the model's ", descriptor.vocab_size));
    }
    example.answer_tokens.push_back(descriptor.stop_ids.front());
    const size_t length = example.prompt_tokens.size() + example.answer_tokens.size();
    if (limit > 0 && length > static_cast<size_t>(limit)) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": with its prompt it has ", length,
                                                     " tokens, above ", folder.config().file,
                                                     "'s max_position_embeddings ", limit));
    }
    examples.push_back(std::move(example));
  }
  return examples;
}

absl::StatusOr<std::unique_ptr<AnswerEvaluator>> SftCommand::MakeEvaluator(
    const checkpoint::CheckpointFolder& folder, const text::PromptEncoder& encoder) const {
  if (heldout_path_.empty()) return nullptr;
  DTRPO_ASSIGN_OR_RETURN(std::vector<text::Prompt> prompts,
                         ReadPromptFile(heldout_path_, folder, encoder, answer_field_,
                                        evaluation_.parameters.max_new_tokens));
  return AnswerEvaluator::Create(std::move(prompts), &encoder, evaluation_);
}

}  // namespace dtrpo::tools
