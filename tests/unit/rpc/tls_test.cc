// mTLS over a real connection: who gets in, who may call what, and certificates that change.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/fake_metrics.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/rpc/serve.h"
#include "common/rpc/unary_call.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"
#include "proto/dtrpo/v1/reference.grpc.pb.h"
#include "tests/support/raw_call.h"
#include "tools/certs/certificate_authority.h"
#include "tools/certs/role_certificates.h"

namespace dtrpo::rpc {
namespace {

using testing::HasSubstr;

// A failed handshake is tried again until the call's deadline only where a test waits for success.
constexpr absl::Duration kLong = absl::Seconds(60);

class FakeHandshake : public v1::IntrospectionService::Service {
 public:
  grpc::Status Handshake(grpc::ServerContext* context, const v1::HandshakeRequest*,
                         v1::HandshakeResponse* response) override {
    return Serve(*context, [&](const IncomingCall& call) {
      response->set_role(call.role);
      response->set_build(call.authenticated ? "authenticated" : "claimed");
      return absl::OkStatus();
    });
  }
};

// Forgets Serve(): the authorizer must not need it.
class FakeReference : public v1::ReferenceService::Service {
 public:
  grpc::Status Score(grpc::ServerContext*, const v1::ScoreRequest*, v1::ScoreResponse*) override {
    ++acted;
    return grpc::Status::OK;
  }
  std::atomic<int> acted{0};
};

class TlsTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ =
        testing::TempDir() + "tls_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
    Make(dir_);
  }

  static void Make(const std::string& dir, absl::Duration valid_for = absl::Hours(1),
                   std::vector<Role> roles = {}) {
    tools::RoleCertificateOptions options;
    options.dir = dir;
    options.valid_for = valid_for;
    options.roles = std::move(roles);
    const absl::Status status = tools::MakeRoleCertificates(options);
    ASSERT_TRUE(status.ok()) << status;
  }

  void StartServer(absl::Duration connection_age = absl::Hours(1)) {
    ServerOptions options;
    options.tls = Identity(dir_, "reference");
    options.metrics = &metrics_;
    options.limits.connection_age = connection_age;
    auto server = RpcServer::Start(options, {&handshake_, &reference_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->SetReady(true);
  }

  static std::shared_ptr<const TlsIdentity> Identity(const std::string& dir,
                                                     const std::string& role) {
    auto identity = TlsIdentity::Load(tools::RoleFiles(dir, role));
    EXPECT_TRUE(identity.ok()) << identity.status();
    return identity.ok() ? *identity : nullptr;
  }

  std::unique_ptr<ChannelFactory> As(const std::string& dir, const std::string& role) const {
    ChannelOptions options;
    options.identity.role = "coordinator";  // a lie that nobody believes over TLS
    options.tls = Identity(dir, role);
    return std::make_unique<ChannelFactory>(options);
  }

  std::string target() const { return server_->address().ToString(); }

  absl::StatusOr<v1::HandshakeResponse> Handshake(ChannelFactory& factory,
                                                  RoleSet servers = kServerRoles) const {
    auto stub = v1::IntrospectionService::NewStub(*factory.Create(target(), servers));
    return UnaryCall(stub.get(), &v1::IntrospectionService::StubInterface::Handshake,
                     v1::HandshakeRequest(), {.deadline = absl::Now() + kLong});
  }
  absl::Status Score(ChannelFactory& factory) const {
    auto stub = v1::ReferenceService::NewStub(*factory.Create(target()));
    return UnaryCall(stub.get(), &v1::ReferenceService::StubInterface::Score, v1::ScoreRequest(),
                     {.deadline = absl::Now() + kLong})
        .status();
  }

  std::string dir_;
  base::FakeMetrics metrics_;
  FakeHandshake handshake_;
  FakeReference reference_;
  std::unique_ptr<RpcServer> server_;
};

TEST_F(TlsTest, TheCertificateSaysTheRoleWhateverTheCallerSays) {
  StartServer();
  const auto response = Handshake(*As(dir_, "monitor"));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->role(), "monitor");
  EXPECT_EQ(response->build(), "authenticated");
}

TEST_F(TlsTest, AnotherRoleIsRefusedBeforeTheHandlerActs) {
  StartServer();
  EXPECT_TRUE(Score(*As(dir_, "learner")).ok());
  EXPECT_EQ(reference_.acted, 1);
  for (const char* role : {"rollout", "client", "admin", "monitor", "replay"}) {
    const absl::Status status = Score(*As(dir_, role));
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("ReferenceService/Score"));
  }
  EXPECT_EQ(reference_.acted, 1);
  EXPECT_EQ(metrics_.Value("dtrpo_rpc_server_handled_total",
                           {{"grpc_service", "dtrpo.v1.ReferenceService"},
                            {"grpc_method", "Score"},
                            {"grpc_code", "PERMISSION_DENIED"}}),
            5);
}

TEST_F(TlsTest, ACallerOfAnotherAuthorityGetsNoConnection) {
  StartServer();
  Make(dir_ + "/other");
  EXPECT_EQ(Handshake(*As(dir_ + "/other", "learner")).status().code(),
            absl::StatusCode::kUnavailable);
  // Nor does one that trusts this authority and shows a certificate of another.
  TlsFiles files = tools::RoleFiles(dir_ + "/other", "learner");
  files.ca = tools::RoleFiles(dir_, "learner").ca;
  ChannelOptions options;
  options.tls = *TlsIdentity::Load(files);
  ChannelFactory factory(options);
  EXPECT_EQ(Score(factory).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(reference_.acted, 0);
}

TEST_F(TlsTest, AnExpiredCertificateGetsNoConnectionAndNoStart) {
  StartServer();
  Make(dir_, -absl::Hours(1), {Role::kLearner});  // of the same authority
  const TlsFiles files = tools::RoleFiles(dir_, "learner");
  const absl::Status refused = TlsIdentity::Load(files).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(files.certificate + ": expired at "));
  // As with a process that started while it was valid.
  ChannelOptions options;
  options.tls = *TlsIdentity::Load(files, base::PosixFileSystem(), absl::Now() - absl::Hours(2));
  ChannelFactory factory(options);
  EXPECT_EQ(Score(factory).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(reference_.acted, 0);
}

TEST_F(TlsTest, WithoutACertificateThereIsNoConnection) {
  StartServer();
  ChannelFactory plain({});
  EXPECT_EQ(Score(plain).code(), absl::StatusCode::kUnavailable);
  // TLS, but nothing to show.
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = *base::PosixFileSystem()->Read(tools::RoleFiles(dir_, "learner").ca);
  auto stub =
      v1::ReferenceService::NewStub(grpc::CreateChannel(target(), grpc::SslCredentials(ssl)));
  grpc::ClientContext context;
  PrepareContext({.deadline = absl::Now() + kLong}, &context);
  v1::ScoreResponse response;
  EXPECT_EQ(stub->Score(&context, {}, &response).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(reference_.acted, 0);
}

TEST_F(TlsTest, ACertificateWithoutARoleMayCallNothing) {
  StartServer();
  const auto read = [&](const std::string& path) { return *base::PosixFileSystem()->Read(path); };
  const auto authority = tools::CertificateAuthority::FromPem(
      {read(dir_ + "/ca/tls.crt"), read(dir_ + "/ca/tls.key")});
  ASSERT_TRUE(authority.ok());
  for (const char* uri : {"", "spiffe://dtrpo/role/king", "https://example.com/role/learner"}) {
    const auto pem = authority->Issue({.common_name = "x",
                                       .uri = uri,
                                       .hosts = {"localhost"},
                                       .not_before = absl::Now() - absl::Hours(1),
                                       .not_after = absl::Now() + absl::Hours(1)});
    ASSERT_TRUE(pem.ok()) << pem.status();
    EXPECT_FALSE(ParseCertificate(pem->certificate).ok());
    auto stub = v1::ReferenceService::NewStub(grpc::CreateChannel(
        target(),
        grpc::SslCredentials({authority->pem().certificate, pem->key, pem->certificate})));
    grpc::ClientContext context;
    PrepareContext({.deadline = absl::Now() + kLong}, &context);
    v1::ScoreResponse response;
    EXPECT_EQ(stub->Score(&context, {}, &response).error_code(), grpc::StatusCode::UNAUTHENTICATED)
        << uri;
  }
  EXPECT_EQ(reference_.acted, 0);
}

TEST_F(TlsTest, ACallerConnectsToNobodyOfAnotherRoleThanItWants) {
  StartServer();
  EXPECT_TRUE(Handshake(*As(dir_, "learner"), {Role::kReference}).ok());
  const absl::Status status = Handshake(*As(dir_, "learner"), {Role::kReplay}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another service is wanted"));
}

TEST_F(TlsTest, AClientsCertificateIsNoServers) {
  std::filesystem::copy_file(dir_ + "/client/tls.crt", dir_ + "/reference/tls.crt",
                             std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(dir_ + "/client/tls.key", dir_ + "/reference/tls.key",
                             std::filesystem::copy_options::overwrite_existing);
  StartServer();
  EXPECT_EQ(Handshake(*As(dir_, "learner")).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(TlsTest, HealthNeedsACertificateHereAndNoneOnItsOwnPort) {
  ServerOptions options;
  options.tls = Identity(dir_, "reference");
  options.health_listen = "127.0.0.1:0";
  auto server = RpcServer::Start(options, {&handshake_});
  ASSERT_TRUE(server.ok()) << server.status();
  (*server)->SetReady(true);
  EXPECT_EQ(support::CheckHealth((*server)->address().ToString(), "live"),
            support::Health::kNoAnswer);
  const std::string health = (*server)->health_address()->ToString();
  EXPECT_EQ(support::CheckHealth(health, "live"), support::Health::kServing);
  EXPECT_EQ(support::CheckHealth(health, "ready"), support::Health::kServing);
  (*server)->SetReady(false);
  EXPECT_EQ(support::CheckHealth(health, "ready"), support::Health::kNotServing);
  // Nothing else answers there.
  EXPECT_EQ(support::RawCall(health, "/dtrpo.v1.IntrospectionService/Handshake", ""), "");
}

TEST_F(TlsTest, CertificatesAndAuthorityAreRenewedWithoutARestart) {
  StartServer(/*connection_age=*/absl::Seconds(1));
  const auto old_client = As(dir_, "learner");
  ASSERT_TRUE(Score(*old_client).ok());

  // Another authority: what was trusted no longer is.
  std::filesystem::rename(dir_, dir_ + "_old");
  Make(dir_);
  const auto new_client = As(dir_, "learner");
  const absl::Time deadline = absl::Now() + kLong;
  while (!Score(*new_client).ok() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(50));
  EXPECT_TRUE(Score(*new_client).ok());

  // The client that was running reads the files again, too.
  while (!Score(*old_client).ok() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(50));
  EXPECT_TRUE(Score(*old_client).ok());
  // Who kept the old ones is out, the connection that it had included.
  const auto stale = As(dir_ + "_old", "learner");
  EXPECT_EQ(Score(*stale).code(), absl::StatusCode::kUnavailable);
  std::filesystem::remove_all(dir_ + "_old");
}

TEST_F(TlsTest, FilesThatAreNoneAreNamed) {
  TlsFiles files = tools::RoleFiles(dir_, "learner");
  const auto message_of = [](const TlsFiles& bad) {
    return std::string(TlsIdentity::Load(bad).status().message());
  };
  TlsFiles bad = files;
  bad.key = "";
  EXPECT_THAT(message_of(bad), HasSubstr("tls.key: is missing"));
  bad.key = dir_ + "/nothing";
  EXPECT_THAT(message_of(bad), HasSubstr(bad.key));
  bad.key = tools::RoleFiles(dir_, "rollout").key;
  EXPECT_THAT(message_of(bad), HasSubstr("isn't the key of " + bad.certificate));
  bad = files;
  bad.certificate = bad.key;
  EXPECT_THAT(message_of(bad), HasSubstr("holds no PEM certificate"));
  bad = files;
  bad.certificate = files.ca;
  bad.key = dir_ + "/ca/tls.key";
  EXPECT_THAT(message_of(bad), HasSubstr("no single URI name of a role"));
}

TEST_F(TlsTest, TlsMayListenAnywhereWithoutInsecure) {
  ServerOptions options;
  options.tls = Identity(dir_, "reference");
  options.listen = "0.0.0.0:0";
  EXPECT_TRUE(RpcServer::Start(options, {&handshake_}).ok());
  EXPECT_TRUE(As(dir_, "learner")->Create("10.0.0.1:80").ok());
}

}  // namespace
}  // namespace dtrpo::rpc
