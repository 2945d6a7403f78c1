#include "common/model/attention_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

using testing::ElementsAre;

std::vector<int64_t> Values(const torch::Tensor& tensor) {
  return {tensor.data_ptr<int64_t>(), tensor.data_ptr<int64_t>() + tensor.numel()};
}

AttentionPlan Plan(const RowBatch& batch, int64_t cache_capacity_rows = -1) {
  return AttentionPlan::Build(batch, cache_capacity_rows, 100, torch::kCPU);
}

TEST(AttentionPlanTest, OneSegmentNeedsNoGatherAndNoReordering) {
  const AttentionPlan plan = Plan(BidirectionalRows({5, 6, 7}));
  ASSERT_EQ(plan.groups.size(), 1u);
  EXPECT_EQ(plan.groups[0].key_begin, 0);
  EXPECT_FALSE(plan.restore.defined());
}

TEST(AttentionPlanTest, SegmentsOfEqualSizesBecomeOneGroup) {
  RowBatch batch;  // keys of 2, 3, 2, 3 rows
  batch.token_ids = {10, 11, 12, 13};
  batch.positions = {0, 1, 2, 3};
  batch.segments = {{0, 1, {{0, 2}}}, {1, 2, {{0, 3}}}, {2, 3, {{0, 1}, {3, 4}}}, {3, 4, {{1, 4}}}};
  const AttentionPlan plan = Plan(batch);
  ASSERT_EQ(plan.groups.size(), 2u);
  EXPECT_EQ(plan.groups[0].segments, 2);
  EXPECT_EQ(plan.groups[0].key_rows, 2);
  EXPECT_EQ(plan.groups[1].query_begin, 2);
  EXPECT_EQ(plan.groups[1].key_rows, 3);
  EXPECT_THAT(Values(plan.token_ids), ElementsAre(10, 12, 11, 13));
  EXPECT_THAT(Values(plan.restore), ElementsAre(0, 2, 1, 3));
  // The plan's rows 0, 2, 1, 3 are the caller's 0, 1, 2, 3.
  EXPECT_THAT(Values(plan.groups[0].key_index), ElementsAre(0, 2, 0, 3));
  EXPECT_THAT(Values(plan.groups[1].key_index), ElementsAre(0, 2, 1, 2, 1, 3));
}

TEST(AttentionPlanTest, NeighbouringKeysOfAWholeGroupAreASlice) {
  RowBatch batch;
  batch.token_ids = {1, 2, 3, 4};
  batch.positions = {0, 1, 0, 1};
  batch.segments = {{0, 2, {{0, 2}}}, {2, 4, {{2, 4}}}};
  const AttentionPlan plan = Plan(batch);
  ASSERT_EQ(plan.groups.size(), 1u);
  EXPECT_EQ(plan.groups[0].key_begin, 0);
}

TEST(AttentionPlanTest, KeysOfACacheAreItsRows) {
  RowBatch batch;
  batch.token_ids = {1, 2};
  batch.positions = {4, 5};
  batch.segments = {{0, 2, {{30, 36}}}};
  batch.cache_rows = {34, 35};
  const AttentionPlan plan = Plan(batch, 36);
  EXPECT_EQ(plan.groups[0].key_begin, 30);
  EXPECT_THAT(Values(plan.cache_rows), ElementsAre(34, 35));
  EXPECT_THROW(Plan(batch, 35), c10::Error);
}

TEST(AttentionPlanTest, TheLastLayerAsksForOutputRowsOnly) {
  RowBatch batch = BidirectionalRows({10, 11, 12, 13, 14, 15});
  batch.segments = {{0, 2, {{0, 2}}}, {2, 4, {{2, 4}}}, {4, 6, {{4, 6}}}};
  batch.output_rows = {5, 1, 4, 1};  // none of the second segment
  const AttentionPlan plan = Plan(batch);
  ASSERT_EQ(plan.groups.size(), 1u);
  ASSERT_EQ(plan.last_groups.size(), 2u);
  EXPECT_EQ(plan.last_groups[0].query_rows, 1);
  EXPECT_EQ(plan.last_groups[1].query_begin, 1);
  EXPECT_EQ(plan.last_groups[1].query_rows, 2);
  EXPECT_THAT(Values(plan.last_rows), ElementsAre(1, 4, 5));
  EXPECT_THAT(Values(plan.restore), ElementsAre(2, 0, 1, 0));
}

TEST(AttentionPlanTest, ABatchMayWantNoOutput) {
  RowBatch batch = BidirectionalRows({10, 11});
  batch.output_rows.emplace();
  const AttentionPlan plan = Plan(batch);
  EXPECT_TRUE(plan.last_groups.empty());
  EXPECT_EQ(plan.last_rows.numel(), 0);
}

}  // namespace
}  // namespace dtrpo::model
