#include "tools/dtrpo/eval_command.h"

#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tools/dtrpo/prompt_data.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);

constexpr char kHelp[] = R"(A data line is a prompt as `dtrpo generate` takes it, with its answer:
  {"id": "a", "prompt": "2+2=", "answer": "4"}
Answers are sampled at temperature 0. An answer that no stop token ends is wrong. An output line has
  id, correct, expected, text, finished (a stop token ends it), reason
The last line on standard error:
  eval: prompts=N correct=N accuracy=A tokens_per_forward=F seconds=S

Example: dtrpo eval --model DIR --data heldout.jsonl --unmask steps:4 --max-new-tokens 64)";

absl::Status WriteAnswers(const std::vector<JudgedAnswer>& answers, base::WritableFile& file) {
  std::string lines;
  for (const JudgedAnswer& answer : answers) {
    const nlohmann::ordered_json line = {
        {"id", answer.id},     {"correct", answer.correct},   {"expected", answer.expected},
        {"text", answer.text}, {"finished", answer.finished}, {"reason", answer.reason}};
    absl::StrAppend(
        &lines, line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "\n");
  }
  DTRPO_RETURN_IF_ERROR(file.Append(lines));
  return file.Close();
}

}  // namespace

void EvalCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddModelOptions(app, &model_);
  AddAdapterOption(app, &model_);
  app->add_option("--data", data_path_, "prompts with answers, JSONL")
      ->required()
      ->type_name("FILE");
  app->add_option("--output", output_path_, "every answer, JSONL; an existing file is replaced")
      ->type_name("FILE");
  app->add_option("--answer-field", answer_field_, "field of a line that holds the answer")
      ->check([](const std::string& name) { return std::string(name.empty() ? "empty" : ""); })
      ->type_name("NAME")
      ->capture_default_str();
  app->add_option("--limit", limit_, "only N prompts, spread evenly over the file; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--raw-prompts", raw_prompts_, "never put text prompts into the chat template");
  AddEvaluationOptions(app, "Options", "--batch", &evaluation_);
}

absl::Status EvalCommand::Run() {
  DTRPO_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(model_));
  DTRPO_ASSIGN_OR_RETURN(const text::PromptEncoder encoder,
                         text::PromptEncoder::Load(model_.path, !raw_prompts_));
  DTRPO_ASSIGN_OR_RETURN(std::vector<text::Prompt> prompts,
                         ReadPromptFile(data_path_, loaded.folder, encoder, answer_field_,
                                        evaluation_.parameters.max_new_tokens));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<AnswerEvaluator> evaluator,
                         AnswerEvaluator::Create(std::move(prompts), &encoder, evaluation_));
  std::unique_ptr<base::WritableFile> output;
  if (!output_path_.empty()) {
    DTRPO_ASSIGN_OR_RETURN(output, base::PosixFileSystem()->Create(output_path_));
  }

  base::Clock* const clock = base::RealClock();
  const absl::Time start = clock->Now();
  absl::Time last_progress = start;
  DTRPO_ASSIGN_OR_RETURN(const Evaluation evaluation,
                         evaluator->Evaluate(*loaded.model, limit_, [&](int64_t done) {
                           if (clock->Now() - last_progress < kProgressEvery) return;
                           last_progress = clock->Now();
                           std::cerr << "eval: " << done << " prompts done\n";
                         }));
  if (output != nullptr) DTRPO_RETURN_IF_ERROR(WriteAnswers(evaluation.answers, *output));
  std::cerr << absl::StrFormat(
                   "eval: prompts=%d correct=%d accuracy=%.4f tokens_per_forward=%.3f seconds=%.3f",
                   evaluation.answers.size(), evaluation.correct, evaluation.Accuracy(),
                   evaluation.TokensPerForward(), absl::ToDoubleSeconds(clock->Now() - start))
            << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
