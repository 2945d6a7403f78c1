#include "services/coordinator/pair_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "common/base/philox.h"
#include "common/base/retry_after.h"

namespace dtrpo::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

v1::PairCounts File(int64_t usable, int64_t rejected = 2, int64_t held_out = 3) {
  v1::PairCounts file;
  file.set_lines(usable + rejected + held_out);
  file.set_usable(usable);
  file.set_rejected(rejected);
  file.set_held_out(held_out);
  return file;
}

v1::ReportPairsResponse Known(const PairLedger& ledger) {
  v1::ReportPairsResponse response;
  ledger.Fill(&response);
  return response;
}

TEST(PairLedgerTest, AUseIsStoredAndThenConsumed) {
  PairLedger ledger;
  ASSERT_TRUE(ledger.Begin(File(10), "a").ok());
  for (int i = 0; i < 4; ++i) ledger.OnStored(0, i);
  ledger.OnConsumed(0, 0);
  ledger.OnConsumed(0, 2);
  const v1::PairCounts counts = ledger.counts();
  EXPECT_EQ(counts.lines(), 15);
  EXPECT_EQ(counts.imported(), 4);
  EXPECT_EQ(counts.stored(), 2);
  EXPECT_EQ(counts.consumed(), 2);
  EXPECT_FALSE(counts.complete());
  EXPECT_EQ(Known(ledger).first_use(), 1);
  EXPECT_THAT(Known(ledger).known_uses(), ElementsAre(2, 1, 3));
}

TEST(PairLedgerTest, EpochsFollowEachOtherAndOldOnesMayBeForgotten) {
  PairLedger ledger;
  ASSERT_TRUE(ledger.Begin(File(2), "a").ok());
  EXPECT_EQ(ledger.OldestLiveEpoch(), 0);
  for (int i = 0; i < 2; ++i) {
    ledger.OnStored(0, i);
    ledger.OnConsumed(0, i);
  }
  ledger.OnStored(1, 0);
  EXPECT_EQ(ledger.OldestLiveEpoch(), 1);
  EXPECT_EQ(Known(ledger).first_use(), 2);
  EXPECT_THAT(Known(ledger).known_uses(), ElementsAre(2));
}

TEST(PairLedgerTest, ALostStoreTakesWhatTheCheckpointDoesNotContain) {
  PairLedger ledger;
  ASSERT_TRUE(ledger.Begin(File(10), "a").ok());
  for (int i = 0; i < 8; ++i) ledger.OnStored(0, i);
  for (int i = 0; i < 2; ++i) ledger.OnConsumed(0, i);
  ledger.AllImported();
  ledger.OnStoreLost(/*contained=*/4);
  EXPECT_FALSE(ledger.all_imported());
  EXPECT_EQ(ledger.counts().consumed(), 4);
  EXPECT_EQ(ledger.counts().stored(), 0);
  EXPECT_EQ(Known(ledger).first_use(), 4);
  EXPECT_THAT(Known(ledger).known_uses(), IsEmpty());
}

TEST(PairLedgerTest, AnotherFileOrCountsThatDoNotAddUpAreRefused) {
  PairLedger ledger;
  v1::PairCounts wrong = File(10);
  wrong.set_lines(11);
  EXPECT_TRUE(absl::IsInvalidArgument(ledger.Begin(wrong, "a")));
  EXPECT_TRUE(absl::IsInvalidArgument(ledger.Begin(File(0), "a")));
  ASSERT_TRUE(ledger.Begin(File(10), "a").ok());
  EXPECT_TRUE(ledger.Begin(File(10), "a").ok());
  const absl::Status other = ledger.Begin(File(10), "b");
  EXPECT_TRUE(absl::IsFailedPrecondition(other));
  EXPECT_EQ(base::GetReason(other), kPairsChanged);
}

TEST(PairLedgerTest, WhatIsLeftAtTheEndIsCancelled) {
  PairLedger ledger;
  ASSERT_TRUE(ledger.Begin(File(10), "a").ok());
  for (int i = 0; i < 5; ++i) ledger.OnStored(0, i);
  ledger.OnConsumed(0, 0);
  ledger.OnEvicted(0, 1);
  ledger.CancelRest();
  EXPECT_EQ(ledger.counts().cancelled(), 4);
  EXPECT_EQ(ledger.counts().imported(), 5);
}

// Whatever the events' order over the uses, and however often the store is lost: the sum holds, no
// use is final twice, and an importer is told of exactly the stored and final ones.
TEST(PairLedgerTest, EachUseIsInExactlyOneStateWhateverHappens) {
  base::CounterRng rng(/*seed=*/7, /*stream=*/0);
  PairLedger ledger;
  constexpr int64_t kUsable = 7;
  ASSERT_TRUE(ledger.Begin(File(kUsable), "a").ok());
  std::set<int64_t> stored, final;
  for (int i = 0; i < 3000; ++i) {
    const int64_t use = static_cast<int64_t>(rng.UniformInt(60));
    const uint64_t what = rng.UniformInt(100);
    if (what == 0) {
      ledger.OnStoreLost(0);
      stored.clear();
    } else if (what < 60) {
      ledger.OnStored(use / kUsable, use % kUsable);
      if (final.count(use) == 0) stored.insert(use);
    } else if (stored.count(use) > 0) {
      if (what % 2 == 0) ledger.OnConsumed(use / kUsable, use % kUsable);
      if (what % 2 == 1) ledger.OnEvicted(use / kUsable, use % kUsable);
      stored.erase(use);
      final.insert(use);
    }
    const v1::PairCounts counts = ledger.counts();
    ASSERT_EQ(counts.stored(), static_cast<int64_t>(stored.size()));
    ASSERT_EQ(counts.consumed() + counts.cancelled(), static_cast<int64_t>(final.size()));
    ASSERT_EQ(counts.imported(), counts.stored() + counts.consumed() + counts.cancelled());
    const v1::ReportPairsResponse known = Known(ledger);
    std::set<int64_t> told(known.known_uses().begin(), known.known_uses().end());
    for (int64_t u = 0; u < known.first_use(); ++u) told.insert(u);
    std::set<int64_t> expected = stored;
    expected.insert(final.begin(), final.end());
    ASSERT_EQ(told, expected);
  }
}

}  // namespace
}  // namespace dtrpo::coordinator
