// A whole job over mTLS, as `dtrpo up --tls` runs it, with certificates that are renewed meanwhile.
#include <gmock/gmock.h>

#include "common/base/atomic_file.h"
#include "common/runtime/config_loader.h"
#include "tests/integration/loop_test.h"
#include "tools/certs/role_certificates.h"

namespace dtrpo {
namespace {

using ::testing::HasSubstr;

class TlsJobTest : public LoopTest {
 protected:
  // Again: renews them.
  void MakeCertificates() const {
    const auto made = Run({"dtrpo", "certs", "--dir", certificates_, "--days", "1"});
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }

  // dtrpoctl with the certificate of a role.
  support::ProgramResult Ctl(const std::string& role, std::vector<std::string> arguments) const {
    const rpc::TlsFiles files = tools::RoleFiles(certificates_, role);
    arguments.insert(arguments.begin(), {"dtrpoctl", "--address", cluster_->coordinator(),
                                         "--timeout", "5", "--tls-certificate", files.certificate,
                                         "--tls-key", files.key, "--tls-ca", files.ca});
    return Run(std::move(arguments), absl::Seconds(90));
  }

  const std::string certificates_ = folder_ + "/certs";
};

TEST_F(TlsJobTest, AWholeJobRunsOverTlsWhileItsCertificatesAreRenewed) {
  ASSERT_NO_FATAL_FAILURE(MakeCertificates());
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  tools::LocalClusterOptions options;
  options.tls_dir = certificates_;
  // Connections that end soon: what follows the renewal uses the new certificates.
  options.extra_config = [](const std::string&) { return "  limits: {connection_age_ms: 2000}\n"; };
  ASSERT_NO_FATAL_FAILURE(StartCluster(std::move(options)));

  const v1::JobSpec spec = task_.Job("secret", /*steps=*/20);
  const std::string file = folder_ + "/job.yaml";
  ASSERT_TRUE(
      base::WriteFileAtomically(base::PosixFileSystem(), file, runtime::PrintConfig(spec)).ok());
  const auto refused = Ctl("monitor", {"submit", file});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.output, HasSubstr("role monitor may not call"));
  const auto submitted = Ctl("client", {"submit", file});
  ASSERT_EQ(submitted.exit_code, 0) << submitted.output;
  EXPECT_EQ(Ctl("monitor", {"list"}).exit_code, 0);
  const auto plain =
      Run({"dtrpoctl", "--address", cluster_->coordinator(), "--timeout", "2", "list"},
          absl::Seconds(90));
  EXPECT_NE(plain.exit_code, 0) << plain.output;

  auto job = cluster_->Await(
      "secret-1", "steps", [](const auto& j) { return j.step() >= 3; }, absl::Seconds(120));
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_NO_FATAL_FAILURE(MakeCertificates());
  job = cluster_->AwaitEnd("secret-1", absl::Seconds(150));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_TRUE(cluster_->events().empty()) << "a service was started again";
}

}  // namespace
}  // namespace dtrpo
