#include "common/diffusion/cache_slots.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace dtrpo::diffusion {
namespace {

using Tokens = std::vector<int32_t>;

TEST(CacheSlotsTest, SlabsOfSequencesDoNotOverlap) {
  CacheSlots slots(3, 4, 8);
  EXPECT_EQ(slots.capacity_rows(), 36);
  std::set<int64_t> rows;
  for (int32_t i = 0; i < 3; ++i) {
    const CacheSlots::Slot slot = slots.Acquire(Tokens{i, i, i, i});
    for (int64_t r = 0; r < 4; ++r) rows.insert(slots.prompt_begin(slot.prompt) + r);
    for (int64_t r = 0; r < 8; ++r) rows.insert(slots.own_begin(slot.own) + r);
  }
  EXPECT_FALSE(slots.HasFree());
  EXPECT_EQ(rows.size(), 36u);
  EXPECT_EQ(*rows.begin(), 0);
  EXPECT_EQ(*rows.rbegin(), 35);
}

TEST(CacheSlotsTest, SamplesOfOnePromptShareItsRows) {
  CacheSlots slots(2, 2, 4);
  const CacheSlots::Slot a = slots.Acquire(Tokens{1, 2});
  slots.set_filled_rows(a.prompt, 2);
  const CacheSlots::Slot b = slots.Acquire(Tokens{1, 2});
  EXPECT_EQ(a.prompt, b.prompt);
  EXPECT_NE(a.own, b.own);
  EXPECT_TRUE(slots.IsFilled(b));
}

TEST(CacheSlotsTest, PromptsWithoutAWholeBlockNeedNoSharedRows) {
  CacheSlots slots(1, 0, 4);
  const CacheSlots::Slot slot = slots.Acquire({});
  EXPECT_EQ(slot.prompt, -1);
  EXPECT_TRUE(slots.IsFilled(slot));
  slots.Release(slot);
  EXPECT_TRUE(slots.HasFree());
}

TEST(CacheSlotsTest, AnUnusedPromptKeepsItsRowsUntilTheyAreNeeded) {
  CacheSlots slots(2, 1, 4);
  const CacheSlots::Slot a = slots.Acquire(Tokens{1});
  slots.set_filled_rows(a.prompt, 1);
  const CacheSlots::Slot b = slots.Acquire(Tokens{2});
  slots.set_filled_rows(b.prompt, 1);
  slots.Release(a);
  slots.Release(b);

  EXPECT_TRUE(slots.IsFilled(slots.Acquire(Tokens{2})));
  // Prompt 1 has been unused for the longest time and gives its place to prompt 3.
  const CacheSlots::Slot c = slots.Acquire(Tokens{3});
  EXPECT_EQ(c.prompt, a.prompt);
  EXPECT_FALSE(slots.IsFilled(c));
}

}  // namespace
}  // namespace dtrpo::diffusion
