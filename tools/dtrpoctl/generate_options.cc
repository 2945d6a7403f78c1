#include "tools/dtrpoctl/generate_options.h"

#include <string>

#include "common/trajectory/unmask_spec.h"

namespace dtrpo::ctl {
namespace {

constexpr char kHelp[] =
    "Prints the answer as it comes, then a line on standard error: weights version, tokens, why it "
    "ended,\ntokens per second. What isn't given is as in the job's evaluations, greedy.\n"
    "\nExamples:\n"
    "  dtrpoctl generate --prompt '2+2='            one question\n"
    "  dtrpoctl generate                            a conversation, on a terminal\n"
    "  dtrpoctl generate - < question.txt           the prompt from standard input\n"
    "  dtrpoctl generate --prompt '2+2=' --version 12   by these weights, while a rollout holds "
    "them\n"
    "  dtrpoctl generate --tokens 5,9,2 --json      a JSON object a line: header, blocks, summary";

// An option that sets a field only if it is given.
template <typename Value, typename Set>
CLI::Option* AddField(CLI::App* app, const std::string& name, const std::string& help, Set set) {
  return app->add_option_function<Value>(name, set, help);
}

void AddPrompt(CLI::App* app, GenerateOptions* options) {
  AddField<std::string>(app, "--prompt", "The prompt", [=](const std::string& value) {
    options->prompt = value;
  })->type_name("TEXT");
  app->add_option("--prompt-file", options->prompt_file,
                  "A file that is the prompt, but for one newline at its end; -: standard input")
      ->type_name("FILE");
  app->add_option("--tokens", options->tokens, "Token ids instead of text")->type_name("1,2,3");
  const auto only_dash = [](const std::string& value) -> std::string {
    return value == "-" ? "" : "'" + value + "': write --prompt TEXT, or - for standard input";
  };
  app->add_option_function<std::string>(
         "STDIN", [=](const std::string&) { options->standard_input = true; },
         "A lone -: the prompt is standard input")
      ->check(CLI::Validator(only_dash, "", "dash"))
      ->type_name("");
  app->add_flag("--raw", options->raw, "Encode the prompt as it is, without the chat template");
  app->add_option("--system", options->system, "A system message before the prompt")
      ->type_name("TEXT");
}

void AddSampling(CLI::App* app, v1::GenerateParameters* parameters) {
  AddField<std::string>(app, "--unmask",
                        std::string("Which masks a step unmasks: ") + trajectory::kUnmaskForms,
                        [=](const std::string& value) { parameters->set_unmask(value); })
      ->type_name("POLICY");
  AddField<int32_t>(app, "--sub-block", "Unmask a block in parts of N tokens; 0: the whole block",
                    [=](int32_t value) { parameters->set_sub_block(value); })
      ->type_name("N");
  AddField<double>(app, "--temperature", "Default 0: the most probable token", [=](double value) {
    parameters->set_temperature(value);
  })->type_name("T");
  AddField<double>(app, "--top-p", "Nucleus to choose from; 1: off", [=](double value) {
    parameters->set_top_p(value);
  })->type_name("P");
  AddField<int32_t>(app, "--top-k", "Tokens to choose from; 0: off", [=](int32_t value) {
    parameters->set_top_k(value);
  })->type_name("K");
  AddField<int32_t>(app, "--max-new-tokens", "Length of the answer at most", [=](int32_t value) {
    parameters->set_max_new_tokens(value);
  })->type_name("M");
  AddField<std::string>(app, "--confidence", "What --unmask looks at: untempered or tempered",
                        [=](const std::string& value) { parameters->set_confidence(value); })
      ->type_name("KIND");
  AddField<int32_t>(app, "--repetition-guard",
                    "End when the last N tokens of a block repeat a cycle; 0: off",
                    [=](int32_t value) { parameters->set_repetition_guard(value); })
      ->type_name("N");
  app->add_flag_callback(
      "--ignore-stop", [=] { parameters->set_ignore_stop(true); },
      "Go on past stop tokens, to --max-new-tokens");
  AddField<uint64_t>(app, "--seed", "Default 0; with a temperature, another seed is another answer",
                     [=](uint64_t value) { parameters->set_seed(value); })
      ->type_name("S");
}

}  // namespace

void AddGenerateOptions(CLI::App* app, GenerateOptions* options) {
  app->footer(kHelp);
  app->add_option("--job", options->job_id, "Whose policy; default: the job that rollouts work on")
      ->type_name("ID");
  app->add_option("--rollout", options->rollout_address,
                  "Ask this rollout; default: one that the coordinator knows")
      ->type_name("HOST:PORT");
  AddField<int64_t>(app, "--version", "Weights version; default: the newest. 0: the base model",
                    [=](int64_t value) { options->version = value; })
      ->type_name("N");
  AddPrompt(app, options);
  AddSampling(app, &options->parameters);
  app->add_option_function<double>(
         "--time-limit", [=](double seconds) { options->time_limit = absl::Seconds(seconds); },
         "Seconds for an answer; default 600")
      ->check(CLI::PositiveNumber)
      ->type_name("SECONDS");
}

}  // namespace dtrpo::ctl
