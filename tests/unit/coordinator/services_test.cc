// The coordinator over real connections: clients, workers and errors as they see them.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "common/base/retry_after.h"
#include "common/rpc/status_translation.h"
#include "common/rpc/unary_call.h"
#include "tests/unit/coordinator/live_coordinator.h"

namespace dtrpo::coordinator {
namespace {

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

class ServicesTest : public testing::Test {
 protected:
  std::string Submit(const std::string& name = "add") {
    const auto id = live_.jobs().Submit(live_.Spec(name), "key-" + name, Soon());
    EXPECT_TRUE(id.ok()) << id.status();
    return id.ok() ? *id : "";
  }

  LiveCoordinator live_;
};

TEST_F(ServicesTest, AJobIsSubmittedShownAndCancelled) {
  const std::string id = Submit();
  EXPECT_EQ(Submit(), id);  // the same key
  EXPECT_EQ(live_.jobs().List(Soon())->jobs_size(), 1);
  const auto cancelled = live_.jobs().Cancel(id, "enough", Soon());
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), v1::JOB_CANCELLED);
  EXPECT_EQ(live_.jobs().Get(id, false, Soon())->reason(), "enough");
}

TEST_F(ServicesTest, ErrorsKeepTheirCodeAndWords) {
  const auto status = live_.jobs().Get("add-9", false, Soon());
  EXPECT_TRUE(absl::IsNotFound(status.status()));
  EXPECT_EQ(status.status().message(), "there is no job \"add-9\"");
  v1::JobSpec bad = live_.Spec("add");
  bad.mutable_training()->set_steps(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(live_.jobs().Submit(bad, "k", Soon()).status()));
}

TEST_F(ServicesTest, TheReasonOfAStaleAttemptReachesTheLearner) {
  const std::string id = Submit();
  v1::ReportStepRequest request;
  request.mutable_job()->set_job_id(id);
  request.mutable_job()->set_attempt(7);
  request.mutable_record()->set_step(1);
  const auto response = live_.workers().ReportStep(request, Soon());
  EXPECT_TRUE(absl::IsFailedPrecondition(response.status()));
  EXPECT_EQ(base::GetReason(response.status()), "stale_attempt");
}

// Were a change only seen once the silence is over, so many jobs would outlast their deadline.
TEST_F(ServicesTest, AWatchSendsAStatusAtOnceThenEachChangeAndEndsWithTheJob) {
  const absl::Time deadline = Soon();
  for (int job = 0; job < 12; ++job) {
    const std::string id = Submit(absl::StrCat("add", job));
    std::vector<v1::JobState> states;
    const absl::Status end = live_.jobs().Watch(
        id, 0,
        [&](const v1::JobStatus& status) {
          states.push_back(status.state());
          if (states.size() == 1) {
            EXPECT_TRUE(live_.jobs().Cancel(id, "enough", Soon()).ok());
          }
          return true;
        },
        deadline);
    ASSERT_TRUE(end.ok()) << end;
    ASSERT_GE(states.size(), 2u);
    EXPECT_EQ(states.front(), v1::PENDING);
    EXPECT_EQ(states.back(), v1::JOB_CANCELLED);
  }
}

TEST_F(ServicesTest, AWatchSaysSomethingAtLeastEveryTwoSeconds) {
  const std::string id = Submit();
  int statuses = 0;
  const absl::Time start = absl::Now();
  EXPECT_TRUE(live_.jobs()
                  .Watch(
                      id, 0, [&](const v1::JobStatus&) { return ++statuses < 2; }, Soon())
                  .ok());
  EXPECT_GE(absl::Now() - start, absl::Seconds(1.5));
}

TEST_F(ServicesTest, AWatchRespectsItsDeadline) {
  const std::string id = Submit();
  const absl::Status end = live_.jobs().Watch(
      id, 0, [](const v1::JobStatus&) { return true; }, absl::Now() + absl::Milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(end) || absl::IsUnavailable(end)) << end;
}

TEST_F(ServicesTest, AWatcherThatLeavesFreesItsThread) {
  const std::string id = Submit();
  // More watchers, one after the other, than the server has threads.
  for (int i = 0; i < 2 * LiveCoordinator::kThreads; ++i) {
    ASSERT_TRUE(live_.jobs()
                    .Watch(
                        id, 0, [](const v1::JobStatus&) { return false; }, Soon())
                    .ok());
  }
  EXPECT_TRUE(live_.jobs().Get(id, false, Soon()).ok());
}

TEST_F(ServicesTest, WatchesLeaveThreadsForTheWorkers) {
  const std::string id = Submit();
  absl::Notification enough;
  absl::BlockingCounter watching(LiveCoordinator::kThreads / 2);
  std::vector<std::thread> watchers;
  for (int i = 0; i < LiveCoordinator::kThreads / 2; ++i) {
    watchers.emplace_back([&] {
      bool first = true;
      live_.jobs()
          .Watch(
              id, 0,
              [&](const v1::JobStatus&) {
                if (first) watching.DecrementCount();
                first = false;
                return !enough.HasBeenNotified();
              },
              Soon())
          .IgnoreError();
    });
  }
  watching.Wait();
  const absl::Status one_more = live_.jobs().Watch(
      id, 0, [](const v1::JobStatus&) { return false; }, absl::Now() + absl::Seconds(1));
  EXPECT_EQ(base::GetReason(one_more), "too_many_watches") << one_more;
  EXPECT_TRUE(live_.jobs().ListWorkers(Soon()).ok());
  enough.Notify();
  for (std::thread& watcher : watchers) watcher.join();
}

TEST_F(ServicesTest, WatchesEndWhenTheCoordinatorShutsDown) {
  const std::string id = Submit();
  // Not by the client, which would go on watching once the coordinator is back.
  rpc::ChannelOptions options;
  options.identity.role = "client";
  rpc::ChannelFactory channels(options);
  const auto stub = v1::JobService::NewStub(*channels.Create(live_.address()));
  grpc::ClientContext context;
  rpc::PrepareContext({.deadline = absl::Now() + absl::Minutes(5)}, &context);
  v1::WatchJobRequest request;
  request.set_job_id(id);
  const auto stream = stub->WatchJob(&context, request);
  v1::JobStatus status;
  ASSERT_TRUE(stream->Read(&status));
  live_.Shutdown();
  while (stream->Read(&status)) continue;
  const absl::Status end = rpc::FromGrpcStatus(stream->Finish());
  EXPECT_EQ(end, absl::UnavailableError("the coordinator is shutting down"));
}

TEST_F(ServicesTest, AWorkerRegistersBeatsAndLeases) {
  const std::string id = Submit();
  v1::RegisterWorkerRequest request;
  request.set_role("rollout");
  request.set_address("127.0.0.1:1");
  request.set_incarnation("a");
  const auto registered = live_.workers().RegisterWorker(request, Soon());
  ASSERT_TRUE(registered.ok()) << registered.status();
  v1::HeartbeatRequest beat;
  beat.set_worker_id(registered->worker_id());
  ASSERT_TRUE(live_.workers().Heartbeat(beat, Soon()).ok());
  v1::LeasePromptsRequest lease;
  lease.mutable_job()->set_job_id(id);
  lease.set_worker_id(registered->worker_id());
  lease.set_max_prompts(1);
  const auto leased = live_.workers().LeasePrompts(lease, Soon());
  ASSERT_TRUE(leased.ok()) << leased.status();
  EXPECT_EQ(leased->reason(), "the job is PENDING");
  EXPECT_EQ(live_.jobs().ListWorkers(Soon())->workers_size(), 1);
}

}  // namespace
}  // namespace dtrpo::coordinator
