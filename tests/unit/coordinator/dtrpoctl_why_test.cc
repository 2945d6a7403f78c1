// `dtrpoctl why` and `top`, from statuses as the coordinator would send them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "tools/dtrpoctl/top.h"
#include "tools/dtrpoctl/why.h"

namespace dtrpo::ctl {
namespace {

using testing::HasSubstr;

constexpr int64_t kNow = 1'700'000'100'000;

v1::WorkerStatus Peer(const std::string& id, int64_t heard_ms_ago) {
  v1::WorkerStatus status;
  status.set_worker_id(id);
  status.set_role(id.substr(0, id.rfind('-')));
  status.set_address(id + ":1");
  status.set_state("state of " + id);
  status.set_last_heartbeat_unix_ms(kNow - heard_ms_ago);
  return status;
}

void AddWait(const std::string& what, const std::string& on_whom, int64_t ms,
             v1::WorkerStatus* of) {
  v1::WaitState* wait = of->add_waits();
  wait->set_what(what);
  wait->set_on_whom(on_whom);
  wait->set_since_unix_ms(kNow - ms);
}

class WhyTest : public ::testing::Test {
 protected:
  WhyTest() {
    job_.set_job_id("add-1");
    job_.set_state(v1::RUNNING);
    job_.set_step(11);
    job_.set_total_steps(120);
    workers_.set_now_unix_ms(kNow);
    v1::WorkerStatus* learner = workers_.add_workers();
    *learner = Peer("learner-1", 100);
    AddWait("batch 12", "replay", 8200, learner);
    AddWait("a short thing", "reference", 20, learner);
    *workers_.add_workers() = Peer("reference-1", 100);
    *workers_.add_workers() = Peer("rollout-1", 200);
    *workers_.add_workers() = Peer("rollout-2", 200);
    v1::WorkerStatus* shard = workers_.add_replay_shards();
    *shard = Peer("replay-0", 500);
    AddWait("pairs for batch 12 of job add-1", "rollouts", 8000, shard);
  }
  std::string Lines() const { return absl::StrJoin(Explain(job_, workers_).lines, "\n"); }

  v1::JobStatus job_;
  v1::ListWorkersResponse workers_;
};

TEST_F(WhyTest, TheChainEndsAtTheWorkerThatFellSilent) {
  workers_.mutable_workers(2)->set_last_heartbeat_unix_ms(kNow - 12'000);
  const Explanation why = Explain(job_, workers_);
  ASSERT_EQ(why.blocked.size(), 1u);
  EXPECT_EQ(why.blocked[0].who, "rollout-1");
  EXPECT_EQ(why.blocked[0].since_unix_ms, kNow - 12'000);
  EXPECT_EQ(Lines(),
            "job add-1 is RUNNING at step 11 of 120\n"
            "  learner-1 (learner-1:1) waits for batch 12 from replay for 8.2 s\n"
            "    replay-0 (replay-0:1) waits for pairs for batch 12 of job add-1 from rollouts for "
            "8.0 s\n"
            "      rollout-1 (rollout-1:1) hasn't answered for 12.0 s; last: state of rollout-1\n"
            "      rollout-2 (rollout-2:1) works: state of rollout-2");
}

TEST_F(WhyTest, AReplayStoreThatDoesNotAnswerIsNamed) {
  workers_.mutable_replay_shards(0)->set_last_heartbeat_unix_ms(kNow - 9000);
  const Explanation why = Explain(job_, workers_);
  ASSERT_EQ(why.blocked.size(), 1u);
  EXPECT_EQ(why.blocked[0].who, "replay-0");
}

TEST_F(WhyTest, ALostWorkerIsNamedAlsoWhenNobodyWaitsForItNow) {
  workers_.mutable_workers()->DeleteSubrange(1, 1);
  *workers_.add_lost() = Peer("reference-1", 20'000);
  const Explanation why = Explain(job_, workers_);
  ASSERT_EQ(why.blocked.size(), 1u);
  EXPECT_EQ(why.blocked[0].who, "reference-1");
  EXPECT_THAT(Lines(), HasSubstr("the coordinator has given it up"));
}

TEST_F(WhyTest, WhenEverybodyAnswersTheOnesAtWorkEndTheChain) {
  const Explanation why = Explain(job_, workers_);
  EXPECT_TRUE(why.blocked.empty());
  EXPECT_THAT(Lines(), HasSubstr("rollout-1 (rollout-1:1) works: state of rollout-1"));
}

TEST_F(WhyTest, ARoleThatNobodyHasIsSaid) {
  workers_.mutable_workers()->DeleteSubrange(2, 2);
  EXPECT_THAT(Lines(), HasSubstr("rollouts: none is registered"));
}

TEST_F(WhyTest, AJobThatIsOverWaitsForNobody) {
  job_.set_state(v1::SUCCEEDED);
  workers_.mutable_workers(2)->set_last_heartbeat_unix_ms(kNow - 12'000);
  EXPECT_TRUE(Explain(job_, workers_).blocked.empty());
}

TEST_F(WhyTest, TopShowsJobsWorkersLagsAndWhoIsSilent) {
  job_.set_version(5);
  job_.mutable_prompts()->set_leased(8);
  v1::ListJobsResponse jobs;
  *jobs.add_jobs() = job_;
  jobs.add_jobs()->set_state(v1::SUCCEEDED);
  workers_.mutable_workers(2)->set_version(3);
  *workers_.add_lost() = Peer("rollout-9", 30'000);
  const std::string frame = TopFrame(jobs, workers_);
  EXPECT_THAT(frame, HasSubstr("add-1  RUNNING  step 11/120"));
  EXPECT_THAT(frame, HasSubstr("prompts: 8 leased"));
  EXPECT_THAT(frame, HasSubstr("jobs that are over: 1"));
  EXPECT_THAT(frame, testing::ContainsRegex("rollout-1 +3 +2 +0.2s ago +state of rollout-1"));
  EXPECT_THAT(frame, HasSubstr("batch 12 from replay, 8s"));
  EXPECT_THAT(frame, HasSubstr("SILENT; last: state of rollout-9"));
}

}  // namespace
}  // namespace dtrpo::ctl
