// Thread safety: one thread at a time; the evaluator's model may differ from call to call.
//
// How many prompts with known answers does a model get right? Greedy answers, judged by a verifier:
// the held-out accuracy of what trains. Its options are those of `dtrpo eval`, too.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/diffusion/block_sampler.h"
#include "common/model/transformer.h"
#include "common/reward/verifier.h"
#include "common/text/prompt_encoder.h"
#include "common/text/prompt_file.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::tools {

struct EvaluationOptions {
  trajectory::SamplerParameters parameters;  // temperature 0
  std::string verifier = "exact";
  int32_t batch = 256;  // sequences that share a forward at most
};

// --verifier, --unmask, --sub-block, --max-new-tokens, --batch (under another name where the
// command has a --batch of its own), all in `group` of the help.
void AddEvaluationOptions(CLI::App* app, const std::string& group, const std::string& batch_option,
                          EvaluationOptions* options);

struct JudgedAnswer {
  std::string id, expected, text, reason;
  bool correct = false;
  bool finished = false;  // a stop token ends it
};

struct Evaluation {
  std::vector<JudgedAnswer> answers;  // in the order of the prompts
  int64_t correct = 0;
  int64_t tokens = 0;    // of all answers, stop tokens included
  int64_t forwards = 0;  // summed over the sequences, as if each had been alone

  double Accuracy() const;
  double TokensPerForward() const;
};

// The `answers` (with text) to the prompts, one each. INVALID_ARGUMENT naming the prompt whose
// expected answer can't be judged against.
absl::StatusOr<std::vector<JudgedAnswer>> JudgeAnswers(
    absl::Span<const text::Prompt> prompts, absl::Span<const trajectory::Trajectory> answers,
    const reward::Verifier& verifier);

class AnswerEvaluator {
 public:
  // `prompts` have answers; `encoder` outlives the evaluator.
  static absl::StatusOr<std::unique_ptr<AnswerEvaluator>> Create(std::vector<text::Prompt> prompts,
                                                                 const text::PromptEncoder* encoder,
                                                                 const EvaluationOptions& options);

  // `limit` prompts, spread evenly over all of them (files are often sorted); 0: all.
  // `between_forwards` may be null; it is told how many sequences are done.
  absl::StatusOr<Evaluation> Evaluate(
      const model::Transformer& model, int64_t limit = 0,
      const std::function<void(int64_t)>& between_forwards = nullptr) const;

  int64_t prompts() const { return static_cast<int64_t>(prompts_.size()); }

 private:
  AnswerEvaluator(std::vector<text::Prompt> prompts, const text::PromptEncoder* encoder,
                  const EvaluationOptions& options, std::unique_ptr<reward::Verifier> verifier);

  const std::vector<text::Prompt> prompts_;
  const text::PromptEncoder* const encoder_;
  const EvaluationOptions options_;
  const std::unique_ptr<reward::Verifier> verifier_;
};

}  // namespace dtrpo::tools
