#include "common/runtime/service_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "common/base/fault_points.h"
#include "common/base/memory_file_system.h"
#include "common/rpc/unary_call.h"
#include "common/runtime/server_config.h"
#include "proto/dtrpo/v1/generate.grpc.pb.h"
#include "tests/unit/runtime/http_get.h"

namespace dtrpo::runtime {
namespace {

using testing::HasSubstr;

class ServiceHostTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(files_.MakeDirectories("/run").ok());
    options_.role = "replay";
    options_.name = "replay-0";
    options_.server = DefaultServerConfig();
    options_.server.set_log_level("error");
    options_.server.set_port_file("/run/replay.json");
    options_.files = &files_;
  }

  void StartHost() {
    auto host = ServiceHost::Create(options_);
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
    ASSERT_TRUE(host_->Start({}).ok());
    channel_ = *host_->channels()->Create(host_->address());
    stub_ = v1::IntrospectionService::NewStub(channel_);
  }

  static rpc::CallOptions Soon() { return {.deadline = absl::Now() + absl::Seconds(10)}; }

  base::MemoryFileSystem files_;
  HostOptions options_;
  std::unique_ptr<ServiceHost> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::IntrospectionService::StubInterface> stub_;
};

TEST_F(ServiceHostTest, ThePortFileNamesWhatIsBound) {
  StartHost();
  const auto ports = nlohmann::json::parse(*files_.Read("/run/replay.json"));
  EXPECT_EQ(ports["role"], "replay");
  EXPECT_EQ(ports["name"], "replay-0");
  EXPECT_EQ(ports["pid"], ::getpid());
  EXPECT_EQ(ports["grpc"], host_->address());
  EXPECT_THAT(HttpGet(ports["metrics"], "/metrics"), HasSubstr("exposer_"));
}

TEST_F(ServiceHostTest, HandshakeTellsTheRoleAndRefusesAnotherVersion) {
  StartHost();
  v1::HandshakeRequest request;
  request.set_protocol_version(1);
  request.set_role("client");
  auto handshake = [&] {
    return rpc::UnaryCall(stub_.get(), &v1::IntrospectionService::StubInterface::Handshake, request,
                          Soon());
  };
  EXPECT_EQ(handshake()->role(), "replay");
  request.set_protocol_version(2);
  EXPECT_EQ(handshake().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      HttpGet(nlohmann::json::parse(*files_.Read("/run/replay.json"))["metrics"], "/metrics"),
      HasSubstr("dtrpo_rpc_server_handled_total{role=\"replay\",grpc_code=\"FAILED_PRECONDITION\","
                "grpc_method=\"Handshake\",grpc_service=\"dtrpo.v1.IntrospectionService\"} 1\n"));
}

TEST_F(ServiceHostTest, WaitStatesAreAnswered) {
  StartHost();
  base::ScopedWait wait(host_->wait_states(), "batch 12", "replay-0");
  auto response =
      rpc::UnaryCall(stub_.get(), &v1::IntrospectionService::StubInterface::GetWaitStates,
                     v1::GetWaitStatesRequest(), Soon());
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->waits_size(), 1);
  EXPECT_EQ(response->waits(0).what(), "batch 12");
  EXPECT_EQ(response->waits(0).on_whom(), "replay-0");
  EXPECT_NEAR(response->waits(0).since_unix_ms(), absl::ToUnixMillis(absl::Now()), 10'000);
}

TEST_F(ServiceHostTest, SigtermStopsLoopsThenDrainsThenEnds) {
  StartHost();
  host_->SetReady(true);
  bool loop_ended = false;
  std::thread loop(
      [&] { loop_ended = host_->stop()->SleepFor(*host_->clock(), absl::Minutes(5)); });
  absl::Duration drain_limit;
  std::thread killer([] {
    absl::SleepFor(absl::Milliseconds(50));
    ::kill(::getpid(), SIGTERM);
  });
  const absl::Status status = host_->RunUntilStopped([&](absl::Time deadline) {
    drain_limit = deadline - absl::Now();
    EXPECT_TRUE(host_->stop()->stopped());
    // Calls are still answered while draining.
    EXPECT_TRUE(rpc::UnaryCall(stub_.get(), &v1::IntrospectionService::StubInterface::GetWaitStates,
                               v1::GetWaitStatesRequest(), Soon())
                    .ok());
    loop.join();
  });
  killer.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(loop_ended);
  EXPECT_GT(drain_limit, absl::ZeroDuration());
  EXPECT_LE(drain_limit, absl::Seconds(10));
  EXPECT_EQ(rpc::UnaryCall(stub_.get(), &v1::IntrospectionService::StubInterface::GetWaitStates,
                           v1::GetWaitStatesRequest(), Soon())
                .status()
                .code(),
            absl::StatusCode::kUnavailable);
}

// Answers when it is cancelled.
class StuckService : public v1::GenerateService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext* context, const v1::GenerateRequest*,
                        grpc::ServerWriter<v1::GenerateResponse>*) override {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }
};

TEST_F(ServiceHostTest, RunningCallsHaveWhatTheDrainLeavesOfItsTime) {
  StuckService stuck;
  options_.server.set_drain_timeout_ms(3000);
  auto host = ServiceHost::Create(options_);
  ASSERT_TRUE(host.ok()) << host.status();
  ASSERT_TRUE((*host)->Start({&stuck}).ok());
  const auto stub = v1::GenerateService::NewStub(*(*host)->channels()->Create((*host)->address()));
  grpc::ClientContext context;
  rpc::PrepareContext(Soon(), &context);
  const auto stream = stub->Generate(&context, {});
  absl::SleepFor(absl::Milliseconds(100));  // it is there
  const absl::Time start = absl::Now();
  (*host)->RequestShutdown(absl::OkStatus());
  const absl::Status status =
      (*host)->RunUntilStopped([](absl::Time) { absl::SleepFor(absl::Milliseconds(2800)); });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GT(absl::Now() - start, absl::Milliseconds(2900));
  EXPECT_LT(absl::Now() - start, absl::Milliseconds(5800)) << "2800 + 3000 if it began anew";
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(ServiceHostTest, TheFirstReasonForShutdownIsReturned) {
  StartHost();
  host_->RequestShutdown(absl::DataLossError("the log is broken"));
  host_->RequestShutdown(absl::InternalError("and then this"));
  EXPECT_EQ(host_->RunUntilStopped(), absl::DataLossError("the log is broken"));
}

TEST_F(ServiceHostTest, FaultPointsOfTheConfigurationAreArmed) {
  options_.server.mutable_faults()->add_points("replay.before_reply:error@1");
  StartHost();
  EXPECT_FALSE(base::HitFaultPoint("replay.before_reply").ok());
  base::DisarmFaultPoints();
  options_.server.mutable_faults()->set_points(0, "replay.before_reply:bang");
  host_.reset();
  EXPECT_THAT(std::string(ServiceHost::Create(options_).status().message()),
              HasSubstr("'replay.before_reply:bang'"));
}

TEST_F(ServiceHostTest, APortInUseIsOneLine) {
  auto first = rpc::RpcServer::Start(rpc::ServerOptions(), {});
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = (*first)->address().ToString();
  options_.server.set_listen(address);
  auto host = ServiceHost::Create(options_);
  ASSERT_TRUE(host.ok()) << host.status();
  EXPECT_EQ((*host)->Start({}).message(),
            "can't listen on " + address + ": Address already in use");
}

using ServiceHostDeathTest = ServiceHostTest;

TEST_F(ServiceHostDeathTest, ADrainThatHangsEndsTheProcessAndSaysOnWhat) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  options_.server.set_drain_timeout_ms(10);
  EXPECT_EXIT(
      {
        StartHost();
        host_->RequestShutdown(absl::OkStatus());
        host_
            ->RunUntilStopped([&](absl::Time) {
              base::ScopedWait wait(host_->wait_states(), "checkpoint 7", "disk");
              absl::SleepFor(absl::Minutes(1));
            })
            .IgnoreError();
      },
      testing::ExitedWithCode(kDrainOverrunExitCode),
      "still waiting what=\"checkpoint 7\" on=disk.*\n.*drain ran past its deadline");
}

}  // namespace
}  // namespace dtrpo::runtime
