#include "services/learner/weights_publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/base/simulated_clock.h"

namespace dtrpo::learner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::shared_ptr<const weights::Image> ImageOf(int64_t version) {
  weights::Manifest manifest;
  manifest.job_id = "add-1";
  manifest.version = version;
  manifest.tensors = {{.name = "w", .dtype = "F32", .shape = {4}}};
  DTRPO_CHECK_OK(weights::LayOut(manifest));
  weights::StagingArea area(manifest);
  area.MutableTensor(area.manifest().tensors[0])[0] = static_cast<char>(version);
  const auto image = area.Finish();
  DTRPO_CHECK_OK(image);
  return *image;
}

class WeightsPublisherTest : public ::testing::Test {
 protected:
  WeightsPublisherTest()
      : metrics_(&registry_),
        publisher_([this](const std::string& address,
                          const weights::Image& image) { return Push(address, image); },
                   &clock_, &waits_, &metrics_) {}

  absl::StatusOr<int64_t> Push(const std::string& address, const weights::Image& image) {
    absl::MutexLock lock(&mutex_);
    const int64_t version = image.manifest().version;
    pushes_.push_back(absl::StrCat(address, " ", version));
    mutex_.AwaitWithTimeout(absl::Condition(&may_push_), absl::Seconds(10));
    if (failures_ > 0) {
      --failures_;
      return absl::UnavailableError("connection refused");
    }
    return version;
  }

  // What was pushed, once the publisher has nothing left to do at this time.
  std::vector<std::string> Pushes() {
    for (int quiet = 0; quiet < 3; ++quiet) {
      absl::SleepFor(absl::Milliseconds(10));
      EXPECT_TRUE(clock_.WaitForWaiters(1));
    }
    absl::MutexLock lock(&mutex_);
    return pushes_;
  }

  void SetRollouts(int64_t a, int64_t b) {
    publisher_.SetRollouts({{"rollout-1", "a", a}, {"rollout-2", "b", b}});
  }

  base::SimulatedClock clock_;
  base::WaitStateRegistry waits_{&clock_};
  base::FakeMetrics registry_;
  LearnerMetrics metrics_;
  absl::Mutex mutex_;
  std::vector<std::string> pushes_ ABSL_GUARDED_BY(mutex_);
  bool may_push_ ABSL_GUARDED_BY(mutex_) = true;
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
  WeightsPublisher publisher_;  // last: its thread uses all of the above
};

TEST_F(WeightsPublisherTest, EveryRolloutGetsTheNewestVersionOnce) {
  SetRollouts(0, 0);
  publisher_.SetNewest(ImageOf(1));
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "b 1"));
  SetRollouts(0, 1);  // heartbeats that were on their way
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "b 1"));
  publisher_.SetNewest(ImageOf(2));
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "b 1", "a 2", "b 2"));
  EXPECT_EQ(registry_.Value("dtrpo_learner_pushed_bytes_total"), 4 * 16);
}

TEST_F(WeightsPublisherTest, NobodyGetsVersionZeroForRolloutsLoadItThemselves) {
  SetRollouts(-1, 0);
  publisher_.SetNewest(ImageOf(0));
  EXPECT_THAT(Pushes(), IsEmpty());
}

TEST_F(WeightsPublisherTest, ALateJoinerGetsTheNewestVersionAndNoneBeforeIt) {
  publisher_.SetNewest(ImageOf(1));
  publisher_.SetNewest(ImageOf(2));
  EXPECT_THAT(Pushes(), IsEmpty());
  publisher_.SetRollouts({{"rollout-3", "c", 0}});
  EXPECT_THAT(Pushes(), ElementsAre("c 2"));
}

TEST_F(WeightsPublisherTest, AProcessThatTookAnothersPlaceIsAnotherRollout) {
  publisher_.SetRollouts({{"rollout-1", "a", 0}});
  publisher_.SetNewest(ImageOf(1));
  EXPECT_THAT(Pushes(), ElementsAre("a 1"));
  publisher_.SetRollouts({{"rollout-2", "a", -1}});
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "a 1"));
}

TEST_F(WeightsPublisherTest, AFailedPushIsRepeatedWithGrowingPauses) {
  {
    absl::MutexLock lock(&mutex_);
    failures_ = 3;
  }
  publisher_.SetRollouts({{"rollout-1", "a", 0}});
  publisher_.SetNewest(ImageOf(1));
  EXPECT_EQ(Pushes().size(), 1u);
  clock_.Advance(absl::Milliseconds(199));
  EXPECT_EQ(Pushes().size(), 1u);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(Pushes().size(), 2u);
  clock_.Advance(absl::Milliseconds(399));  // the pause is 400 ms now
  EXPECT_EQ(Pushes().size(), 2u);
  clock_.Advance(absl::Milliseconds(201));
  EXPECT_EQ(Pushes().size(), 3u);
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Milliseconds(200));
    Pushes();
  }
  EXPECT_EQ(Pushes().size(), 4u);  // this one arrived
  EXPECT_EQ(registry_.Value("dtrpo_learner_push_failures_total"), 3);
}

TEST_F(WeightsPublisherTest, AFailureWithOneRolloutDoesntKeepTheOthersWaiting) {
  {
    absl::MutexLock lock(&mutex_);
    failures_ = 1;
  }
  SetRollouts(0, 0);
  publisher_.SetNewest(ImageOf(1));
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "b 1"));
}

TEST_F(WeightsPublisherTest, ANewerVersionTakesThePlaceOfOneThatWasntPushedYet) {
  {
    absl::MutexLock lock(&mutex_);
    may_push_ = false;
  }
  SetRollouts(0, 0);
  publisher_.SetNewest(ImageOf(1));
  absl::SleepFor(absl::Milliseconds(20));  // version 1 is on its way to a
  publisher_.SetNewest(ImageOf(2));
  {
    absl::MutexLock lock(&mutex_);
    may_push_ = true;
  }
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "a 2", "b 2"));
}

TEST_F(WeightsPublisherTest, ANewVersionDoesntWaitForTheBackOffOfTheOneBefore) {
  {
    absl::MutexLock lock(&mutex_);
    failures_ = 1;
  }
  publisher_.SetRollouts({{"rollout-1", "a", 0}});
  publisher_.SetNewest(ImageOf(1));
  EXPECT_THAT(Pushes(), ElementsAre("a 1"));
  publisher_.SetNewest(ImageOf(2));
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "a 2"));
}

TEST_F(WeightsPublisherTest, ARolloutThatLostItsWeightsGetsThemAgain) {
  publisher_.SetRollouts({{"rollout-1", "a", 0}});
  publisher_.SetNewest(ImageOf(1));
  EXPECT_THAT(Pushes(), ElementsAre("a 1"));
  publisher_.SetRollouts({{"rollout-1", "a", 1}});  // it serves what it got
  clock_.Advance(absl::Seconds(10));
  EXPECT_EQ(Pushes().size(), 1u);
  publisher_.SetRollouts({{"rollout-1", "a", 0}});  // it began the job anew
  EXPECT_THAT(Pushes(), ElementsAre("a 1", "a 1"));
  publisher_.SetRollouts({{"rollout-1", "a", 0}});  // the heartbeat is late again
  EXPECT_EQ(Pushes().size(), 2u);
}

}  // namespace
}  // namespace dtrpo::learner
