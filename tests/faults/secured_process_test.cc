// The services as real processes with certificates, limits and callers of all kinds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/unary_call.h"
#include "common/storage/postgres_connection.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"
#include "proto/dtrpo/v1/coordinator.grpc.pb.h"
#include "tests/faults/replay_process.h"
#include "tests/support/run_program.h"
#include "tools/certs/role_certificates.h"

namespace dtrpo::faults {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr absl::Duration kDeadline = absl::Seconds(30);

class SecuredProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    folder_ = testing::TempDir() + "secured_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    ASSERT_NO_FATAL_FAILURE(MakeCertificates());
  }
  void MakeCertificates() {
    tools::RoleCertificateOptions options;
    options.dir = folder_ + "/certs";
    const absl::Status made = tools::MakeRoleCertificates(options);
    ASSERT_TRUE(made.ok()) << made;
  }
  rpc::TlsFiles Files(const std::string& role) const {
    return tools::RoleFiles(folder_ + "/certs", role);
  }
  // Lines of a configuration's section `server`.
  std::string Tls(const std::string& role) const {
    const rpc::TlsFiles files = Files(role);
    return absl::StrCat("  tls: {certificate: \"", files.certificate, "\", key: \"", files.key,
                        "\", ca: \"", files.ca, "\"}\n");
  }
  absl::Status Handshake(const std::string& address, const std::string& role) const {
    rpc::ChannelOptions options;
    options.tls = *rpc::TlsIdentity::Load(Files(role));
    rpc::ChannelFactory factory(options);
    auto stub = v1::IntrospectionService::NewStub(*factory.Create(address, {rpc::Role::kReplay}));
    v1::HandshakeRequest request;
    request.set_protocol_version(1);
    return rpc::UnaryCall(stub.get(), &v1::IntrospectionService::StubInterface::Handshake, request,
                          {.deadline = absl::Now() + kDeadline})
        .status();
  }
  static std::string Contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string folder_;
};

int ConnectTo(const std::string& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  return fd;
}

TEST_F(SecuredProcessTest, AThousandIdleAndSlowConnectionsDelayNobody) {
  ReplayProcess replay(folder_, "engine: memory\n", Tls("replay"));
  const absl::Status started = replay.Start();
  ASSERT_TRUE(started.ok()) << started;
  std::vector<int> connections;
  for (int i = 0; i < 1000; ++i) connections.push_back(ConnectTo(replay.address()));
  // A hundred of them shake hands, a byte at a time.
  for (char byte : {'\x16', '\x03', '\x01'}) {
    for (int i = 0; i < 100; ++i) {
      static_cast<void>(::send(connections[i], &byte, 1, MSG_NOSIGNAL));
    }
    const absl::Status status = Handshake(replay.address(), "learner");
    EXPECT_TRUE(status.ok()) << status;
  }
  for (const int fd : connections) ::close(fd);
  EXPECT_TRUE(Handshake(replay.address(), "rollout").ok());
  EXPECT_TRUE(replay.Running());
}

TEST_F(SecuredProcessTest, CertificatesAreRenewedWhileItRuns) {
  ReplayProcess replay(folder_, "engine: memory\n", Tls("replay"));
  ASSERT_TRUE(replay.Start().ok());
  ASSERT_TRUE(Handshake(replay.address(), "learner").ok());
  const pid_t pid = replay.pid();
  std::filesystem::remove_all(folder_ + "/certs");  // another authority, too
  ASSERT_NO_FATAL_FAILURE(MakeCertificates());
  const absl::Time end = absl::Now() + absl::Minutes(1);
  absl::Status status = Handshake(replay.address(), "learner");
  while (!status.ok() && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(100));
    status = Handshake(replay.address(), "learner");
  }
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(replay.pid(), pid);
}

TEST_F(SecuredProcessTest, ACertificateOfAnotherRoleIsRefusedAtStart) {
  ReplayProcess replay(folder_, "engine: memory\n", Tls("rollout"));
  EXPECT_TRUE(absl::IsAborted(replay.Start()));
  EXPECT_THAT(Contents(replay.log_path()),
              HasSubstr("is of role rollout, this process is a replay"));
}

TEST_F(SecuredProcessTest, AWorkerRegistersWithTheRoleOfItsCertificateAlone) {
  ReplayProcess coordinator(folder_, "replay: [\"127.0.0.1:1\"]\n", Tls("coordinator"),
                            "coordinator");
  const absl::Status started = coordinator.Start();
  ASSERT_TRUE(started.ok()) << started;
  rpc::ChannelOptions options;
  options.identity.role = "learner";  // nobody believes it
  options.tls = *rpc::TlsIdentity::Load(Files("rollout"));
  rpc::ChannelFactory factory(options);
  auto stub = v1::WorkerService::NewStub(*factory.Create(coordinator.address()));
  const auto registering = [&](const std::string& role) {
    v1::RegisterWorkerRequest request;
    request.set_role(role);
    request.set_address("127.0.0.1:1");
    request.set_incarnation(role);
    return rpc::UnaryCall(stub.get(), &v1::WorkerService::StubInterface::RegisterWorker, request,
                          {.deadline = absl::Now() + kDeadline})
        .status();
  };
  EXPECT_TRUE(registering("rollout").ok()) << registering("rollout");
  const absl::Status refused = registering("learner");
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("certificate is of role rollout"));

  // dtrpoctl, as a client and without a certificate.
  const rpc::TlsFiles client = Files("client");
  const auto list = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {DTRPO_BIN_DIR "/dtrpoctl", "--address", coordinator.address(),
                               "--timeout", "5", "list"});
    return support::RunProgram(more, folder_ + "/dtrpoctl.log", absl::Minutes(1));
  };
  const auto listed = list(
      {"--tls-certificate", client.certificate, "--tls-key", client.key, "--tls-ca", client.ca});
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(listed->exit_code, 0) << listed->output;
  const auto plain = list({});
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_NE(plain->exit_code, 0) << plain->output;
}

TEST_F(SecuredProcessTest, PlainTextElsewhereThanLoopbackIsRefusedAtStart) {
  const std::string config = folder_ + "/replay.yaml";
  ASSERT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), config,
                                        "server:\n  listen: \"0.0.0.0:0\"\n")
                  .ok());
  const auto result = support::RunProgram({DTRPO_BIN_DIR "/dtrpo-replay", "--config", config},
                                          folder_ + "/program.log");
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->exit_code, 2);
  EXPECT_THAT(result->output, HasSubstr("server.listen: 0.0.0.0:0 is not loopback"));
}

TEST_F(SecuredProcessTest, NoSecretIsPrintedOrLogged) {
  ReplayProcess replay(
      folder_, "engine: memory\npostgres: \"postgresql://replay:s3cret@db/x?password=s3cret2\"\n",
      absl::StrCat(Tls("replay"), "  limits: {calls_per_peer: 7}\n"));
  ASSERT_TRUE(replay.Start().ok());
  replay.Stop();
  const std::string log = Contents(replay.log_path());
  EXPECT_THAT(log, HasSubstr("drained"));
  const auto printed = support::RunProgram(
      {DTRPO_BIN_DIR "/dtrpo-replay", "--config", folder_ + "/replay.yaml", "--print-config"},
      folder_ + "/program.log");
  ASSERT_TRUE(printed.ok()) << printed.status();
  EXPECT_EQ(printed->exit_code, 0);
  EXPECT_THAT(printed->output, HasSubstr("replay:***@db"));
  EXPECT_THAT(printed->output, HasSubstr("calls_per_peer: 7"));
  for (const std::string& text : {log, printed->output}) {
    EXPECT_THAT(text, Not(HasSubstr("s3cret")));
    EXPECT_THAT(text, Not(HasSubstr("PRIVATE KEY")));
  }
}

// libpq repeats a connection string that it can't read.
TEST(SecretsTest, APasswordInABadConnectionStringIsNotInTheError) {
  const absl::Status status =
      storage::PostgresConnection::Connect("postgresql://replay:s3cret@[::1").status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("replay:***@"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
}

}  // namespace
}  // namespace dtrpo::faults
