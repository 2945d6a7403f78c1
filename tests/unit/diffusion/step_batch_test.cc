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
  const std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7};
  StepBatch batch(2);
  EXPECT_EQ(batch.AddPromptBlock(prompt, 1, {4, 5, 1}), 0);
  EXPECT_EQ(batch.AddPromptBlock(prompt, 2, {4, 5, 1}), 2);
  EXPECT_THAT(batch.rows().token_ids, ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(batch.rows().positions, ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(batch.rows().cache_rows, ElementsAre(10, 11, 2, 3));
  ASSERT_EQ(batch.rows().segments.size(), 2u);
  EXPECT_THAT(KeysOf(batch.rows().segments[0]), ElementsAre(ElementsAre(8, 12)));
  EXPECT_THAT(KeysOf(batch.rows().segments[1]), ElementsAre(ElementsAre(8, 12), ElementsAre(2, 4)));
}

TEST_F(StepBatchTest, SequenceBlocksSeeTheirPagesUpToThemselves) {
  const std::vector<int32_t> prompt = {1, 2, 3};  // one whole block and a tail
  const CachePages::Table pages = {7, 0, 1, 5};
  SequenceState state(&rules_, prompt);
  StepBatch batch(2);
  EXPECT_EQ(batch.AddSequenceBlocks(state, pages), 0);
  EXPECT_THAT(batch.rows().token_ids, ElementsAre(3, kMask));
  EXPECT_THAT(batch.rows().positions, ElementsAre(2, 3));
  EXPECT_THAT(batch.rows().cache_rows, ElementsAre(0, 1));
  EXPECT_THAT(KeysOf(batch.rows().segments[0]),
              ElementsAre(ElementsAre(14, 16), ElementsAre(0, 2)));

  // Without token shift the finished block comes along with the next one, clean.
  state.Advance(std::vector<Candidate>{{7, -1.0f, 0.5f}});
  StepBatch next(2);
  EXPECT_EQ(next.AddSequenceBlocks(state, pages), 0);
  EXPECT_THAT(next.rows().token_ids, ElementsAre(3, 7, kMask, kMask));
  EXPECT_THAT(next.rows().positions, ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(next.rows().cache_rows, ElementsAre(0, 1, 2, 3));
  ASSERT_EQ(next.rows().segments.size(), 2u);
  EXPECT_THAT(KeysOf(next.rows().segments[0]), ElementsAre(ElementsAre(14, 16), ElementsAre(0, 2)));
  EXPECT_THAT(KeysOf(next.rows().segments[1]), ElementsAre(ElementsAre(14, 16), ElementsAre(0, 4)));
}

TEST_F(StepBatchTest, OutputsAreTheRowsAskedFor) {
  StepBatch batch(2);
  batch.AddPromptBlock(std::vector<int32_t>{1, 2}, 0, {0});
  EXPECT_THAT(*batch.rows().output_rows, ElementsAre());
  batch.AddOutput(1);
  batch.AddOutput(0);
  EXPECT_EQ(batch.outputs(), 2);
  EXPECT_THAT(*batch.rows().output_rows, ElementsAre(1, 0));
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
