// Callers that mean no good, or just do none: the server refuses or outlives them, and meanwhile
// answers everybody else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/retry.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/serve.h"
#include "common/rpc/unary_call.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"
#include "tests/support/raw_call.h"
#include "tools/certs/role_certificates.h"

namespace dtrpo::rpc {
namespace {

using testing::HasSubstr;

// What every service promises meanwhile.
constexpr absl::Duration kDeadline = absl::Seconds(30);

class FakeService : public v1::IntrospectionService::Service {
 public:
  grpc::Status Handshake(grpc::ServerContext* context, const v1::HandshakeRequest*,
                         v1::HandshakeResponse*) override {
    return Serve(*context, [&](const IncomingCall&) {
      ++acted;
      if (block) release.WaitForNotificationWithTimeout(kDeadline);
      return absl::OkStatus();
    });
  }
  std::atomic<int> acted{0};
  std::atomic<bool> block{false};
  absl::Notification release;
};

// A plain TCP connection. Writing after the server has closed it is no error here.
class RawConnection {
 public:
  RawConnection() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  explicit RawConnection(int port) : RawConnection() { Connect(port); }
  void Connect(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval timeout = {.tv_sec = 1, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  RawConnection(RawConnection&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  ~RawConnection() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool connected() const { return connected_; }
  void Send(const std::string& bytes) {
    static_cast<void>(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
  }
  // Whether the server closes it by then; what it says before is thrown away.
  bool IsClosedBy(absl::Time deadline) {
    char buffer[4096];
    while (absl::Now() < deadline) {
      const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (size == 0 || (size < 0 && errno == ECONNRESET)) return true;
    }
    return false;
  }

 private:
  int fd_;
  bool connected_ = false;
};

class HostileClientsTest : public testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    // Both ends of the connections are in this process.
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    tools::RoleCertificateOptions options;
    options.dir = Certificates();
    ASSERT_TRUE(tools::MakeRoleCertificates(options).ok());
  }
  static std::string Certificates() { return testing::TempDir() + "hostile_certificates"; }

  void Start(ServerLimits limits = {}, int64_t max_message_bytes = 1 << 20) {
    ServerOptions options;
    options.limits = limits;
    options.max_threads = 8;
    options.max_message_bytes = max_message_bytes;
    if (GetParam()) options.tls = Identity("reference");
    auto server = RpcServer::Start(options, {&service_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ChannelOptions channel;
    channel.max_message_bytes = 64 << 20;
    if (GetParam()) channel.tls = Identity("learner");
    factory_ = std::make_unique<ChannelFactory>(channel);
  }
  static std::shared_ptr<const TlsIdentity> Identity(const std::string& role) {
    return *TlsIdentity::Load(tools::RoleFiles(Certificates(), role));
  }

  int port() const { return server_->address().port; }
  // With a connection of its own.
  absl::Status Call(const std::string& role = "") {
    auto stub = v1::IntrospectionService::NewStub(*factory_->Create(server_->address().ToString()));
    v1::HandshakeRequest request;
    request.set_role(role);
    return UnaryCall(stub.get(), &v1::IntrospectionService::StubInterface::Handshake, request,
                     {.deadline = absl::Now() + kDeadline})
        .status();
  }

  // A slow machine may need several tries where handshakes have little time.
  bool IsAnswered() {
    const absl::Time deadline = absl::Now() + kDeadline;
    while (!Call().ok()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return true;
  }

  FakeService service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<ChannelFactory> factory_;
};

INSTANTIATE_TEST_SUITE_P(Plain, HostileClientsTest, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Tls, HostileClientsTest, testing::Values(true));

TEST_P(HostileClientsTest, AMessageBeyondTheLimitIsRefusedAndTheNextOneAnswered) {
  Start({}, /*max_message_bytes=*/64 << 10);
  const absl::Status status = Call(std::string(1 << 20, 'x'));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(service_.acted, 0);
  EXPECT_TRUE(Call().ok());
}

TEST_P(HostileClientsTest, BytesThatAreNoProtocolEndTheirConnectionAndNothingElse) {
  Start();
  const std::string garbage[] = {
      "GET / HTTP/1.1\r\n\r\n", std::string(4096, '\xff'), std::string(100, '\0'),
      // HTTP/2's preface, and then a frame of 16 MiB of an unknown kind.
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(9, '\xff') + std::string(1 << 16, 'x')};
  for (const std::string& bytes : garbage) {
    RawConnection connection(port());
    ASSERT_TRUE(connection.connected());
    connection.Send(bytes);
    EXPECT_TRUE(connection.IsClosedBy(absl::Now() + kDeadline)) << bytes.substr(0, 20);
  }
  EXPECT_TRUE(Call().ok());
}

TEST_P(HostileClientsTest, AMessageThatIsNoProtobufIsAnError) {
  Start();
  if (!GetParam()) {
    EXPECT_EQ(support::RawCall(server_->address().ToString(),
                               "/dtrpo.v1.IntrospectionService/Handshake", "\xff\xff\xff"),
              "");
  }
  EXPECT_EQ(service_.acted, 0);
  EXPECT_TRUE(Call().ok());
}

TEST_P(HostileClientsTest, WhoShakesHandsByteByByteIsSentAway) {
  ServerLimits limits;
  limits.handshake_timeout = absl::Seconds(2);
  Start(limits);
  std::vector<RawConnection> slow;
  for (int i = 0; i < 50; ++i) slow.emplace_back(port());
  // Each sends a true beginning, slower than it would ever end.
  const std::string beginning =
      GetParam() ? std::string("\x16\x03\x01\x02\x00\x01", 6) : "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (char byte : beginning.substr(0, 6)) {
    for (RawConnection& connection : slow) connection.Send(std::string(1, byte));
    EXPECT_TRUE(IsAnswered());
  }
  for (RawConnection& connection : slow) {
    EXPECT_TRUE(connection.IsClosedBy(absl::Now() + kDeadline));
  }
}

TEST_P(HostileClientsTest, AThousandIdleConnectionsDelayNobody) {
  Start();
  std::vector<RawConnection> idle;
  for (int i = 0; i < 1000; ++i) {
    idle.emplace_back(port());
    ASSERT_TRUE(idle.back().connected()) << i;
  }
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Call().ok());
}

TEST_P(HostileClientsTest, AConnectionBeyondTheLimitIsClosedUntilAnotherOneEnds) {
  ServerLimits limits;
  limits.connections = 20;
  limits.handshake_timeout = absl::Minutes(5);  // the idle ones stay for as long as the test
  Start(limits);
  std::vector<RawConnection> idle;
  for (int i = 0; i < 20; ++i) idle.emplace_back(port());
  RawConnection beyond(port());
  EXPECT_TRUE(beyond.IsClosedBy(absl::Now() + kDeadline));
  EXPECT_EQ(Call().code(), absl::StatusCode::kUnavailable);
  idle.clear();
  EXPECT_TRUE(IsAnswered());
}

TEST_P(HostileClientsTest, WithoutFileDescriptorsTheServerWaitsAndGoesOn) {
  Start();
  ASSERT_TRUE(Call().ok());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  RawConnection waiting;
  rlimit none = before;
  none.rlim_cur = 1;  // what is open stays so
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  waiting.Connect(port());  // by the system's queue; the server can't accept it
  absl::SleepFor(absl::Milliseconds(300));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(waiting.connected());
  EXPECT_TRUE(Call().ok());
}

TEST_P(HostileClientsTest, AnIdleConnectionEndsAndTheNextCallMakesAnother) {
  ServerLimits limits;
  limits.idle_timeout = absl::Seconds(1);
  Start(limits);
  auto stub = v1::IntrospectionService::NewStub(*factory_->Create(server_->address().ToString()));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(UnaryCall(stub.get(), &v1::IntrospectionService::StubInterface::Handshake,
                          v1::HandshakeRequest(), {.deadline = absl::Now() + kDeadline})
                    .ok());
    absl::SleepFor(absl::Milliseconds(1300));
  }
}

TEST_P(HostileClientsTest, CallsBeyondThePeersRateAreRefusedWithARetryAfterBeforeTheyAct) {
  ServerLimits limits;
  limits.calls_per_second = 1;
  Start(limits);
  auto stub = v1::IntrospectionService::NewStub(*factory_->Create(server_->address().ToString()));
  absl::Status refused;
  for (int i = 0; i < 1000 && refused.ok(); ++i) {
    refused = UnaryCall(stub.get(), &v1::IntrospectionService::StubInterface::Handshake,
                        v1::HandshakeRequest(), {.deadline = absl::Now() + kDeadline})
                  .status();
  }
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::GetReason(refused), "rate_limited");
  EXPECT_TRUE(base::GetRetryAfter(refused).has_value());
  EXPECT_TRUE(base::IsRetryable(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("limits.calls_per_second"));
  const int acted = service_.acted;
  absl::SleepFor(*base::GetRetryAfter(refused) + absl::Milliseconds(50));
  EXPECT_TRUE(Call().ok());
  EXPECT_EQ(service_.acted, acted + 1);
  // Probes are asked however busy a peer is.
  if (!GetParam()) {
    EXPECT_EQ(support::CheckHealth(server_->address().ToString(), "live"),
              support::Health::kServing);
  }
}

TEST_P(HostileClientsTest, CallsBeyondThePeersNumberAreRefusedWithARetryAfter) {
  ServerLimits limits;
  limits.calls_per_peer = 2;
  Start(limits);
  service_.block = true;
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) callers.emplace_back([&] { EXPECT_TRUE(Call().ok()); });
  while (service_.acted < 2) absl::SleepFor(absl::Milliseconds(1));
  const absl::Status refused = Call();
  service_.release.Notify();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::GetReason(refused), "too_many_calls");
  EXPECT_EQ(service_.acted, 2);
  EXPECT_TRUE(Call().ok());
}

}  // namespace
}  // namespace dtrpo::rpc
