#include "tools/dtrpo/evaluate/evaluation_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/evaluation/sampled_answer.h"
#include "common/trajectory/ids.h"

namespace dtrpo::tools {
namespace {

using evaluation::JudgedAnswer;
using evaluation::Question;

// Sampled before they are written. The last sequences of a call run in thin batches, so a call
// takes a few batches; what a killed run loses is one call.
constexpr size_t kBatchesPerCall = 4;

}  // namespace

EvaluationRun::EvaluationRun(std::vector<Question> questions,
                             std::vector<std::vector<int32_t>> tokens, Options options, Deps deps)
    : questions_(std::move(questions)),
      tokens_(std::move(tokens)),
      options_(std::move(options)),
      deps_(deps) {
  DTRPO_CHECK_EQ(questions_.size(), tokens_.size());
}

absl::Status EvaluationRun::Run() {
  for (const std::string& policy : options_.policies) DTRPO_RETURN_IF_ERROR(RunPolicy(policy));
  return deps_.folder->WriteSummary();
}

absl::Status EvaluationRun::RunPolicy(const std::string& policy) {
  std::vector<Wanted> wanted;
  for (size_t i = 0; i < questions_.size(); ++i) {
    for (int32_t sample = 0; sample < options_.samples; ++sample) {
      if (!deps_.folder->Has(policy, questions_[i].id, sample)) wanted.push_back({i, sample});
    }
  }
  diffusion::SamplerOptions sampler_options;
  sampler_options.parameters = options_.parameters;
  sampler_options.parameters.unmask = policy;
  sampler_options.batch_sequences = options_.batch;
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<diffusion::BlockSampler> sampler,
                         diffusion::BlockSampler::Create(deps_.model, sampler_options));
  const size_t call = kBatchesPerCall * static_cast<size_t>(options_.batch);
  const int64_t all = static_cast<int64_t>(questions_.size()) * options_.samples;
  const int64_t there = all - static_cast<int64_t>(wanted.size());
  for (size_t begin = 0; begin < wanted.size(); begin += call) {
    const size_t count = std::min(call, wanted.size() - begin);
    std::vector<diffusion::SampleRequest> requests;
    for (size_t i = begin; i < begin + count; ++i) {
      const std::string name =
          evaluation::AnswerName(questions_[wanted[i].question].id, wanted[i].sample);
      requests.push_back(
          {name, tokens_[wanted[i].question], trajectory::TrajectorySeed(options_.seed, name)});
    }
    const absl::Time started = deps_.clock->Now();
    DTRPO_ASSIGN_OR_RETURN(
        const std::vector<trajectory::Trajectory> trajectories, sampler->Sample(requests, [&] {
          if (options_.progress) {
            options_.progress(policy, there + sampler->statistics().sequences, all);
          }
          return true;
        }));
    evaluation::Timing timing;
    timing.seconds = absl::ToDoubleSeconds(deps_.clock->Now() - started);
    for (const trajectory::Trajectory& t : trajectories) timing.tokens += TargetCount(t);
    DTRPO_ASSIGN_OR_RETURN(const std::vector<JudgedAnswer> answers,
                           Judge(policy, &wanted[begin], trajectories));
    DTRPO_RETURN_IF_ERROR(deps_.folder->Append(answers, policy, timing));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JudgedAnswer>> EvaluationRun::Judge(
    const std::string& policy, const Wanted* wanted,
    const std::vector<trajectory::Trajectory>& trajectories) const {
  const size_t count = trajectories.size();
  std::vector<JudgedAnswer> answers(count);
  std::vector<reward::Question> asked(count);
  std::vector<reward::AnsweredQuestion> items(count);
  for (size_t i = 0; i < count; ++i) {
    const Question& question = questions_[wanted[i].question];
    DTRPO_ASSIGN_OR_RETURN(answers[i], evaluation::DescribeAnswer(trajectories[i], *deps_.encoder));
    evaluation::FillQuestion(question, wanted[i].sample, policy, answers[i]);
    asked[i] = {question.id, question.prompt, question.expected, question.line};
    items[i] = {&asked[i], {answers[i].answer, answers[i].finished, answers[i].tokens}};
  }
  const reward::Judgements judgements = deps_.judge->JudgeAll(items);
  for (size_t i = 0; i < count; ++i) {
    if (!judgements[i].ok()) {
      return base::Annotate(judgements[i].status(), "question '", answers[i].id, "'");
    }
    answers[i].correct = judgements[i]->correct;
    answers[i].reason = judgements[i]->reason;
  }
  return answers;
}

}  // namespace dtrpo::tools
