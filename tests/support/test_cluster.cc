#include "tests/support/test_cluster.h"

#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/wire/job_codec.h"
#include "tests/support/http_get.h"
#include "tools/certs/role_certificates.h"

namespace dtrpo::support {
namespace {

constexpr absl::Duration kLookEvery = absl::Milliseconds(30);
constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr absl::Duration kLookTimeout = absl::Seconds(3);
constexpr size_t kTailLines = 15;

absl::StatusOr<rpc::ChannelOptions> AsClient(const std::string& tls_dir) {
  rpc::ChannelOptions options;
  options.identity.role = "client";
  if (!tls_dir.empty()) {
    DTRPO_ASSIGN_OR_RETURN(options.tls,
                           rpc::TlsIdentity::Load(tools::RoleFiles(tls_dir, "client")));
  }
  return options;
}

}  // namespace

TestCluster::TestCluster(rpc::ChannelOptions options) : channels_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<TestCluster>> TestCluster::Start(
    tools::LocalClusterOptions options) {
  DTRPO_ASSIGN_OR_RETURN(rpc::ChannelOptions channels, AsClient(options.tls_dir));
  std::unique_ptr<TestCluster> test(new TestCluster(std::move(channels)));
  options.cores = 2;
  options.coordinator_port = 0;
  options.first_backoff = absl::Milliseconds(100);
  DTRPO_ASSIGN_OR_RETURN(test->cluster_, tools::LocalCluster::Start(options));
  test->address_ = test->cluster_->coordinator_address();
  DTRPO_ASSIGN_OR_RETURN(const auto channel, test->channels_.Create(test->address_));
  wire::ClientOptions client;
  client.target = "coordinator";
  test->client_ = wire::MakeJobClient(channel, client);
  return test;
}

absl::StatusOr<std::string> TestCluster::Submit(const v1::JobSpec& spec) {
  return client_->Submit(spec, /*idempotency_key=*/spec.name(), absl::Now() + kCallTimeout);
}

absl::StatusOr<v1::JobStatus> TestCluster::Get(const std::string& job_id, bool steps) {
  return client_->Get(job_id, steps, absl::Now() + kCallTimeout);
}

bool TestCluster::TendUntil(const std::function<bool()>& done, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    cluster_->Tend([this](const std::string& event) { events_.push_back(event); });
    if (done()) return true;
    if (absl::Now() > deadline) return false;
    absl::SleepFor(kLookEvery);
  }
}

absl::StatusOr<v1::JobStatus> TestCluster::Await(const std::string& job_id, const std::string& what,
                                                 const Wanted& wanted, absl::Duration timeout) {
  absl::StatusOr<v1::JobStatus> status;
  bool is_so = false;
  TendUntil(
      [&] {
        // Short, so that a coordinator that died is started again meanwhile.
        status = client_->Get(job_id, /*include_steps=*/false, absl::Now() + kLookTimeout);
        is_so = status.ok() && wanted(*status);
        // A coordinator that is being started again answers nothing for a while.
        if (!status.ok()) {
          return !absl::IsUnavailable(status.status()) &&
                 !absl::IsDeadlineExceeded(status.status());
        }
        return is_so || IsOver(*status);
      },
      timeout);
  DTRPO_RETURN_IF_ERROR(status.status());
  if (is_so) return status;
  const auto workers = client_->ListWorkers(absl::Now() + kCallTimeout);
  return absl::DeadlineExceededError(
      absl::StrCat("waited for ", what, "; the job is\n", status->ShortDebugString(), "\n",
                   workers.ok() ? workers->DebugString() : workers.status().ToString(), "\n",
                   absl::StrJoin(events_, "\n")));
}

absl::StatusOr<v1::JobStatus> TestCluster::AwaitEnd(const std::string& job_id,
                                                    absl::Duration timeout) {
  DTRPO_RETURN_IF_ERROR(Await(job_id, "the end of the job", IsOver, timeout).status());
  return Get(job_id, /*steps=*/true);
}

void TestCluster::Signal(const std::string& member, int signal) {
  const pid_t pid = Member(member).pid;
  DTRPO_CHECK_GT(pid, 0) << member << " isn't running";
  kill(pid, signal);
}

tools::LocalCluster::Member TestCluster::Member(const std::string& name) const {
  for (tools::LocalCluster::Member& member : cluster_->members()) {
    if (member.name == name) return member;
  }
  DTRPO_CHECK(false) << "no member " << name;
  return {};
}

absl::StatusOr<double> TestCluster::Metric(const std::string& member,
                                           const std::string& name) const {
  DTRPO_ASSIGN_OR_RETURN(const std::string body,
                         HttpGet(Member(member).metrics_address, "/metrics"));
  return MetricValue(body, name);
}

std::string TestCluster::LogTails() const {
  std::string tails;
  for (const tools::LocalCluster::Member& member : cluster_->members()) {
    const std::string path = absl::StrCat(cluster_->dir(), "/logs/", member.name, ".log");
    const auto log = base::PosixFileSystem()->Read(path);
    if (!log.ok()) continue;
    std::vector<std::string> lines = absl::StrSplit(*log, '\n');
    if (lines.size() > kTailLines) lines.erase(lines.begin(), lines.end() - kTailLines);
    absl::StrAppend(&tails, "\n--- ", path, "\n", absl::StrJoin(lines, "\n"));
  }
  return tails;
}

bool IsOver(const v1::JobStatus& status) { return wire::IsFinal(status.state()); }

}  // namespace dtrpo::support
