#include "tools/certs/role_certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "absl/time/clock.h"
#include "common/base/file_system.h"
#include "tools/certs/certificate_authority.h"

namespace dtrpo::tools {
namespace {

using testing::HasSubstr;

class RoleCertificatesTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.dir = testing::TempDir() + "certs_" +
                   testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(options_.dir);
  }
  static std::string Read(const std::string& path) {
    const auto text = base::PosixFileSystem()->Read(path);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.value_or("");
  }

  RoleCertificateOptions options_;
};

TEST_F(RoleCertificatesTest, EachRoleHasItsFolderAsCertManagerMakesItsSecrets) {
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  for (const rpc::Role role : rpc::AllRoles()) {
    const rpc::TlsFiles files = RoleFiles(options_.dir, rpc::RoleName(role));
    EXPECT_EQ(files.certificate,
              options_.dir + "/" + std::string(rpc::RoleName(role)) + "/tls.crt");
    const auto identity = rpc::TlsIdentity::Load(files);
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ((*identity)->role(), role);
    EXPECT_EQ(Read(files.ca), Read(options_.dir + "/ca/tls.crt"));
  }
}

TEST_F(RoleCertificatesTest, KeysAreTheirOwnersAlone) {
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  for (const std::string name : {"ca", "rollout", "client"}) {
    struct stat status {};
    ASSERT_EQ(::stat((options_.dir + "/" + name + "/tls.key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(RoleCertificatesTest, RenewalKeepsTheAuthorityAndTheOtherRoles) {
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  const std::string authority = Read(options_.dir + "/ca/tls.crt");
  const std::string rollout = Read(options_.dir + "/rollout/tls.crt");
  const std::string client = Read(options_.dir + "/client/tls.crt");
  options_.roles = {rpc::Role::kClient};
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  EXPECT_EQ(Read(options_.dir + "/ca/tls.crt"), authority);
  EXPECT_EQ(Read(options_.dir + "/rollout/tls.crt"), rollout);
  EXPECT_NE(Read(options_.dir + "/client/tls.crt"), client);
}

TEST_F(RoleCertificatesTest, ACertificateExpiresWhenItIsToldAndNeverAfterItsAuthority) {
  options_.valid_for = absl::Hours(10);
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  auto facts = rpc::ParseCertificate(Read(options_.dir + "/replay/tls.crt"));
  ASSERT_TRUE(facts.ok());
  EXPECT_LT(absl::AbsDuration(facts->not_after - options_.now - absl::Hours(10)), absl::Seconds(2));
  options_.valid_for = absl::Hours(24 * 10000);
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  facts = rpc::ParseCertificate(Read(options_.dir + "/replay/tls.crt"));
  ASSERT_TRUE(facts.ok());
  EXPECT_LT(absl::AbsDuration(facts->not_after - options_.now - options_.authority_valid_for),
            absl::Seconds(2));
}

TEST_F(RoleCertificatesTest, AnAuthorityThatIsExpiredOrDamagedIsNotUsed) {
  options_.authority_valid_for = absl::Hours(1);
  ASSERT_TRUE(MakeRoleCertificates(options_).ok());
  options_.now += absl::Hours(2);
  EXPECT_THAT(std::string(MakeRoleCertificates(options_).message()), HasSubstr("expired at"));
  std::filesystem::copy_file(options_.dir + "/rollout/tls.key", options_.dir + "/ca/tls.key",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(std::string(MakeRoleCertificates(options_).message()),
              HasSubstr(options_.dir + "/ca: not a PEM certificate and its key"));
}

TEST_F(RoleCertificatesTest, AHostThatIsNoneIsRefusedAndNeverBecomesAnotherName) {
  for (const char* host : {"", "a,URI:spiffe://dtrpo/role/admin", "a b", "a\nb"}) {
    options_.hosts = {host};
    EXPECT_EQ(MakeRoleCertificates(options_).code(), absl::StatusCode::kInvalidArgument) << host;
  }
  options_.hosts = {"rollout.example.com", "*.rollout", "10.1.2.3", "fe80::1"};
  EXPECT_TRUE(MakeRoleCertificates(options_).ok());
}

}  // namespace
}  // namespace dtrpo::tools
