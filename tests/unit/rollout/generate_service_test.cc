// The service over a real connection, with the client that dtrpoctl uses.
#include "services/rollout/generate_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/wire/generate_client.h"
#include "tests/unit/rollout/generate_harness.h"

namespace dtrpo::rollout {
namespace {

using ::testing::HasSubstr;

class GenerateServiceTest : public ::testing::Test {
 protected:
  void Start(const TextGenerator::Limits& limits = {.calls = 1, .new_tokens = 1 << 20}) {
    harness_ = std::make_unique<GenerateHarness>(limits);
    harness_->MakeUnigram({{'7', 0.0}});  // never stops by itself
    harness_->Serve();
    service_ = std::make_unique<GenerateService>(&harness_->generator(), base::RealClock());
    auto server = rpc::RpcServer::Start({}, {service_.get()});
    DTRPO_CHECK_OK(server);
    server_ = *std::move(server);
    client_ = wire::MakeGenerateClient(*channels_.Create(server_->address().ToString()));
  }

  static v1::GenerateRequest Request(int32_t max_new_tokens = 10) {
    v1::GenerateRequest request;
    request.set_text("2+2=");
    request.mutable_parameters()->set_max_new_tokens(max_new_tokens);
    return request;
  }

  absl::Status Ask(
      const v1::GenerateRequest& request, absl::Duration patience = absl::Seconds(20),
      const wire::GenerateClient::OnMessage& on_message = [](const auto&) { return true; }) {
    return client_->Generate(
        request,
        [&](const v1::GenerateResponse& response) {
          messages_.push_back(response);
          return on_message(response);
        },
        absl::Now() + patience);
  }

  // Until no call runs any more; false after 10 s.
  bool AwaitIdle() const {
    for (const absl::Time end = absl::Now() + absl::Seconds(10); absl::Now() < end;) {
      if (harness_->registry().Value("dtrpo_rollout_generate_running") == 0) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }

  std::unique_ptr<GenerateHarness> harness_;
  std::unique_ptr<GenerateService> service_;
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  std::unique_ptr<wire::GenerateClient> client_;
  std::vector<v1::GenerateResponse> messages_;
};

// No answer is so long that a test would wait for its end.
constexpr int32_t kEndless = 1 << 18;

TEST_F(GenerateServiceTest, AnAnswerIsAHeaderThenBlocksThenASummary) {
  Start();
  v1::GenerateRequest request = Request();
  request.mutable_parameters()->set_temperature(0.5);
  request.mutable_parameters()->set_seed(12);
  ASSERT_TRUE(Ask(request).ok());
  ASSERT_GE(messages_.size(), 4u);
  const v1::GenerateHeader& header = messages_.front().header();
  EXPECT_EQ(header.job_id(), GenerateHarness::kJob);
  EXPECT_EQ(header.version(), 0);
  EXPECT_EQ(header.prompt_tokens(), harness_->encoder().EncodeText("2+2=")->size());
  EXPECT_EQ(header.sampler().unmask(), "steps:2");
  EXPECT_EQ(header.sampler().max_new_tokens(), 10);
  EXPECT_EQ(header.sampler().temperature(), 0.5);
  EXPECT_EQ(header.sampler().first_token(), v1::CLEAN_ROW_SAMPLED);
  EXPECT_EQ(header.seed(), 12u);
  EXPECT_TRUE(header.has_text());
  std::string text;
  int64_t tokens = 0;
  for (size_t i = 1; i + 1 < messages_.size(); ++i) {
    ASSERT_TRUE(messages_[i].has_block()) << i;
    EXPECT_EQ(messages_[i].block().begin(), tokens);
    tokens += messages_[i].block().tokens_size();
    text += messages_[i].block().text();
  }
  EXPECT_EQ(text, "7777777777");
  ASSERT_TRUE(messages_.back().has_summary());
  const v1::GenerateSummary& summary = messages_.back().summary();
  EXPECT_EQ(summary.finish_reason(), v1::LENGTH);
  EXPECT_EQ(summary.tokens(), 10);
  EXPECT_GT(summary.forwards(), 0);
  EXPECT_GT(summary.seconds(), 0);
  EXPECT_NEAR(summary.tokens_per_second(), 10 / summary.seconds(), 1e-6 * 10 / summary.seconds());
}

TEST_F(GenerateServiceTest, AConversationAndTokensAreTakenToo) {
  Start();
  v1::GenerateRequest chat = Request();
  v1::GenerateMessage* message = chat.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("2+2=");
  ASSERT_TRUE(Ask(chat).ok());
  EXPECT_EQ(messages_[0].header().prompt_tokens(), harness_->encoder().EncodeText("2+2=")->size());
  messages_.clear();
  v1::GenerateRequest tokens = Request();
  for (const int32_t id : {1, 2, 3}) tokens.mutable_tokens()->add_ids(id);
  ASSERT_TRUE(Ask(tokens).ok());
  EXPECT_EQ(messages_[0].header().prompt_tokens(), 3);
}

TEST_F(GenerateServiceTest, RefusalsComeBeforeTheHeaderWithTheirCode) {
  Start();
  const auto refusal = [&](const std::function<void(v1::GenerateRequest&)>& change) {
    v1::GenerateRequest request = Request();
    change(request);
    const absl::Status status = Ask(request);
    EXPECT_TRUE(messages_.empty());
    return status;
  };
  EXPECT_EQ(refusal([](auto& r) { r.clear_text(); }),
            absl::InvalidArgumentError("prompt: one of text, chat and tokens is required"));
  EXPECT_EQ(refusal([](auto& r) { r.mutable_chat(); }),
            absl::InvalidArgumentError("chat.messages: is empty"));
  EXPECT_EQ(refusal([](auto& r) {
              r.mutable_tokens()->add_ids(1);
              r.set_raw(true);
            }),
            absl::InvalidArgumentError("raw: goes with text only"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      refusal([](auto& r) { r.mutable_parameters()->set_temperature(-1); })));
  EXPECT_TRUE(absl::IsNotFound(refusal([](auto& r) { r.set_version(9); })));
  EXPECT_TRUE(absl::IsFailedPrecondition(refusal([](auto& r) { r.set_job_id("other-2"); })));
}

TEST_F(GenerateServiceTest, AClientThatGoesAwayEndsTheSampling) {
  Start();
  int blocks = 0;
  const absl::Status status =
      Ask(Request(kEndless), absl::Minutes(5), [&](const v1::GenerateResponse& response) {
        blocks += response.has_block() ? 1 : 0;
        return blocks < 3;
      });
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_TRUE(AwaitIdle());
  EXPECT_EQ(harness_->Calls("cancelled"), 1);
  EXPECT_TRUE(Ask(Request()).ok());  // its place is free
}

TEST_F(GenerateServiceTest, AnAnswerEndsAtTheCallersDeadline) {
  Start();
  const absl::Status status = Ask(Request(kEndless), absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_TRUE(AwaitIdle());
  EXPECT_EQ(harness_->Calls("cancelled"), 1);
}

TEST_F(GenerateServiceTest, ACallBeyondTheLimitIsToldWhenToComeAgain) {
  Start();
  absl::Status second;
  Ask(Request(kEndless), absl::Minutes(1), [&](const v1::GenerateResponse&) {
    second = client_->Generate(
        Request(), [](const auto&) { return true; }, absl::Now() + absl::Seconds(20));
    return false;
  }).IgnoreError();
  EXPECT_TRUE(absl::IsResourceExhausted(second)) << second;
  EXPECT_EQ(base::GetReason(second), "generate_busy");
  EXPECT_EQ(base::GetRetryAfter(second), absl::Seconds(1));
}

TEST_F(GenerateServiceTest, ADrainingServerEndsAnswersWithinItsDeadline) {
  Start();
  std::thread drain;
  const absl::Status status =
      Ask(Request(kEndless), absl::Minutes(5), [&](const v1::GenerateResponse& response) {
        if (response.has_header()) {
          drain = std::thread([&] {
            harness_->generator().StartDraining(absl::Now() + absl::Milliseconds(200));
            server_->Shutdown(absl::Now() + absl::Seconds(20));
          });
        }
        return true;
      });
  drain.join();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(base::GetReason(status), "draining");
}

}  // namespace
}  // namespace dtrpo::rollout
