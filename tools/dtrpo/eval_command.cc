#include "tools/dtrpo/eval_command.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/hash.h"
#include "common/base/memory_file_system.h"
#include "common/base/status_macros.h"
#include "common/report/evaluation_report.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/reward_client.h"
#include "tools/dtrpo/evaluate/evaluation_run.h"
#include "tools/dtrpo/prompt_data.h"

namespace dtrpo::tools {
namespace {

using evaluation::Question;

constexpr absl::Duration kProgressEvery = absl::Seconds(5);

constexpr char kHelp[] =
    R"(The questions are JSONL in one of the layouts that docs/evaluation.md shows; by default a line is
  {"id": "a", "prompt": "2+2=", "answer": "4", "category": "sums"}
An answer that no stop token ends is wrong. With --samples N each question is answered N times at
--temperature, and --pass-k K is the chance that one of K answers is right. A table on standard
output has accuracy with its 95 % interval, per category too, and what generating took; with
--thresholds for each of them. For each policy the last lines on standard error are
  eval: prompts=N correct=N accuracy=A tokens_per_forward=F seconds=S
--run DIR keeps run.json, results.jsonl (every answer with its denoising order), timing.jsonl,
summary.json and report.html, and goes on where a run that was killed stopped; `dtrpo compare` puts
two of them side by side.

Example: dtrpo eval --model DIR --data gsm8k_test.jsonl --layout gsm8k --thresholds 0.5,0.7,0.9,1 \
           --max-new-tokens 512 --run runs/gsm8k)";

std::string CheckLayout(const std::string& layout) {
  return layout == "prompts" || !evaluation::VerifierOf("", layout).empty()
             ? ""
             : absl::StrCat("'", layout, "' is unknown");
}

std::string PolicyOf(double threshold) { return absl::StrCat("threshold:", threshold); }

}  // namespace

void EvalCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddModelOptions(app, &model_);
  AddAdapterOption(app, &model_);
  app->add_option("--data", data_path_, "questions with answers, JSONL")
      ->required()
      ->type_name("FILE");
  app->add_option("--layout", questions_.layout,
                  "of a line: prompts, gsm8k, math, gpqa, mbpp, livecodebench or ifeval")
      ->check(CheckLayout)
      ->type_name("NAME")
      ->capture_default_str();
  app->add_option("--template", template_path_,
                  "the prompt's text with {{field}}s; default: the layout's own")
      ->type_name("FILE");
  app->add_option("--run", run_path_, "folder for results and report, or of the run to go on with")
      ->type_name("DIR");
  app->add_option("--answer-field", questions_.answer_field,
                  "layout prompts: field of a line that holds the answer")
      ->check([](const std::string& name) { return std::string(name.empty() ? "empty" : ""); })
      ->type_name("NAME")
      ->capture_default_str();
  app->add_option("--limit", limit_, "only N questions, spread evenly over the file; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--samples", samples_, "answers to each question")
      ->check(CLI::Range(1, 1024))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--temperature", evaluation_.parameters.temperature,
                  "0: greedy; above 0 with several samples")
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("T")
      ->capture_default_str();
  app->add_option("--pass-k", pass_k_, "the k of pass@k, at most --samples; default 1")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->type_name("K,..");
  app->add_option("--seed", seed_, "of sampled answers and of the order of choices")
      ->type_name("S")
      ->capture_default_str();
  app->add_flag("--raw-prompts", raw_prompts_, "never put text prompts into the chat template");
  app->add_option("--reward-service", reward_service_,
                  "host:port that serves the rewards of service:NAME verifiers")
      ->type_name("ADDRESS");
  evaluation_.verifier.clear();
  AddEvaluationOptions(app, "Options", "--batch", &evaluation_);
  app->get_option("--verifier")
      ->description(absl::StrCat(app->get_option("--verifier")->get_description(),
                                 "; service:NAME; default: what suits the layout"));
  app->add_option("--thresholds", thresholds_, "evaluate with threshold:T for each of these")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0))
      ->excludes("--unmask")
      ->type_name("T,..");
}

absl::Status EvalCommand::CheckOptions() const {
  if (samples_ > 1 && evaluation_.parameters.temperature == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--temperature: 0 makes the ", samples_, " answers to a question the same"));
  }
  for (const int32_t k : pass_k_) {
    if (k > samples_) {
      return absl::InvalidArgumentError(
          absl::StrCat("--pass-k: ", k, " is more than --samples ", samples_));
    }
  }
  return absl::OkStatus();
}

std::string EvalCommand::Verifier() const {
  const std::string verifier = evaluation::VerifierOf(evaluation_.verifier, questions_.layout);
  return verifier.empty() ? "exact" : verifier;
}

std::vector<std::string> EvalCommand::Policies() const {
  std::vector<std::string> policies;
  for (const double threshold : thresholds_) policies.push_back(PolicyOf(threshold));
  if (policies.empty()) policies.push_back(evaluation_.parameters.unmask);
  return policies;
}

absl::StatusOr<std::vector<Question>> EvalCommand::ReadData() const {
  base::FileSystem* const files = base::PosixFileSystem();
  evaluation::QuestionOptions options = questions_;
  options.seed = seed_;
  if (!template_path_.empty()) {
    DTRPO_ASSIGN_OR_RETURN(options.prompt_template, files->Read(template_path_));
  }
  DTRPO_ASSIGN_OR_RETURN(const std::string content, files->Read(data_path_));
  DTRPO_ASSIGN_OR_RETURN(std::vector<Question> questions,
                         evaluation::ReadQuestions(content, data_path_, options));
  return evaluation::SpreadEvenly(std::move(questions), limit_);
}

nlohmann::ordered_json EvalCommand::Settings(const std::vector<Question>& questions) const {
  base::StableHasher hasher;
  for (const Question& question : questions) hasher.Add(question.line);
  nlohmann::ordered_json settings = {
      {"model", model_.path},
      {"adapter", model_.adapter_path},
      {"data", data_path_},
      {"layout", questions_.layout},
      {"questions", questions.size()},
      {"questions_hash", base::Hex64(hasher.Finish())},
      {"verifier", Verifier()},
      {"samples", samples_},
      {"temperature", evaluation_.parameters.temperature},
      {"seed", seed_},
      {"max_new_tokens", evaluation_.parameters.max_new_tokens},
      {"sub_block", evaluation_.parameters.sub_block},
      {"pass_k", pass_k_.empty() ? std::vector<int32_t>{1} : pass_k_}};
  // What changes answers and is seldom asked for.
  const ModelOptions usual;
  if (raw_prompts_) settings["raw_prompts"] = true;
  if (model_.dtype != usual.dtype) settings["dtype"] = model_.dtype;
  if (model_.mask_token_id != usual.mask_token_id) settings["mask_token_id"] = model_.mask_token_id;
  if (model_.block_size != usual.block_size) settings["block_size"] = model_.block_size;
  if (model_.stop_ids != usual.stop_ids) settings["stop_ids"] = model_.stop_ids;
  return settings;
}

absl::StatusOr<std::unique_ptr<reward::RemoteReward>> EvalCommand::RemoteReward(
    rpc::ChannelFactory& channels) const {
  if (reward::ServiceReward(Verifier()).empty()) return nullptr;
  if (reward_service_.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("verifier ", Verifier(),
                     " needs --reward-service (docs/rewards.md), or choose "
                     "a built-in rule with --verifier"));
  }
  DTRPO_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                         channels.Create(reward_service_));
  job::RewardServiceSpec service;
  service.address = reward_service_;
  return wire::MakeRewardClient(channel, wire::RewardOptions(service));
}

absl::Status EvalCommand::Run() {
  rpc::ChannelFactory channels({});
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<reward::RemoteReward> remote,
                         RemoteReward(channels));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<reward::Judge> judge,
                         reward::Judge::Create({reward::Term{Verifier(), 1}}, remote.get()));
  DTRPO_ASSIGN_OR_RETURN(std::vector<Question> questions, ReadData());
  DTRPO_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(model_));
  DTRPO_ASSIGN_OR_RETURN(const text::PromptEncoder encoder,
                         text::PromptEncoder::Load(model_.path, !raw_prompts_));
  DTRPO_ASSIGN_OR_RETURN(
      std::vector<std::vector<int32_t>> tokens,
      EncodeQuestions(questions, data_path_, loaded.folder, encoder, questions_.answer_field,
                      evaluation_.parameters.max_new_tokens));
  base::MemoryFileSystem nowhere;
  base::FileSystem* const files = run_path_.empty() ? &nowhere : base::PosixFileSystem();
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<evaluation::RunFolder> folder,
                         evaluation::RunFolder::Open(files, run_path_.empty() ? "run" : run_path_,
                                                     Settings(questions)));
  if (!folder->run().answers.empty()) {
    std::cerr << "eval: " << run_path_ << " has " << folder->run().answers.size()
              << " answers; going on\n";
  }

  base::Clock* const clock = base::RealClock();
  absl::Time last_progress = clock->Now();
  EvaluationRun::Options options;
  options.parameters = evaluation_.parameters;
  options.policies = Policies();
  options.samples = samples_;
  options.seed = seed_;
  options.batch = evaluation_.batch;
  options.progress = [&](const std::string& policy, int64_t done, int64_t all) {
    if (clock->Now() - last_progress < kProgressEvery) return;
    last_progress = clock->Now();
    std::cerr << "eval: " << policy << ": " << done << " of " << all << " answers\n";
  };
  EvaluationRun run(std::move(questions), std::move(tokens), options,
                    {.model = loaded.model.get(),
                     .encoder = &encoder,
                     .judge = judge.get(),
                     .folder = folder.get()});
  DTRPO_RETURN_IF_ERROR(run.Run());

  const auto summaries =
      evaluation::SummariseRun(folder->run().answers, folder->run().PassK(), folder->run().timing);
  std::cout << evaluation::SummaryTable(summaries);
  if (!run_path_.empty()) {
    DTRPO_ASSIGN_OR_RETURN(const std::string page,
                           report::WriteEvaluationReport(files, folder->run()));
    std::cout << "Report: " << page << "\n";
  }
  for (const evaluation::PolicySummary& summary : summaries) {
    std::cerr << absl::StrFormat(
                     "eval: prompts=%d correct=%d accuracy=%.4f tokens_per_forward=%.3f "
                     "seconds=%.3f",
                     summary.questions, summary.correct,
                     static_cast<double>(summary.correct) /
                         static_cast<double>(std::max<int64_t>(1, summary.answers)),
                     summary.TokensPerForward(), summary.timing.seconds)
              << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
