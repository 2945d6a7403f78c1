#include "common/diffusion/step_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "common/diffusion/unmask_confidence.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::ElementsAre;

constexpr int32_t kMask = 99;

std::vector<std::vector<int64_t>> KeysOf(const model::Segment& segment) {
  std::vector<std::vector<int64_t>> keys;
  for (const model::KeyRange& range : segment.keys) keys.push_back({range.begin, range.end});
  return keys;
}

class StepBatchTest : public ::testing::Test {
 protected:
  StepBatchTest() {
    rules_.block_size = rules_.sub_block = 2;
    rules_.max_new_tokens = 4;
    rules_.mask_id = kMask;
    rules_.policy = &policy_;
  }

  StaticSteps policy_{1};
  SequenceRules rules_;
};

TEST_F(StepBatchTest, PromptBlocksSeeThemselvesAndThoseBefore) {
  CacheSlots slots(2, 6, 6);
  slots.Acquire(std::vector<int32_t>{9, 9});
  const CacheSlots::Slot slot = slots.Acquire(std::vector<int32_t>{1, 2, 3, 4, 5, 6});
  ASSERT_EQ(slots.prompt_begin(slot.prompt), 6);

  StepBatch first(2);
  EXPECT_EQ(first.AddPromptBlocks(&slots, slot.prompt, 5), 3);  // two blocks fit in five rows
  EXPECT_THAT(first.rows().token_ids, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(first.rows().positions, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(first.rows().cache_rows, ElementsAre(6, 7, 8, 9));
  ASSERT_EQ(first.rows().segments.size(), 2u);
  EXPECT_THAT(KeysOf(first.rows().segments[0]), ElementsAre(ElementsAre(6, 8)));
  EXPECT_THAT(KeysOf(first.rows().segments[1]), ElementsAre(ElementsAre(6, 10)));
  EXPECT_FALSE(slots.IsFilled(slot));

  StepBatch second(2);
  EXPECT_EQ(second.AddPromptBlocks(&slots, slot.prompt, 0), 1);  // one block at least
  EXPECT_THAT(second.rows().token_ids, ElementsAre(5, 6));
  EXPECT_TRUE(slots.IsFilled(slot));
}

TEST_F(StepBatchTest, SequenceBlocksSeeTheSharedPromptAndTheirOwnRows) {
  const std::vector<int32_t> prompt = {1, 2, 3};  // one whole block and a tail
  CacheSlots slots(1, 2, 6);
  SequenceState state(&rules_, prompt);
  const CacheSlots::Slot slot = slots.Acquire(absl::MakeConstSpan(prompt).subspan(0, 2));

  StepBatch batch(2);
  EXPECT_EQ(batch.AddSequenceBlock(state, slots, slot), 0);
  EXPECT_THAT(batch.rows().token_ids, ElementsAre(3, kMask));
  EXPECT_THAT(batch.rows().positions, ElementsAre(2, 3));
  EXPECT_THAT(batch.rows().cache_rows, ElementsAre(2, 3));
  EXPECT_THAT(KeysOf(batch.rows().segments[0]), ElementsAre(ElementsAre(0, 2), ElementsAre(2, 4)));

  state.Advance(std::vector<Candidate>{{7, -1.0f, 0.5f}});
  state.Advance({});  // the clean pass
  StepBatch next(2);
  EXPECT_EQ(next.AddSequenceBlock(state, slots, slot), 0);
  EXPECT_THAT(next.rows().positions, ElementsAre(4, 5));
  EXPECT_THAT(next.rows().cache_rows, ElementsAre(4, 5));
  EXPECT_THAT(KeysOf(next.rows().segments[0]), ElementsAre(ElementsAre(0, 2), ElementsAre(2, 6)));
}

TEST_F(StepBatchTest, BidirectionalSequencesComeWholeAndSeeThemselves) {
  rules_.bidirectional = true;
  const SequenceState short_one(&rules_, std::vector<int32_t>{1});
  const SequenceState long_one(&rules_, std::vector<int32_t>{2, 3});
  StepBatch batch(2);
  EXPECT_EQ(batch.AddWholeSequence(short_one), 0);
  EXPECT_EQ(batch.AddWholeSequence(long_one), 5);
  EXPECT_THAT(batch.rows().token_ids,
              ElementsAre(1, kMask, kMask, kMask, kMask, 2, 3, kMask, kMask, kMask, kMask));
  EXPECT_THAT(batch.rows().positions, ElementsAre(0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5));
  EXPECT_TRUE(batch.rows().cache_rows.empty());
  ASSERT_EQ(batch.rows().segments.size(), 2u);
  EXPECT_THAT(KeysOf(batch.rows().segments[0]), ElementsAre(ElementsAre(0, 5)));
  EXPECT_THAT(KeysOf(batch.rows().segments[1]), ElementsAre(ElementsAre(5, 11)));
}

}  // namespace
}  // namespace dtrpo::diffusion
