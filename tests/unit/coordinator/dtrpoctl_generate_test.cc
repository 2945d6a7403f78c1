// What a user of `dtrpoctl generate` sees, against a coordinator and rollouts over real
// connections.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/base/retry_after.h"
#include "common/rpc/serve.h"
#include "nlohmann/json.hpp"
#include "proto/dtrpo/v1/generate.grpc.pb.h"
#include "tests/unit/coordinator/live_coordinator.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/generate.h"
#include "tools/dtrpoctl/generate_options.h"

namespace dtrpo::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Answers with the last word of the prompt in capitals, a block a letter; or as `refusal` says.
class FakeRollout : public v1::GenerateService::Service {
 public:
  FakeRollout() : server_(*rpc::RpcServer::Start({}, {this})) {}

  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
      requests.push_back(*request);
      if (!refusal.ok()) return refusal;
      v1::GenerateResponse message;
      message.mutable_header()->set_job_id("add-1");
      message.mutable_header()->set_version(version);
      message.mutable_header()->set_has_text(has_text);
      writer->Write(message);
      const std::string answer = absl::AsciiStrToUpper(LastWord(*request));
      for (size_t i = 0; i < answer.size(); ++i) {
        v1::GenerateBlock& block = *message.mutable_block();
        block.set_begin(static_cast<int64_t>(i));
        block.clear_tokens();
        block.add_tokens(answer[i]);
        block.set_text(has_text ? answer.substr(i, 1) : "");
        writer->Write(message);
        if (i == breaks_at) return absl::UnavailableError("this rollout is shutting down");
      }
      if (!complete) return absl::OkStatus();
      message.mutable_summary()->set_finish_reason(v1::STOP);
      message.mutable_summary()->set_tokens(static_cast<int64_t>(answer.size()));
      message.mutable_summary()->set_tokens_per_second(12.34);
      writer->Write(message);
      return absl::OkStatus();
    });
  }

  std::string address() const { return server_->address().ToString(); }
  void Shutdown() { server_->Shutdown(absl::Now() + absl::Seconds(5)); }

  int64_t version = 7;
  bool has_text = true;
  bool complete = true;
  size_t breaks_at = 1000;
  absl::Status refusal;
  std::vector<v1::GenerateRequest> requests;

 private:
  static std::string LastWord(const v1::GenerateRequest& request) {
    const std::string text =
        request.has_chat() ? request.chat().messages().rbegin()->content() : request.text();
    return std::vector<std::string>(absl::StrSplit(text, ' ')).back();
  }

  const std::unique_ptr<rpc::RpcServer> server_;
};

class DtrpoctlGenerateTest : public testing::Test {
 protected:
  // As a rollout that works on `job_id` with these weights tells the coordinator.
  void Register(const FakeRollout& rollout, const std::string& job_id, int64_t version,
                const std::string& role = "rollout") {
    v1::RegisterWorkerRequest request;
    request.set_role(role);
    request.set_address(rollout.address());
    request.set_incarnation(absl::StrCat(role, rollout.address()));
    const auto registered = live_.workers().RegisterWorker(request, Soon());
    ASSERT_TRUE(registered.ok()) << registered.status();
    v1::HeartbeatRequest beat;
    beat.set_worker_id(registered->worker_id());
    beat.set_job_id(job_id);
    beat.set_version(version);
    ASSERT_TRUE(live_.workers().Heartbeat(beat, Soon()).ok());
  }

  static absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

  int Run(GenerateOptions options, const std::string& input = "", bool json = false) {
    out_.str("");
    err_.str("");
    std::istringstream in(input);
    options.in = &in;
    const Session session = {.client = &live_.jobs(),
                             .address = coordinator_,
                             .out = &out_,
                             .err = &err_,
                             .json = json,
                             .files = &files_};
    return Generate(session, options,
                    [this](const std::string& address)
                        -> absl::StatusOr<std::unique_ptr<wire::GenerateClient>> {
                      return wire::MakeGenerateClient(*channels_.Create(address));
                    });
  }

  static GenerateOptions Prompt(const std::string& text) {
    GenerateOptions options;
    options.prompt = text;
    return options;
  }
  static GenerateOptions Conversation() {
    GenerateOptions options;
    options.terminal = true;
    return options;
  }

  coordinator::LiveCoordinator live_;
  const std::string coordinator_ = live_.address();
  base::MemoryFileSystem files_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  FakeRollout rollout_;
  std::ostringstream out_, err_;
};

TEST_F(DtrpoctlGenerateTest, TheAnswerIsOnStandardOutputAndHowItWasMadeOnStandardError) {
  Register(rollout_, "add-1", 7);
  EXPECT_EQ(Run(Prompt("say blue")), kOk) << err_.str();
  EXPECT_EQ(out_.str(), "BLUE\n");
  EXPECT_EQ(err_.str(), "dtrpoctl: job add-1, version 7: 4 tokens (stop), 12.3 tokens/s\n");
}

TEST_F(DtrpoctlGenerateTest, OptionsTravelAsTheyAreAndWhatIsNotGivenIsNotSet) {
  Register(rollout_, "add-1", 7);
  GenerateOptions options = Prompt("blue");
  options.job_id = "add-1";
  options.raw = true;
  options.version = 0;
  options.parameters.set_temperature(0.5);
  ASSERT_EQ(Run(options), kOk) << err_.str();
  const v1::GenerateRequest& request = rollout_.requests.at(0);
  EXPECT_EQ(request.job_id(), "add-1");
  EXPECT_EQ(request.text(), "blue");
  EXPECT_TRUE(request.raw());
  EXPECT_TRUE(request.has_version());
  EXPECT_EQ(request.parameters().temperature(), 0.5);
  EXPECT_FALSE(request.parameters().has_top_p());
  ASSERT_EQ(Run(Prompt("blue")), kOk);
  EXPECT_FALSE(rollout_.requests.at(1).has_version());
}

TEST_F(DtrpoctlGenerateTest, ASystemTextMakesTheQuestionAConversation) {
  Register(rollout_, "add-1", 7);
  GenerateOptions options = Prompt("blue");
  options.system = "Be brief.";
  ASSERT_EQ(Run(options), kOk) << err_.str();
  const v1::GenerateMessages& chat = rollout_.requests.at(0).chat();
  ASSERT_EQ(chat.messages_size(), 2);
  EXPECT_EQ(chat.messages(0).role(), "system");
  EXPECT_EQ(chat.messages(0).content(), "Be brief.");
  EXPECT_EQ(chat.messages(1).role(), "user");
}

TEST_F(DtrpoctlGenerateTest, ThePromptMayComeFromAFileOrFromStandardInput) {
  Register(rollout_, "add-1", 7);
  auto file = files_.Create("/question.txt");
  ASSERT_TRUE(file.ok() && (*file)->Append("two\nlines\n").ok());
  GenerateOptions from_file;
  from_file.prompt_file = "/question.txt";
  ASSERT_EQ(Run(from_file), kOk) << err_.str();
  EXPECT_EQ(rollout_.requests.back().text(), "two\nlines");
  GenerateOptions from_dash;
  from_dash.prompt_file = "-";
  ASSERT_EQ(Run(from_dash, "red\n\n"), kOk);
  EXPECT_EQ(rollout_.requests.back().text(), "red\n");
  GenerateOptions lone_dash = Conversation();
  lone_dash.standard_input = true;
  ASSERT_EQ(Run(lone_dash, "green"), kOk);
  EXPECT_EQ(rollout_.requests.back().text(), "green");
  ASSERT_EQ(Run(GenerateOptions(), "piped\n"), kOk);
  EXPECT_EQ(rollout_.requests.back().text(), "piped");

  GenerateOptions missing;
  missing.prompt_file = "/nowhere";
  EXPECT_EQ(Run(missing), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("/nowhere"));
}

TEST_F(DtrpoctlGenerateTest, TokensAreSentAsTheyAreAndShownWhereThereIsNoText) {
  Register(rollout_, "add-1", 7);
  rollout_.has_text = false;
  EXPECT_EQ(Run(Prompt("abc")), kOk);
  EXPECT_EQ(out_.str(), "65,66,67\n");
  GenerateOptions options;
  options.tokens = "5,9,2";
  ASSERT_EQ(Run(options), kOk) << err_.str();
  EXPECT_THAT(rollout_.requests.back().tokens().ids(), ElementsAre(5, 9, 2));
  options.tokens = "5,,2";
  EXPECT_EQ(Run(options), kUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--tokens"));
}

TEST_F(DtrpoctlGenerateTest, AsJsonEachMessageIsAnObjectOnALine) {
  Register(rollout_, "add-1", 7);
  ASSERT_EQ(Run(Prompt("hi"), "", /*json=*/true), kOk);
  std::vector<nlohmann::json> lines;
  for (const auto line : absl::StrSplit(out_.str(), '\n', absl::SkipEmpty())) {
    lines.push_back(nlohmann::json::parse(line));
  }
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["header"]["job_id"], "add-1");
  EXPECT_EQ(lines[0]["header"]["version"], "7");
  EXPECT_EQ(lines[1]["block"]["text"], "H");
  EXPECT_EQ(lines[1]["block"]["begin"], "0") << "zeros are printed";
  EXPECT_EQ(lines[2]["block"]["tokens"][0], 'I');
  EXPECT_EQ(lines[3]["summary"]["finish_reason"], "STOP");
  EXPECT_EQ(err_.str(), "");
}

TEST_F(DtrpoctlGenerateTest, ContradictionsAreWrongUsage) {
  const auto told = [&](const std::function<void(GenerateOptions&)>& change) {
    GenerateOptions options = Prompt("blue");
    change(options);
    EXPECT_EQ(Run(options), kUsage);
    return err_.str();
  };
  EXPECT_THAT(told([](auto& o) { o.tokens = "1"; }), HasSubstr("only one of"));
  EXPECT_THAT(told([](auto& o) { o.prompt_file = "-"; }), HasSubstr("only one of"));
  EXPECT_THAT(told([](auto& o) { o.standard_input = true; }), HasSubstr("only one of"));
  EXPECT_THAT(told([](auto& o) {
                o.raw = true;
                o.system = "x";
              }),
              HasSubstr("--system"));
  EXPECT_THAT(told([](auto& o) {
                o.prompt.reset();
                o.tokens = "1";
                o.raw = true;
              }),
              HasSubstr("--tokens"));
  EXPECT_THAT(told([](auto& o) {
                o.prompt.reset();
                o.terminal = true;
                o.raw = true;
              }),
              HasSubstr("--raw"));
  EXPECT_TRUE(rollout_.requests.empty());
}

TEST_F(DtrpoctlGenerateTest, AConversationKeepsWhatWasSaid) {
  Register(rollout_, "add-1", 7);
  GenerateOptions options = Conversation();
  options.system = "Be brief.";
  EXPECT_EQ(Run(options, "say blue\n\nsay red\n/reset\nsay green\n"), kOk);
  EXPECT_EQ(out_.str(), "BLUE\nRED\nGREEN\n");
  const auto words = [&](int call) {
    std::vector<std::string> said;
    for (const auto& message : rollout_.requests.at(call).chat().messages()) {
      said.push_back(absl::StrCat(message.role(), ": ", message.content()));
    }
    return said;
  };
  EXPECT_THAT(words(0), ElementsAre("system: Be brief.", "user: say blue"));
  EXPECT_THAT(words(1), ElementsAre("system: Be brief.", "user: say blue", "assistant: BLUE",
                                    "user: say red"));
  EXPECT_THAT(words(2), ElementsAre("system: Be brief.", "user: say green"));
}

TEST_F(DtrpoctlGenerateTest, AFailedAnswerIsNoPartOfTheConversation) {
  Register(rollout_, "add-1", 7);
  rollout_.breaks_at = 1;
  EXPECT_EQ(Run(Conversation(), "blue\nI\n"), kOk);
  EXPECT_EQ(out_.str(), "BL\nI\n");
  EXPECT_THAT(err_.str(), HasSubstr("shutting down"));
  EXPECT_EQ(rollout_.requests.at(1).chat().messages_size(), 1);
}

TEST_F(DtrpoctlGenerateTest, TheRolloutOfTheJobWithTheNewestWeightsIsAsked) {
  FakeRollout older, other, learner;
  Register(older, "add-1", 3);
  Register(rollout_, "add-1", 7);
  Register(other, "sub-2", 9);
  Register(learner, "add-1", 9, "learner");
  GenerateOptions options = Prompt("blue");
  options.job_id = "add-1";
  EXPECT_EQ(Run(options), kOk) << err_.str();
  EXPECT_EQ(rollout_.requests.size(), 1u);
  EXPECT_EQ(older.requests.size() + other.requests.size() + learner.requests.size(), 0u);
}

TEST_F(DtrpoctlGenerateTest, OneThatIsBusyOrGoneOrLacksTheVersionIsPassedOver) {
  FakeRollout older;
  Register(older, "add-1", 3);
  Register(rollout_, "add-1", 7);
  for (const absl::Status& refusal :
       {base::BackPressureError("busy", "generate_busy", absl::Seconds(1)),
        absl::NotFoundError("version 3 isn't held"), absl::UnavailableError("draining")}) {
    rollout_.refusal = refusal;
    EXPECT_EQ(Run(Prompt("blue")), kOk) << err_.str();
    EXPECT_EQ(out_.str(), "BLUE\n");
  }
  rollout_.Shutdown();
  EXPECT_EQ(Run(Prompt("blue")), kOk) << err_.str();
  EXPECT_EQ(older.requests.size(), 4u);
}

TEST_F(DtrpoctlGenerateTest, ARefusalThatAllWouldGiveIsShownAtOnceWithTheRollout) {
  FakeRollout older;
  Register(older, "add-1", 3);
  Register(rollout_, "add-1", 7);
  rollout_.refusal = absl::InvalidArgumentError("parameters: top_k -1: must be >= 0");
  EXPECT_EQ(Run(Prompt("blue")), kFailed);
  EXPECT_EQ(err_.str(), absl::StrCat("dtrpoctl: rollout ", rollout_.address(),
                                     ": parameters: top_k -1: must be >= 0\n"));
  EXPECT_EQ(out_.str(), "");
  EXPECT_TRUE(older.requests.empty());
}

TEST_F(DtrpoctlGenerateTest, AnAnswerThatBreaksOffIsNotBegunAgain) {
  FakeRollout older;
  Register(older, "add-1", 3);
  Register(rollout_, "add-1", 7);
  rollout_.breaks_at = 1;
  EXPECT_EQ(Run(Prompt("blue")), kUnreachable);
  EXPECT_EQ(out_.str(), "BL\n");
  EXPECT_TRUE(older.requests.empty());
  rollout_.breaks_at = 1000;
  rollout_.complete = false;
  EXPECT_EQ(Run(Prompt("blue")), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("without a summary"));
}

TEST_F(DtrpoctlGenerateTest, WithoutARolloutItSaysHowTheJobStands) {
  EXPECT_EQ(Run(Prompt("blue")), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("no rollout works on a job"));
  const auto id = live_.jobs().Submit(live_.Spec("add"), "key", Soon());
  ASSERT_TRUE(id.ok()) << id.status();
  GenerateOptions options = Prompt("blue");
  options.job_id = *id;
  EXPECT_EQ(Run(options), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("no rollout works on job add-1, which is PENDING"));
  options.job_id = "sub-9";
  EXPECT_EQ(Run(options), kFailed);
  EXPECT_THAT(err_.str(), HasSubstr("there is no job \"sub-9\""));
}

TEST_F(DtrpoctlGenerateTest, ANamedRolloutIsAskedWithoutTheCoordinator) {
  live_.Shutdown();
  GenerateOptions options = Prompt("blue");
  options.rollout_address = rollout_.address();
  EXPECT_EQ(Run(options), kOk) << err_.str();
  EXPECT_EQ(out_.str(), "BLUE\n");
  rollout_.Shutdown();
  EXPECT_EQ(Run(options), kUnreachable);
  EXPECT_THAT(err_.str(), HasSubstr(options.rollout_address));
}

TEST(GenerateOptionsTest, EachOptionSetsItsFieldAndWhatIsNotGivenStaysUnset) {
  const auto parse = [](std::vector<std::string> arguments) {
    GenerateOptions options;
    CLI::App app;
    AddGenerateOptions(&app, &options);
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app.parse(arguments);
    return options;
  };
  const GenerateOptions none = parse({});
  EXPECT_EQ(none.parameters.ByteSizeLong(), 0u);
  EXPECT_FALSE(none.prompt.has_value() || none.version.has_value() || none.standard_input);
  EXPECT_EQ(none.time_limit, absl::Minutes(10));

  const GenerateOptions all = parse({"--job",
                                     "add-1",
                                     "--rollout",
                                     "127.0.0.1:1",
                                     "--version",
                                     "0",
                                     "--prompt",
                                     "",
                                     "--raw",
                                     "--system",
                                     "s",
                                     "--unmask",
                                     "steps:2",
                                     "--sub-block",
                                     "0",
                                     "--temperature",
                                     "0",
                                     "--top-p",
                                     "0.5",
                                     "--top-k",
                                     "0",
                                     "--max-new-tokens",
                                     "9",
                                     "--confidence",
                                     "tempered",
                                     "--repetition-guard",
                                     "0",
                                     "--ignore-stop",
                                     "--seed",
                                     "18446744073709551615",
                                     "--time-limit",
                                     "1.5"});
  EXPECT_EQ(all.job_id, "add-1");
  EXPECT_EQ(all.rollout_address, "127.0.0.1:1");
  EXPECT_EQ(all.version, 0);
  EXPECT_EQ(all.prompt, "");
  EXPECT_TRUE(all.raw);
  EXPECT_EQ(all.system, "s");
  EXPECT_EQ(all.parameters.unmask(), "steps:2");
  EXPECT_TRUE(all.parameters.has_sub_block());
  EXPECT_TRUE(all.parameters.has_temperature());
  EXPECT_EQ(all.parameters.top_p(), 0.5);
  EXPECT_TRUE(all.parameters.has_top_k());
  EXPECT_EQ(all.parameters.max_new_tokens(), 9);
  EXPECT_EQ(all.parameters.confidence(), "tempered");
  EXPECT_TRUE(all.parameters.has_repetition_guard());
  EXPECT_TRUE(all.parameters.ignore_stop());
  EXPECT_EQ(all.parameters.seed(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(all.time_limit, absl::Seconds(1.5));

  EXPECT_EQ(parse({"--tokens", "1,2"}).tokens, "1,2");
  EXPECT_EQ(parse({"--prompt-file", "-"}).prompt_file, "-");
  EXPECT_TRUE(parse({"-"}).standard_input);
  EXPECT_THROW(parse({"hello"}), CLI::ParseError);
  EXPECT_THROW(parse({"--time-limit", "0"}), CLI::ParseError);
}

}  // namespace
}  // namespace dtrpo::ctl
