#include "services/coordinator/peer_watch.h"

#include <gtest/gtest.h>

#include "common/base/fake_metrics.h"
#include "common/base/simulated_clock.h"

namespace dtrpo::coordinator {
namespace {

class PeerWatchTest : public ::testing::Test {
 protected:
  v1::ListWorkersResponse Filled() {
    v1::ListWorkersResponse response;
    watch_.Fill(&response);
    return response;
  }

  base::SimulatedClock clock_;
  base::FakeMetrics registry_;
  CoordinatorMetrics metrics_{&registry_};
  base::WaitStateRegistry own_{&clock_};
  absl::Status failure_;
  PeerWatch watch_{{{.address = "127.0.0.1:4003",
                     .ask = [this](absl::Time) -> absl::StatusOr<PeerWatch::Shard::Answer> {
                       if (!failure_.ok()) return failure_;
                       v1::WaitState wait;
                       wait.set_what("pairs");
                       return PeerWatch::Shard::Answer{.waits = {wait}, .state = "holds 3 pairs"};
                     }}},
                   &own_,
                   &metrics_,
                   &clock_};
};

TEST_F(PeerWatchTest, AShardThatStopsAnsweringKeepsTheTimeOfItsLastAnswer) {
  watch_.Step();
  const int64_t answered = absl::ToUnixMillis(clock_.Now());
  EXPECT_EQ(Filled().replay_shards(0).state(), "holds 3 pairs");
  EXPECT_EQ(Filled().replay_shards(0).waits_size(), 1);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_replay_answering_count"), 1);
  clock_.Advance(absl::Seconds(7));
  failure_ = absl::DeadlineExceededError("no answer in 2s");
  watch_.Step();
  const v1::ListWorkersResponse response = Filled();
  EXPECT_EQ(response.replay_shards(0).last_heartbeat_unix_ms(), answered);
  EXPECT_EQ(response.replay_shards(0).state(), "doesn't answer: no answer in 2s");
  EXPECT_EQ(response.now_unix_ms(), answered + 7000);
  EXPECT_EQ(registry_.Value("dtrpo_coordinator_replay_answering_count"), 0);
}

TEST_F(PeerWatchTest, ALostWorkerIsShownUntilAnotherHasItsPlace) {
  v1::WorkerStatus worker;
  worker.set_worker_id("rollout-1");
  worker.set_role("rollout");
  worker.set_address("127.0.0.1:5");
  watch_.OnLost(worker);
  watch_.OnRegistered("reference", "127.0.0.1:5");
  ASSERT_EQ(Filled().lost_size(), 1);
  EXPECT_EQ(Filled().lost(0).worker_id(), "rollout-1");
  watch_.OnRegistered("rollout", "127.0.0.1:5");
  EXPECT_EQ(Filled().lost_size(), 0);
}

TEST_F(PeerWatchTest, TheCoordinatorsOwnWaitsAreShown) {
  base::ScopedWait wait(&own_, "OpenJob", "replay 127.0.0.1:4003");
  ASSERT_EQ(Filled().coordinator_waits_size(), 1);
  EXPECT_EQ(Filled().coordinator_waits(0).on_whom(), "replay 127.0.0.1:4003");
}

}  // namespace
}  // namespace dtrpo::coordinator
