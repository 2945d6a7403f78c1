#include "common/dtrpo/remask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/random_trajectory.h"

namespace dtrpo::objective {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trajectory::Boundary;
using trajectory::MaskPlan;
using trajectory::Trajectory;

constexpr int32_t kMask = 99;
constexpr RemaskOptions kShift = {.mask_id = kMask, .vocabulary_size = 100};

// P = 6, B = 4: rows 4, 5 are the prompt's tail; response blocks [0,2) [2,6).
Trajectory Tailed() {
  Trajectory t;
  t.id = "tailed";
  t.prompt_tokens = {10, 11, 12, 13, 14, 15};
  t.block_size = 4;
  t.response_tokens = {20, 21, 22, 23, 24, 25};
  t.unmask_step = {2, 1, 0, 2, 1, 2};
  return t;
}

RemaskedBatch Rows(const std::vector<ScoreInput>& inputs, const RemaskOptions& options = kShift) {
  absl::StatusOr<RemaskedBatch> batch = Remask(inputs, options);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

std::vector<std::pair<int64_t, int64_t>> Keys(const model::Segment& segment) {
  std::vector<std::pair<int64_t, int64_t>> keys;
  for (const model::KeyRange& range : segment.keys) keys.emplace_back(range.begin, range.end);
  return keys;
}

TEST(RemaskTest, LaysOutPromptCleanAndRemaskedBlocks) {
  const Trajectory t = Tailed();
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const RemaskedBatch batch = Rows({{&t, &plan}});
  EXPECT_THAT(batch.rows.token_ids,
              ElementsAre(10, 11, 12, 13,           // prompt block
                          14, 15, 20, 21,           // clean block 0; clean block 1 is left out
                          14, 15, kMask, kMask,     // block 0 before step 1
                          14, 15, kMask, 21,        // block 0 before step 2
                          22, kMask, kMask, kMask,  // block 1 before step 1: its first token stands
                          22, kMask, 24, kMask));   // block 1 before step 2
  EXPECT_THAT(batch.rows.positions, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7,  //
                                                8, 9, 10, 11, 8, 9, 10, 11));
  ASSERT_EQ(batch.rows.segments.size(), 6u);
  EXPECT_THAT(Keys(batch.rows.segments[0]), ElementsAre(std::pair(0, 4)));
  EXPECT_THAT(Keys(batch.rows.segments[1]), ElementsAre(std::pair(0, 8)));
  EXPECT_THAT(Keys(batch.rows.segments[2]), ElementsAre(std::pair(0, 4), std::pair(8, 12)));
  EXPECT_THAT(Keys(batch.rows.segments[3]), ElementsAre(std::pair(0, 4), std::pair(12, 16)));
  EXPECT_THAT(Keys(batch.rows.segments[4]), ElementsAre(std::pair(0, 8), std::pair(16, 20)));
  // Plan order: 21, 20 | 22 (clean last row of block 0), 24, 23, 25. Row i-1 predicts token i.
  EXPECT_THAT(batch.target_tokens, ElementsAre(21, 20, 22, 24, 23, 25));
  EXPECT_THAT(batch.target_rows, ElementsAre(10, 13, 7, 17, 20, 22));
}

TEST(RemaskTest, WithoutShiftRowsPredictTheirOwnTokens) {
  Trajectory t = Tailed();
  t.unmask_step = {2, 1, 1, 2, 1, 2};
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  RemaskOptions options = kShift;
  options.logit_shift = 0;
  const RemaskedBatch batch = Rows({{&t, &plan}}, options);
  EXPECT_THAT(batch.target_tokens, ElementsAre(21, 20, 22, 24, 23, 25));
  EXPECT_THAT(batch.target_rows, ElementsAre(11, 14, 16, 18, 21, 23));
}

TEST(RemaskTest, TheFirstBlocksFirstTokenIsReadFromTheLastPromptRow) {
  Trajectory t = Tailed();
  t.prompt_tokens = {10, 11, 12, 13};
  t.response_tokens = {20, 21, 22, 23};
  t.unmask_step = {0, 1, 1, 2};
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const RemaskedBatch batch = Rows({{&t, &plan}});
  EXPECT_EQ(batch.rows.token_ids.size(), 12u);  // prompt, no clean block, two states
  EXPECT_THAT(batch.target_rows, ElementsAre(3, 4, 5, 10));
}

TEST(RemaskTest, NoisyBoundaryReadsTheFirstDrawnStateOfTheBlockBefore) {
  const Trajectory t = Tailed();
  const MaskPlan plan =
      MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact, .boundary = Boundary::kNoisy}, 0);
  RemaskOptions options = kShift;
  options.boundary = Boundary::kNoisy;
  const RemaskedBatch batch = Rows({{&t, &plan}}, options);
  EXPECT_THAT(batch.target_rows, ElementsAre(10, 13, /*block 0 before step 1*/ 11, 17, 20, 22));
}

TEST(RemaskTest, PositionsNeverCommittedStayMasked) {
  Trajectory t = Tailed();
  t.stop_index = 4;
  t.unmask_step[5] = trajectory::kNeverCommitted;
  t.response_tokens[5] = kMask;
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const RemaskedBatch batch = Rows({{&t, &plan}});
  for (const size_t row : {19u, 23u}) EXPECT_EQ(batch.rows.token_ids[row], kMask);
  EXPECT_THAT(batch.target_tokens, ElementsAre(21, 20, 22, 24, 23));
}

// P0 + B * (2 N - 1) rows for one draw, instead of 2 L.
TEST(RemaskTest, OneDrawNeedsTheCompactNumberOfRows) {
  const Trajectory t = support::RandomTrajectory({.prompt_tokens = 9, .max_new_tokens = 15}, 1);
  const MaskPlan plan = MakeMaskPlan(t, {}, 0);
  EXPECT_EQ(Rows({{&t, &plan}}).rows.token_ids.size(), 8u + 4u * (2 * plan.blocks.size() - 1));
}

TEST(RemaskTest, BlocksBehindTheLastTargetAreLeftOut) {
  Trajectory t = Tailed();
  t.stop_index = 1;
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  EXPECT_EQ(Rows({{&t, &plan}}).rows.token_ids.size(), 12u);  // prompt and two states of block 0
}

TEST(RemaskTest, AnswersToOnePromptShareItsWholeBlocks) {
  const Trajectory t = Tailed();
  Trajectory u = Tailed();
  u.id = "other";
  u.response_tokens = {30, 31, 32, 33, 34, 35};
  const MaskPlan plan = MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0);
  const RemaskedBatch batch = Rows({{&t, &plan}, {&u, &plan}});
  EXPECT_EQ(batch.rows.token_ids.size(), 24u + 20u);
  EXPECT_THAT(Keys(batch.rows.segments[6]), ElementsAre(std::pair(0, 4), std::pair(24, 28)));
  EXPECT_THAT(Keys(batch.rows.segments[10]),
              ElementsAre(std::pair(0, 4), std::pair(24, 28), std::pair(40, 44)));
  u.prompt_tokens[5] = 77;  // a tail isn't shared anyhow
  EXPECT_EQ(Rows({{&t, &plan}, {&u, &plan}}).rows.token_ids.size(), 44u);
  u.prompt_tokens[0] = 77;
  EXPECT_EQ(Rows({{&t, &plan}, {&u, &plan}}).rows.token_ids.size(), 48u);
}

TEST(RemaskTest, RefusesWhatDoesNotFitNamingIt) {
  const Trajectory good = Tailed();
  const MaskPlan plan = MakeMaskPlan(good, {.kind = trajectory::PlanKind::kExact}, 0);
  const auto refusal = [&](const Trajectory& t, const MaskPlan& p, RemaskOptions options = kShift) {
    const ScoreInput input{&t, &p};
    const auto batch = Remask({&input, 1}, options);
    EXPECT_EQ(batch.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(batch.status().message());
  };
  Trajectory t = good;
  t.prompt_tokens[1] = 100;
  EXPECT_THAT(refusal(t, plan), HasSubstr("'tailed': prompt_tokens: token id 100"));
  t = good;
  t.response_tokens[1] = -5;
  EXPECT_THAT(refusal(t, plan), HasSubstr("response_tokens: token id -5"));
  t = good;
  t.block_origin = trajectory::BlockOrigin::kResponse;
  EXPECT_THAT(refusal(t, plan), HasSubstr("block_origin"));
  t = good;
  t.prompt_tokens.clear();
  EXPECT_THAT(refusal(t, plan), HasSubstr("prompt_tokens"));
  t = good;
  t.block_size = 5;
  EXPECT_THAT(refusal(t, plan), HasSubstr("block_size"));

  RemaskOptions no_shift = kShift;
  no_shift.logit_shift = 0;
  EXPECT_THAT(refusal(good, plan, no_shift), HasSubstr("no token shift"));
  t = good;
  t.unmask_step[2] = 1;
  EXPECT_THAT(refusal(t, MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0)),
              HasSubstr("has step 0, not 1"));

  MaskPlan other = plan;
  other.blocks.pop_back();
  EXPECT_THAT(refusal(good, other), HasSubstr("plan has 1 blocks"));
  other = plan;
  other.blocks[1].block.begin = 3;
  EXPECT_THAT(refusal(good, other), HasSubstr("another layout"));
  other = plan;
  other.blocks[1].states[1].targets = {4};  // committed at step 1, visible before step 2
  EXPECT_THAT(refusal(good, other), HasSubstr("target 4"));
}

}  // namespace
}  // namespace dtrpo::objective
