#include "tools/dtrpo/answer_evaluation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/diffusion/unmask_policy.h"
#include "common/evaluation/question.h"
#include "common/evaluation/sampled_answer.h"
#include "common/reward/judge.h"
#include "common/trajectory/ids.h"

namespace dtrpo::tools {
namespace {

std::string CheckUnmask(const std::string& spec) {
  return std::string(diffusion::ParseUnmaskPolicy(spec).status().message());
}

std::string CheckVerifier(const std::string& name) {
  const reward::Term term{name, 1};
  return std::string(reward::Judge::Check({&term, 1}).message());
}

}  // namespace

void AddEvaluationOptions(CLI::App* app, const std::string& group, const std::string& batch_option,
                          EvaluationOptions* options) {
  trajectory::SamplerParameters& parameters = options->parameters;
  app->add_option("--verifier", options->verifier,
                  absl::StrCat("when an answer is right: ", reward::kVerifierRules))
      ->check(CheckVerifier)
      ->type_name("RULE")
      ->group(group)
      ->capture_default_str();
  app->add_option("--unmask", parameters.unmask,
                  absl::StrCat("which masks a step unmasks: ", trajectory::kUnmaskForms))
      ->check(CheckUnmask)
      ->type_name("POLICY")
      ->group(group)
      ->capture_default_str();
  app->add_option("--sub-block", parameters.sub_block,
                  "unmask a block in parts of N tokens, left to right; 0: the whole block")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->group(group)
      ->capture_default_str();
  app->add_option("--max-new-tokens", parameters.max_new_tokens, "length of an answer at most")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("M")
      ->group(group)
      ->capture_default_str();
  app->add_option(batch_option, options->batch, "sequences that share a forward at most")
      ->check(CLI::Range(1, 1 << 16))
      ->type_name("B")
      ->group(group)
      ->capture_default_str();
}

double Evaluation::Accuracy() const {
  return static_cast<double>(correct) / static_cast<double>(std::max<size_t>(1, answers.size()));
}

double Evaluation::TokensPerForward() const {
  return static_cast<double>(tokens) / static_cast<double>(std::max<int64_t>(1, forwards));
}

absl::StatusOr<std::vector<JudgedAnswer>> JudgeAnswers(
    absl::Span<const text::Prompt> prompts, absl::Span<const trajectory::Trajectory> answers,
    const reward::Verifier& verifier) {
  DTRPO_CHECK(prompts.size() == answers.size());
  std::vector<JudgedAnswer> judged;
  judged.reserve(answers.size());
  for (size_t i = 0; i < answers.size(); ++i) {
    const trajectory::Trajectory& t = answers[i];
    JudgedAnswer answer;
    answer.id = prompts[i].id;
    answer.expected = prompts[i].answer;
    answer.text = t.text;
    answer.finished = evaluation::Finished(t);
    DTRPO_ASSIGN_OR_RETURN(
        reward::Judgement judgement,
        base::Annotate(
            verifier.Judge({t.text, answer.finished, trajectory::TargetCount(t)}, answer.expected),
            absl::StrCat("prompt '", answer.id, "' (line ", prompts[i].line, ")")));
    answer.correct = judgement.correct;
    answer.reason = std::move(judgement.reason);
    judged.push_back(std::move(answer));
  }
  return judged;
}

AnswerEvaluator::AnswerEvaluator(std::vector<text::Prompt> prompts,
                                 const text::PromptEncoder* encoder,
                                 const EvaluationOptions& options,
                                 std::unique_ptr<reward::Verifier> verifier)
    : prompts_(std::move(prompts)),
      encoder_(encoder),
      options_(options),
      verifier_(std::move(verifier)) {}

absl::StatusOr<std::unique_ptr<AnswerEvaluator>> AnswerEvaluator::Create(
    std::vector<text::Prompt> prompts, const text::PromptEncoder* encoder,
    const EvaluationOptions& options) {
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<reward::Verifier> verifier,
                         reward::Verifier::Create(options.verifier));
  return std::unique_ptr<AnswerEvaluator>(
      new AnswerEvaluator(std::move(prompts), encoder, options, std::move(verifier)));
}

absl::StatusOr<Evaluation> AnswerEvaluator::Evaluate(
    const model::Transformer& model, int64_t limit,
    const std::function<void(int64_t)>& between_forwards) const {
  const std::vector<text::Prompt> prompts = evaluation::SpreadEvenly(prompts_, limit);
  diffusion::SamplerOptions sampler_options;
  sampler_options.parameters = options_.parameters;
  sampler_options.batch_sequences = options_.batch;
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(&model, sampler_options));
  std::vector<diffusion::SampleRequest> requests;
  for (const text::Prompt& prompt : prompts) {  // seeds: for policies that unmask by chance
    requests.push_back({prompt.id, prompt.tokens, trajectory::TrajectorySeed(0, prompt.id)});
  }
  DTRPO_ASSIGN_OR_RETURN(std::vector<trajectory::Trajectory> trajectories,
                         sampler->Sample(requests, [&] {
                           if (between_forwards) between_forwards(sampler->statistics().sequences);
                           return true;
                         }));
  for (trajectory::Trajectory& t : trajectories) {
    const auto targets =
        absl::MakeConstSpan(t.response_tokens).subspan(0, trajectory::TargetCount(t));
    DTRPO_ASSIGN_OR_RETURN(t.text, encoder_->Decode(targets));
  }

  Evaluation evaluation;
  DTRPO_ASSIGN_OR_RETURN(evaluation.answers, JudgeAnswers(prompts, trajectories, *verifier_));
  evaluation.correct = std::count_if(evaluation.answers.begin(), evaluation.answers.end(),
                                     [](const JudgedAnswer& answer) { return answer.correct; });
  evaluation.tokens = sampler->statistics().tokens;
  evaluation.forwards = sampler->statistics().sequence_forwards;
  return evaluation;
}

}  // namespace dtrpo::tools
