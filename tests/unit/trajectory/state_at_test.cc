#include "common/trajectory/state_at.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/random_trajectory.h"

namespace dtrpo::trajectory {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

constexpr int32_t kMask = 99;

Trajectory TwoBlocks() {
  Trajectory t;
  t.prompt_tokens = {5, 6};
  t.block_size = 4;
  t.response_tokens = {1, 2, 3, 4, kMask, 6};
  t.unmask_step = {2, 1, 0, 2, -1, 1};
  return t;
}

TEST(StateAtTest, BlocksBeforeStandBlocksAfterAreMasked) {
  const Trajectory t = TwoBlocks();
  EXPECT_THAT(StateBefore(t, 0, 1, kMask), ElementsAre(kMask, kMask, kMask, kMask, kMask, kMask));
  EXPECT_THAT(StateBefore(t, 0, 2, kMask), ElementsAre(kMask, 2, kMask, kMask, kMask, kMask));
  EXPECT_THAT(StateBefore(t, 1, 1, kMask), ElementsAre(1, 2, 3, kMask, kMask, kMask));
  EXPECT_THAT(StateBefore(t, 1, 2, kMask), ElementsAre(1, 2, 3, kMask, kMask, 6));
}

TEST(StateAtTest, FramesShowEveryStepAndEndWithTheResponse) {
  const auto frames = DenoisingFrames(TwoBlocks(), kMask);
  ASSERT_EQ(frames.size(), 6u);  // empty; block 0: 1, 2; block 1: 0, 1, 2
  EXPECT_THAT(frames[0], ElementsAre(kMask, kMask, kMask, kMask, kMask, kMask));
  EXPECT_THAT(frames[1], ElementsAre(kMask, 2, kMask, kMask, kMask, kMask));
  EXPECT_THAT(frames[3], ElementsAre(1, 2, 3, kMask, kMask, kMask));
  EXPECT_THAT(frames[5], ElementsAreArray(TwoBlocks().response_tokens));
}

TEST(StateAtTest, FramesAreTheStatesBeforeEachStep) {
  const support::TrajectoryShape shape;
  const Trajectory t = support::RandomTrajectory(shape, 3);
  const auto frames = DenoisingFrames(t, shape.mask_id);
  size_t frame = 0;
  const auto blocks = ResponseBlocks(t);
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (t.unmask_step[blocks[b].begin] == kBlockFirstStep) ++frame;
    const int32_t last = *std::max_element(t.unmask_step.begin() + blocks[b].begin,
                                           t.unmask_step.begin() + blocks[b].end);
    for (int32_t step = 1; step <= last; ++step, ++frame) {
      EXPECT_EQ(StateBefore(t, static_cast<int64_t>(b), step, shape.mask_id), frames[frame]);
    }
  }
  EXPECT_EQ(frame + 1, frames.size());
}

}  // namespace
}  // namespace dtrpo::trajectory
