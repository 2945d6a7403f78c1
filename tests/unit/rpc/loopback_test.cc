// The whole RPC layer over a real connection: client interceptors, server, server interceptors.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/base/retry.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/metadata.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/serve.h"
#include "common/rpc/unary_call.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"
#include "proto/dtrpo/v1/coordinator.grpc.pb.h"

namespace dtrpo::rpc {
namespace {

// Stands for any service of ours: counts what reaches it and answers as the test says.
class FakeService : public v1::IntrospectionService::Service {
 public:
  grpc::Status Handshake(grpc::ServerContext* context, const v1::HandshakeRequest*,
                         v1::HandshakeResponse* response) override {
    return Serve(*context, [&](const IncomingCall& call) {
      ++acted;
      {
        absl::MutexLock lock(&mutex);  // several calls may run at once
        last_call = call;
      }
      response->set_role("fake");
      return answer ? answer() : absl::OkStatus();
    });
  }
  // A handler that forgot Serve().
  grpc::Status GetWaitStates(grpc::ServerContext*, const v1::GetWaitStatesRequest*,
                             v1::GetWaitStatesResponse*) override {
    return grpc::Status::OK;
  }

  std::atomic<int> acted{0};
  absl::Mutex mutex;
  IncomingCall last_call;
  std::function<absl::Status()> answer;
};

class LoopbackTest : public testing::Test {
 protected:
  void StartServer(int max_threads = 4) {
    ServerOptions options;
    options.max_threads = max_threads;
    options.metrics = &server_metrics_;
    auto server = RpcServer::Start(options, {&service_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  void Connect(FaultOptions faults = {}) {
    ChannelOptions options;
    options.identity = {.role = "rollout", .worker_id = "rollout-7"};
    options.metrics = &client_metrics_;
    options.faults = std::move(faults);
    factory_ = std::make_unique<ChannelFactory>(options);
    stub_ = v1::IntrospectionService::NewStub(*factory_->Create(server_->address().ToString()));
  }

  absl::StatusOr<v1::HandshakeResponse> Call(CallOptions options = {
                                                 .deadline = absl::Now() + absl::Seconds(10)}) {
    return UnaryCall(stub_.get(), &v1::IntrospectionService::StubInterface::Handshake,
                     v1::HandshakeRequest(), options);
  }

  base::FakeMetrics server_metrics_, client_metrics_;
  FakeService service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<ChannelFactory> factory_;
  std::unique_ptr<v1::IntrospectionService::StubInterface> stub_;
};

base::Labels HandledLabels(const std::string& code) {
  return {{"grpc_service", "dtrpo.v1.IntrospectionService"},
          {"grpc_method", "Handshake"},
          {"grpc_code", code}};
}

TEST_F(LoopbackTest, ACallCarriesItsDeadlineAndItsCallersIdentity) {
  StartServer();
  Connect();
  const absl::Time deadline = absl::Now() + absl::Hours(1);
  auto response = Call({.deadline = deadline, .job_id = "add-1", .attempt = 3});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->role(), "fake");
  EXPECT_EQ(service_.last_call.role, "rollout");
  EXPECT_EQ(service_.last_call.worker_id, "rollout-7");
  EXPECT_EQ(service_.last_call.job_id, "add-1");
  EXPECT_EQ(service_.last_call.attempt, 3);
  EXPECT_LT(absl::AbsDuration(service_.last_call.deadline - deadline), absl::Minutes(1));
}

TEST_F(LoopbackTest, StatusReasonAndRetryAfterReachTheClient) {
  StartServer();
  Connect();
  service_.answer = [] {
    return base::BackPressureError("table is full", "replay_full", absl::Milliseconds(70));
  };
  const absl::Status status = Call().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "table is full");
  EXPECT_EQ(base::GetReason(status), "replay_full");
  EXPECT_EQ(base::GetRetryAfter(status), absl::Milliseconds(70));
}

TEST_F(LoopbackTest, OurClientRefusesToCallWithoutADeadline) {
  StartServer();
  Connect();
  const absl::Status status = Call({.deadline = absl::InfiniteFuture()}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), "without a deadline")) << status;
  EXPECT_EQ(service_.acted, 0);
}

TEST_F(LoopbackTest, TheServerRefusesForeignCallsWithoutADeadlineBeforeActing) {
  StartServer();
  auto stub = v1::IntrospectionService::NewStub(
      grpc::CreateChannel(server_->address().ToString(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::HandshakeResponse response;
  const grpc::Status status = stub->Handshake(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), kNoDeadlineMessage);
  EXPECT_EQ(service_.acted, 0);

  // A handler without Serve() is caught by the interceptor.
  grpc::ClientContext second;
  v1::GetWaitStatesResponse waits;
  EXPECT_EQ(stub->GetWaitStates(&second, {}, &waits).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(LoopbackTest, AnotherProtocolVersionIsRefused) {
  StartServer();
  auto stub = v1::IntrospectionService::NewStub(
      grpc::CreateChannel(server_->address().ToString(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.AddMetadata(kProtocolKey, "999");
  PrepareContext({.deadline = absl::Now() + absl::Seconds(10)}, &context);
  v1::HandshakeResponse response;
  const grpc::Status status = stub->Handshake(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(service_.acted, 0);
}

TEST_F(LoopbackTest, ALostRequestNeverReachesTheServer) {
  StartServer();
  Connect({.lost_request_probability = 1});
  const absl::Status status = Call().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(status.message(), "lost request")) << status;
  EXPECT_EQ(service_.acted, 0);
  EXPECT_EQ(server_metrics_.Sum("dtrpo_rpc_server_handled_total"), 0);
  EXPECT_EQ(client_metrics_.Value("dtrpo_rpc_client_handled_total", HandledLabels("UNAVAILABLE")),
            1);
}

TEST_F(LoopbackTest, ALostReplyIsLostAfterTheServerActed) {
  StartServer();
  Connect({.lost_reply_probability = 1});
  const absl::Status status = Call().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(status.message(), "lost reply")) << status;
  EXPECT_EQ(service_.acted, 1);
  EXPECT_EQ(server_metrics_.Value("dtrpo_rpc_server_handled_total", HandledLabels("OK")), 1);
}

TEST_F(LoopbackTest, RetryGetsThroughFaultsAndTheServerActsForEveryLostReply) {
  StartServer();
  Connect({.lost_request_probability = 0.3, .lost_reply_probability = 0.3, .seed = 11});
  base::RetryOptions retry;
  retry.initial_backoff = absl::Milliseconds(1);
  retry.max_backoff = absl::Milliseconds(2);
  constexpr int kCalls = 50;
  int attempts = 0;
  for (int i = 0; i < kCalls; ++i) {
    auto response =
        base::Retry(retry, {.what = "handshake", .deadline = absl::Now() + absl::Seconds(20)},
                    [&](absl::Time deadline) {
                      ++attempts;
                      return Call({.deadline = deadline});
                    });
    EXPECT_TRUE(response.ok()) << response.status();
  }
  EXPECT_GT(service_.acted, kCalls);    // more than once for some: replies were lost
  EXPECT_LT(service_.acted, attempts);  // and not for others: requests were lost
}

// WatchJob is a stream; a lost request must end it as well.
TEST_F(LoopbackTest, AStreamWhoseRequestIsLostEndsWithUnavailable) {
  StartServer();
  Connect({.lost_request_probability = 1});
  auto stub = v1::JobService::NewStub(*factory_->Create(server_->address().ToString()));
  grpc::ClientContext context;
  PrepareContext({.deadline = absl::Now() + absl::Seconds(10)}, &context);
  auto reader = stub->WatchJob(&context, {});
  v1::JobStatus event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(LoopbackTest, RateErrorsAndDurationAreCountedOnBothSides) {
  StartServer();
  Connect();
  EXPECT_TRUE(Call().ok());
  service_.answer = [] { return absl::NotFoundError("no job x"); };
  EXPECT_FALSE(Call().ok());
  for (const char* code : {"OK", "NOT_FOUND"}) {
    EXPECT_EQ(server_metrics_.Value("dtrpo_rpc_server_handled_total", HandledLabels(code)), 1);
    EXPECT_EQ(client_metrics_.Value("dtrpo_rpc_client_handled_total", HandledLabels(code)), 1);
  }
  EXPECT_EQ(server_metrics_
                .Observations("dtrpo_rpc_server_handling_seconds",
                              {{"grpc_service", "dtrpo.v1.IntrospectionService"},
                               {"grpc_method", "Handshake"}})
                .size(),
            2u);
}

TEST_F(LoopbackTest, EveryCallOfARoleIsCountedFromTheStart) {
  ServerOptions options;
  options.metrics = &server_metrics_;
  options.role = Role::kReplay;
  auto server = RpcServer::Start(options, {&service_});
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  Connect();
  const auto counted = [](const base::FakeMetrics& metrics, const std::string& name,
                          const std::string& service, const std::string& method) {
    int codes = 0;
    for (const char* code : {"OK", "INTERNAL", "UNAUTHENTICATED"}) {
      codes += metrics.Has(
          name, {{"grpc_service", service}, {"grpc_method", method}, {"grpc_code", code}});
    }
    return codes;
  };
  const std::string served = "dtrpo_rpc_server_handled_total";
  const std::string made = "dtrpo_rpc_client_handled_total";
  EXPECT_EQ(counted(server_metrics_, served, "dtrpo.v1.ReplayService", "Insert"), 3);
  EXPECT_EQ(counted(server_metrics_, served, "dtrpo.v1.IntrospectionService", "Handshake"), 3);
  EXPECT_EQ(counted(server_metrics_, served, "grpc.health.v1.Health", "Check"), 3);
  EXPECT_EQ(counted(server_metrics_, served, "dtrpo.v1.JobService", "GetJob"), 0) << "not replay's";
  EXPECT_EQ(counted(client_metrics_, made, "dtrpo.v1.ReplayService", "Insert"), 3);
  EXPECT_EQ(counted(client_metrics_, made, "dtrpo.v1.ReplayService", "GetBatch"), 0)
      << "no rollout's";
  EXPECT_TRUE(server_metrics_.Has(
      "dtrpo_rpc_server_handling_seconds",
      {{"grpc_service", "dtrpo.v1.ReplayService"}, {"grpc_method", "GetBatch"}}));
  EXPECT_EQ(server_metrics_.Sum(served) + client_metrics_.Sum(made), 0);
  ASSERT_TRUE(Call().ok());
  EXPECT_EQ(server_metrics_.Value(served, HandledLabels("OK")), 1);
  EXPECT_EQ(client_metrics_.Value(made, HandledLabels("OK")), 1);
}

TEST_F(LoopbackTest, AFullThreadPoolIsToldAsBackPressure) {
  StartServer(/*max_threads=*/2);
  Connect();
  absl::Notification release;
  service_.answer = [&] {
    release.WaitForNotificationWithTimeout(absl::Seconds(10));
    return absl::OkStatus();
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) callers.emplace_back([&] { EXPECT_TRUE(Call().ok()); });
  while (service_.acted < 2) absl::SleepFor(absl::Milliseconds(1));
  const absl::Status status = Call().status();
  release.Notify();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::GetReason(status), "server_busy");
  EXPECT_TRUE(base::IsRetryable(status));
  EXPECT_EQ(service_.acted, 2);
}

TEST_F(LoopbackTest, APortInUseIsOneLineWithHostAndPort) {
  StartServer();
  ServerOptions options;
  options.listen = server_->address().ToString();
  FakeService second;
  auto result = RpcServer::Start(options, {&second});
  EXPECT_EQ(result.status(), absl::FailedPreconditionError(absl::StrCat(
                                 "can't listen on ", options.listen, ": Address already in use")));
}

TEST_F(LoopbackTest, AnAddressThatIsNotLoopbackIsRefused) {
  ServerOptions options;
  options.listen = "0.0.0.0:0";
  EXPECT_EQ(RpcServer::Start(options, {&service_}).status().code(),
            absl::StatusCode::kInvalidArgument);
  ChannelFactory factory({});
  EXPECT_EQ(factory.Create("10.0.0.1:80").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(factory.CreateAll({"127.0.0.1:1", "nonsense"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(LoopbackTest, ACallToNobodyIsUnavailableBeforeItsDeadline) {
  StartServer();
  Connect();
  server_.reset();
  EXPECT_EQ(Call().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(LoopbackTest, ShutdownEndsWhatStillRunsAtTheDeadline) {
  StartServer();
  Connect();
  absl::Notification release;
  service_.answer = [&] {
    release.WaitForNotificationWithTimeout(absl::Seconds(10));
    return absl::OkStatus();
  };
  std::thread caller([&] { EXPECT_EQ(Call().status().code(), absl::StatusCode::kUnavailable); });
  while (service_.acted < 1) absl::SleepFor(absl::Milliseconds(1));
  std::thread releaser([&] {
    absl::SleepFor(absl::Milliseconds(100));
    release.Notify();
  });
  server_->Shutdown(absl::Now() + absl::Milliseconds(20));
  caller.join();
  releaser.join();
}

}  // namespace
}  // namespace dtrpo::rpc
