#include "tools/dtrpoctl/generate.h"

#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo::ctl {
namespace {

constexpr char kForget[] = "/reset";

// Shows one answer as it comes, and keeps its text.
class AnswerPrinter {
 public:
  explicit AnswerPrinter(const Session& session) : session_(session) {}

  bool Print(const v1::GenerateResponse& message) {
    if (message.has_header()) header_ = message.header();
    if (message.has_block()) text_ += message.block().text();
    if (session_.json) {
      *session_.out << Json(message) << std::endl;
      return session_.out->good();
    }
    if (message.has_block()) Show(message.block());
    if (message.has_summary()) {
      EndLine();
      Show(message.summary());
    }
    return session_.out->good();  // a reader that is gone (`| head`) ends the call
  }

  // After the last message, whatever it was.
  void EndLine() {
    if (!session_.json && !at_line_start_) *session_.out << std::endl;
    at_line_start_ = true;
  }

  const std::string& text() const { return text_; }

 private:
  void Show(const v1::GenerateBlock& block) {
    std::string shown = block.text();
    if (!header_.has_text()) {
      for (int i = 0; i < block.tokens_size(); ++i) {
        absl::StrAppend(&shown, block.begin() + i > 0 ? "," : "", block.tokens(i));
      }
    }
    if (shown.empty()) return;
    at_line_start_ = shown.back() == '\n';
    *session_.out << shown << std::flush;
  }

  void Show(const v1::GenerateSummary& summary) {
    *session_.err << absl::StrFormat(
                         "dtrpoctl: job %s, version %d: %d tokens (%s), %.1f tokens/s",
                         header_.job_id(), header_.version(), summary.tokens(),
                         absl::AsciiStrToLower(v1::FinishReason_Name(summary.finish_reason())),
                         summary.tokens_per_second())
                  << std::endl;
  }

  const Session& session_;
  v1::GenerateHeader header_;
  std::string text_;
  bool at_line_start_ = true;
};

int ReportGenerate(const Session& session, const absl::Status& status) {
  *session.err << "dtrpoctl: " << status.message() << std::endl;
  return absl::IsUnavailable(status) ? kUnreachable : kFailed;
}

// One newline at the end belongs to the file, not to the prompt.
std::string WithoutLastNewline(absl::string_view text) {
  return std::string(absl::StripSuffix(text, "\n"));
}

absl::StatusOr<std::string> ReadPrompt(const Session& session, const GenerateOptions& options) {
  if (options.prompt.has_value()) return *options.prompt;
  if (!options.prompt_file.empty() && options.prompt_file != "-") {
    DTRPO_ASSIGN_OR_RETURN(const std::string text, session.files->Read(options.prompt_file));
    return WithoutLastNewline(text);
  }
  return WithoutLastNewline(std::string(std::istreambuf_iterator<char>(*options.in), {}));
}

absl::Status ParseTokens(const std::string& text, v1::GenerateTokens* tokens) {
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(word, &id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--tokens: '", word, "' is no token id; write 1,2,3"));
    }
    tokens->add_ids(id);
  }
  return absl::OkStatus();
}

void AddMessage(const std::string& role, const std::string& content, v1::GenerateMessages* chat) {
  v1::GenerateMessage* message = chat->add_messages();
  message->set_role(role);
  message->set_content(content);
}

v1::GenerateRequest RequestOf(const GenerateOptions& options) {
  v1::GenerateRequest request;
  request.set_job_id(options.job_id);
  *request.mutable_parameters() = options.parameters;
  if (options.version.has_value()) request.set_version(*options.version);
  return request;
}

// What the command line may not say together; empty: all is well.
std::string Contradiction(const GenerateOptions& options) {
  const int sources = options.prompt.has_value() + !options.prompt_file.empty() +
                      !options.tokens.empty() + options.standard_input;
  if (sources > 1) return "only one of --prompt, --prompt-file, --tokens and - can be the prompt";
  if (!options.tokens.empty() && (options.raw || !options.system.empty())) {
    return "--tokens are sent as they are: neither --raw nor --system goes with them";
  }
  if (options.raw && !options.system.empty()) {
    return "--system needs the chat template, which --raw leaves out";
  }
  if (options.raw && sources == 0 && options.terminal) {
    return "--raw goes with a prompt; a conversation needs the chat template";
  }
  return "";
}

absl::Status SetPrompt(const Session& session, const GenerateOptions& options,
                       v1::GenerateRequest* request) {
  if (!options.tokens.empty()) return ParseTokens(options.tokens, request->mutable_tokens());
  DTRPO_ASSIGN_OR_RETURN(std::string prompt, ReadPrompt(session, options));
  if (options.system.empty()) {
    request->set_text(std::move(prompt));
    request->set_raw(options.raw);
  } else {
    AddMessage("system", options.system, request->mutable_chat());
    AddMessage("user", prompt, request->mutable_chat());
  }
  return absl::OkStatus();
}

// Line by line until the end of the input. An answer that fails is reported, and its question isn't
// part of the conversation.
int Converse(const Session& session, const GenerateOptions& options, RolloutCaller& rollouts) {
  v1::GenerateMessages history;
  if (!options.system.empty()) AddMessage("system", options.system, &history);
  const v1::GenerateMessages start = history;
  *session.err << "Ctrl-D ends, " << kForget << " forgets the conversation." << std::endl;
  std::string line;
  while (*session.err << "> " << std::flush, std::getline(*options.in, line)) {
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    if (line == kForget) {
      history = start;
      continue;
    }
    v1::GenerateRequest request = RequestOf(options);
    *request.mutable_chat() = history;
    AddMessage("user", line, request.mutable_chat());
    AnswerPrinter printer(session);
    const absl::Status status = rollouts.Generate(
        request, [&](const auto& message) { return printer.Print(message); },
        session.clock->Now() + options.time_limit);
    printer.EndLine();
    if (!status.ok()) {
      if (!session.out->good()) return kFailed;
      ReportGenerate(session, status);
      continue;
    }
    history = request.chat();
    AddMessage("assistant", printer.text(), &history);
  }
  *session.err << std::endl;
  return kOk;
}

}  // namespace

int Generate(const Session& session, const GenerateOptions& options, RolloutCaller::Dial dial) {
  if (const std::string problem = Contradiction(options); !problem.empty()) {
    *session.err << "dtrpoctl: " << problem << std::endl;
    return kUsage;
  }
  RolloutCaller rollouts(session, std::move(dial), options.job_id, options.rollout_address);
  const bool has_source = options.prompt.has_value() || !options.prompt_file.empty() ||
                          !options.tokens.empty() || options.standard_input;
  if (!has_source && options.terminal) return Converse(session, options, rollouts);
  v1::GenerateRequest request = RequestOf(options);
  if (const absl::Status status = SetPrompt(session, options, &request); !status.ok()) {
    *session.err << "dtrpoctl: " << status.message() << std::endl;
    return absl::IsInvalidArgument(status) ? kUsage : kFailed;
  }
  AnswerPrinter printer(session);
  const absl::Status status = rollouts.Generate(
      request, [&](const auto& message) { return printer.Print(message); },
      session.clock->Now() + options.time_limit);
  printer.EndLine();
  return status.ok() ? kOk : ReportGenerate(session, status);
}

}  // namespace dtrpo::ctl
