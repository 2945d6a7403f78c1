#include "common/wire/worker_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "tests/support/fake_coordinator.h"

namespace dtrpo::wire {
namespace {

v1::Assignment AssignmentOf(const std::string& job_id, v1::JobState state = v1::RUNNING) {
  v1::Assignment assignment;
  assignment.mutable_job()->set_job_id(job_id);
  assignment.set_state(state);
  return assignment;
}

class WorkerAgentTest : public ::testing::Test {
 protected:
  WorkerAgentTest() : server_(*rpc::RpcServer::Start({}, {&coordinator_})) {}
  ~WorkerAgentTest() override { agent_.reset(); }

  void Start() {
    client_ = std::make_unique<WorkerClient>(*channels_.Create(server_->address().ToString()));
    WorkerAgent::Options options;
    options.registration.set_role("rollout");
    options.registration.set_incarnation("0123");
    options.report = [this]() -> WorkerReport {
      return {.job_id = "add-1", .state = "sampling", .version = version_, .versions_held = {0, 3}};
    };
    options.on_assignment = [this](const v1::Assignment& assignment) {
      coordinator_.Note("told of " + assignment.job().job_id());
    };
    agent_ = std::make_unique<WorkerAgent>(options, client_.get(), base::RealClock(), &waits_);
  }

  static absl::Time Soon() { return absl::Now() + absl::Seconds(10); }

  support::FakeCoordinator coordinator_;
  std::unique_ptr<rpc::RpcServer> server_;
  rpc::ChannelFactory channels_{rpc::ChannelOptions()};
  std::unique_ptr<WorkerClient> client_;
  base::WaitStateRegistry waits_;
  std::atomic<int64_t> version_ = 3;
  std::unique_ptr<WorkerAgent> agent_;
};

TEST_F(WorkerAgentTest, RegistersAndTellsWhatTheWorkerDoesAndWaitsFor) {
  base::ScopedWait wait(&waits_, "prompts", "coordinator");
  Start();
  EXPECT_TRUE(coordinator_.AwaitHeartbeat([](const v1::HeartbeatRequest& beat) {
    return beat.worker_id() == "rollout-1" && beat.job_id() == "add-1" &&
           beat.state() == "sampling" && beat.version() == 3 && beat.versions_held_size() == 2 &&
           beat.waits_size() == 1 && beat.waits(0).what() == "prompts" &&
           beat.waits(0).on_whom() == "coordinator" && beat.waits(0).since_unix_ms() > 0;
  }));
  EXPECT_EQ(agent_->worker_id(), "rollout-1");
  EXPECT_EQ(coordinator_.registrations().size(), 1u);
}

TEST_F(WorkerAgentTest, RegistersAgainAsTheSameProcessWhenTheCoordinatorHasForgottenIt) {
  Start();
  ASSERT_TRUE(coordinator_.AwaitHeartbeat(
      [](const v1::HeartbeatRequest& beat) { return beat.worker_id() == "rollout-1"; }));
  coordinator_.ForgetWorkers();
  EXPECT_TRUE(coordinator_.AwaitHeartbeat(
      [](const v1::HeartbeatRequest& beat) { return beat.worker_id() == "rollout-2"; }));
  EXPECT_EQ(agent_->worker_id(), "rollout-2");
  const auto registrations = coordinator_.registrations();
  ASSERT_EQ(registrations.size(), 2u);
  EXPECT_EQ(registrations[1].incarnation(), "0123");
}

TEST_F(WorkerAgentTest, KeepsTheNewestAssignmentAndTellsOfIt) {
  coordinator_.Assign(AssignmentOf("add-1"));
  Start();
  EXPECT_TRUE(coordinator_.AwaitEvents("told of add-1"));
  EXPECT_EQ(agent_->assignment().job().job_id(), "add-1");
  coordinator_.Assign(AssignmentOf("add-2"));
  EXPECT_TRUE(coordinator_.AwaitEvents("told of add-2"));
  EXPECT_EQ(agent_->assignment().job().job_id(), "add-2");
}

TEST_F(WorkerAgentTest, AwaitJobWakesForAJobButNotForOneThatIsOver) {
  coordinator_.Assign(AssignmentOf("add-1", v1::SUCCEEDED));
  Start();
  EXPECT_FALSE(agent_->AwaitJob(absl::Now() + absl::Milliseconds(100)));
  std::thread submitter([this] {
    absl::SleepFor(absl::Milliseconds(50));
    coordinator_.Assign(AssignmentOf("add-2"));
  });
  EXPECT_TRUE(agent_->AwaitJob(Soon()));
  EXPECT_EQ(agent_->assignment().job().job_id(), "add-2");
  submitter.join();
}

TEST_F(WorkerAgentTest, StopEndsAWaitForAJob) {
  Start();
  std::thread stopper([this] {
    absl::SleepFor(absl::Milliseconds(50));
    agent_->Stop();
  });
  EXPECT_FALSE(agent_->AwaitJob(absl::Now() + absl::Minutes(5)));
  stopper.join();
}

TEST_F(WorkerAgentTest, KeepsItsAssignmentWhileTheCoordinatorIsAway) {
  coordinator_.Assign(AssignmentOf("add-1"));
  Start();
  ASSERT_TRUE(agent_->AwaitJob(Soon()));
  const rpc::ServerOptions same_port{.listen = server_->address().ToString()};
  server_.reset();
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(agent_->assignment().job().job_id(), "add-1");
  coordinator_.Assign(AssignmentOf("add-2"));
  server_ = *rpc::RpcServer::Start(same_port, {&coordinator_});
  EXPECT_TRUE(coordinator_.AwaitEvents("told of add-2"));
}

TEST_F(WorkerAgentTest, BeatNowTellsOfAChangeAtOnce) {
  Start();
  ASSERT_TRUE(coordinator_.AwaitHeartbeat(
      [](const v1::HeartbeatRequest& beat) { return beat.version() == 3; }));
  version_ = 4;
  agent_->BeatNow();
  EXPECT_TRUE(coordinator_.AwaitHeartbeat(
      [](const v1::HeartbeatRequest& beat) { return beat.version() == 4; }));
}

}  // namespace
}  // namespace dtrpo::wire
