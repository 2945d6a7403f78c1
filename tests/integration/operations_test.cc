// What runs the services sees of them: `dtrpo up`, probes, reflection, Prometheus.
#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <map>

#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"
#include "tests/support/http_get.h"
#include "tests/support/raw_call.h"
#include "tools/local_cluster/child_process.h"

namespace dtrpo {
namespace {

using ::testing::HasSubstr;

TEST_F(LoopTest, EveryServiceAnswersProbesReflectionAndPrometheus) {
  const std::map<std::string, std::string> spoken = {{"coordinator", "dtrpo.v1.JobService"},
                                                     {"replay", "dtrpo.v1.ReplayService"},
                                                     {"reference", "dtrpo.v1.ReferenceService"},
                                                     {"rollout", "dtrpo.v1.WeightsService"},
                                                     {"learner", "dtrpo.v1.IntrospectionService"}};
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  for (const auto& member : cluster_->members()) {
    SCOPED_TRACE(member.name);
    EXPECT_TRUE(cluster_->TendUntil([&] {
      return support::CheckHealth(member.address, "ready") == support::Health::kServing;
    }));
    EXPECT_EQ(support::CheckHealth(member.address, "live"), support::Health::kServing);
    const std::string services = support::ReflectedServices(member.address);
    EXPECT_THAT(services, HasSubstr(spoken.at(member.kind)));
    EXPECT_THAT(services, HasSubstr("dtrpo.v1.IntrospectionService"));
    EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
    const auto metrics = support::HttpGet(member.metrics_address, "/metrics");
    ASSERT_TRUE(metrics.ok()) << metrics.status();
    EXPECT_THAT(*metrics, HasSubstr("# HELP dtrpo_"));
    EXPECT_THAT(*metrics, HasSubstr(absl::StrCat("\ndtrpo_", member.kind, "_")));
  }
}

class UpTest : public LoopTest {
 protected:
  void StartUp() {
    auto child = tools::ChildProcess::Start(
        {.arguments = {absl::StrCat(DTRPO_BIN_DIR, "/dtrpo"), "up", "--dir", folder_ + "/run",
                       "--port", "0", "--cores", "2"},
         .environment = {},
         .log_path = folder_ + "/up.log"});
    ASSERT_TRUE(child.ok()) << child.status();
    up_ = std::make_unique<tools::ChildProcess>(*child);
    ASSERT_TRUE(Within(absl::Seconds(60), [&] { return LogHolds("\nup: coordinator="); }));
  }
  void TearDown() override {
    if (up_ != nullptr && !up_->PollEnd().has_value()) up_->Stop(absl::Seconds(20));
    LoopTest::TearDown();
  }

  static bool Within(absl::Duration patience, const std::function<bool()>& done) {
    for (const absl::Time end = absl::Now() + patience; !done();) {
      if (absl::Now() > end) return false;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return true;
  }

  bool LogHolds(const std::string& words) const {
    const auto log = base::PosixFileSystem()->Read(folder_ + "/up.log");
    return log.ok() && log->find(words) != std::string::npos;
  }

  // Of cluster.json, by name.
  std::map<std::string, pid_t> Pids() const {
    std::ifstream file(folder_ + "/run/cluster.json");
    const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    std::map<std::string, pid_t> pids;
    for (const auto& [name, member] : json.items()) pids[name] = member.value("pid", 0);
    return pids;
  }

  // False also for one that has ended and whose parent hasn't asked how.
  static bool Runs(pid_t pid) {
    std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
    std::string line;
    return std::getline(stat, line) && line.substr(line.rfind(')') + 2, 1) != "Z";
  }
  static int Running(const std::map<std::string, pid_t>& pids) {
    int running = 0;
    for (const auto& [name, pid] : pids) running += Runs(pid);
    return running;
  }

  std::unique_ptr<tools::ChildProcess> up_;
};

TEST_F(UpTest, DeadServiceIsReportedAndRestartedAndSigtermLeavesNobody) {
  ASSERT_NO_FATAL_FAILURE(StartUp());
  std::map<std::string, pid_t> pids = Pids();
  ASSERT_EQ(pids.size(), 5u);
  EXPECT_EQ(Running(pids), 5);

  const pid_t killed = pids.at("reference");
  kill(killed, SIGKILL);
  EXPECT_TRUE(
      Within(absl::Seconds(30), [&] { return LogHolds("reference started again as pid"); }));
  EXPECT_TRUE(LogHolds(
      absl::StrCat("reference (pid ", killed, ") was killed by signal 9; restarting in 1s")));
  EXPECT_TRUE(Within(absl::Seconds(10), [&] {
    pids = Pids();
    return pids.at("reference") != killed && Running(pids) == 5;
  }));

  kill(up_->pid(), SIGTERM);
  EXPECT_TRUE(Within(absl::Seconds(20), [&] { return up_->PollEnd().has_value(); }));
  EXPECT_EQ(up_->exit_code(), 0);
  EXPECT_EQ(Running(pids), 0);
}

TEST_F(UpTest, KilledLauncherLeavesNobody) {
  ASSERT_NO_FATAL_FAILURE(StartUp());
  const std::map<std::string, pid_t> pids = Pids();
  ASSERT_EQ(Running(pids), 5);
  kill(up_->pid(), SIGKILL);
  EXPECT_TRUE(Within(absl::Seconds(20), [&] { return Running(pids) == 0; }));
}

}  // namespace
}  // namespace dtrpo
