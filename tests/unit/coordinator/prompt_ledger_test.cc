#include "services/coordinator/prompt_ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "services/coordinator/kept_state.h"
#include "services/coordinator/prompt_order.h"

namespace dtrpo::coordinator {
namespace {

constexpr int64_t kAll = 1'000'000;  // pairs: no admission limit
const absl::Time kStart = absl::FromUnixSeconds(1000);

PromptLedger::Options SmallOptions() {
  return {.prompts = 4,
          .epochs = 2,
          .shuffle = false,
          .seed = 7,
          .max_pairs_per_prompt = 2,
          .lease = absl::Seconds(10),
          .max_failures = 2};
}

TEST(PromptOrderTest, IsAPermutationThatDependsOnSeedAndEpochOnly) {
  const std::vector<int64_t> order = PromptOrder(100, true, 7, 0);
  EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 100u);
  EXPECT_EQ(order, PromptOrder(100, true, 7, 0));
  EXPECT_NE(order, PromptOrder(100, true, 7, 1));
  EXPECT_NE(order, PromptOrder(100, true, 8, 0));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()) == false);
}

TEST(PromptOrderTest, UnshuffledIsTheOrderOfTheFile) {
  EXPECT_EQ(PromptOrder(3, false, 7, 5), (std::vector<int64_t>{0, 1, 2}));
}

TEST(PromptLedgerTest, HandsOutEachPromptOfEachEpochOnce) {
  PromptLedger ledger(SmallOptions());
  std::set<PromptKey> keys;
  for (const TrainLease& lease : ledger.Lease(kStart, "rollout-1", 100, kAll)) {
    EXPECT_TRUE(keys.insert(lease.key).second);
    EXPECT_EQ(lease.attempt, 0);
    EXPECT_EQ(lease.expires, kStart + absl::Seconds(10));
  }
  EXPECT_EQ(keys.size(), 8u);  // 4 prompts, 2 epochs
  EXPECT_TRUE(ledger.Lease(kStart, "rollout-1", 100, kAll).empty());
}

TEST(PromptLedgerTest, AdmitsAPromptWhileThereIsRoomForOneMorePair) {
  PromptLedger ledger(SmallOptions());
  // Each lease may bring 2 pairs: 0 -> 2 -> 4, and 4 is not below 3.
  EXPECT_EQ(ledger.Lease(kStart, "rollout-1", 100, 3).size(), 2u);
  EXPECT_EQ(ledger.UsedPairs(), 4);
  EXPECT_TRUE(ledger.Lease(kStart, "rollout-1", 100, 4).empty());
  EXPECT_EQ(ledger.Lease(kStart, "rollout-1", 100, 5).size(), 1u);
}

TEST(PromptLedgerTest, StoredPairsReplaceTheEstimateAndStayCountedWhenConsumed) {
  PromptLedger ledger(SmallOptions());
  const TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  EXPECT_EQ(ledger.UsedPairs(), 2);
  ledger.OnStored(lease.key, 0, 1);
  EXPECT_EQ(ledger.UsedPairs(), 1);
  ledger.OnConsumed(lease.key, 0, 1);
  EXPECT_EQ(ledger.UsedPairs(), 1);
  EXPECT_EQ(ledger.counts().consumed, 1);
}

TEST(PromptLedgerTest, PairsThatWereEvictedBesideAUsedOneStopCounting) {
  PromptLedger ledger(SmallOptions());
  const TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.OnStored(lease.key, 0, 2);
  ledger.OnConsumed(lease.key, 0, 2);  // replay names the pairs stored: one of them was evicted
  EXPECT_EQ(ledger.UsedPairs(), 2);
  ledger.OnEvictedPairs(1);
  EXPECT_EQ(ledger.UsedPairs(), 1);
}

TEST(PromptLedgerTest, AnExpiredLeaseIsLeasedAgainWithTheSameAttempt) {
  PromptLedger ledger(SmallOptions());
  const TrainLease first = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  EXPECT_EQ(ledger.Expire(kStart + absl::Seconds(9)), 0);
  EXPECT_EQ(ledger.Expire(kStart + absl::Seconds(10)), 1);
  const TrainLease again = ledger.Lease(kStart + absl::Seconds(10), "rollout-2", 1, kAll).front();
  EXPECT_EQ(again.key, first.key);
  EXPECT_EQ(again.attempt, first.attempt);
  EXPECT_NE(again.lease_id, first.lease_id);
}

TEST(PromptLedgerTest, AWorkerThatFinishesAfterItsLeaseRanOutStillCounts) {
  PromptLedger ledger(SmallOptions());
  const TrainLease first = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.Expire(kStart + absl::Minutes(1));
  const TrainLease again = ledger.Lease(kStart + absl::Minutes(1), "rollout-2", 1, kAll).front();
  ledger.ReportStored(first.key, first.attempt);
  EXPECT_EQ(ledger.counts().stored, 1);
  EXPECT_EQ(ledger.counts().leased, 0);
  // The second worker's insert was a duplicate; its report changes nothing.
  ledger.ReportStored(again.key, again.attempt);
  EXPECT_EQ(ledger.counts().stored, 1);
}

TEST(PromptLedgerTest, AGoneWorkersLeasesAreFreeAtOnce) {
  PromptLedger ledger(SmallOptions());
  ledger.Lease(kStart, "rollout-1", 2, kAll);
  ledger.Lease(kStart, "rollout-2", 1, kAll);
  EXPECT_EQ(ledger.ReleaseWorker("rollout-1"), 2);
  EXPECT_EQ(ledger.counts().waiting, 2);
  EXPECT_EQ(ledger.counts().leased, 1);
}

TEST(PromptLedgerTest, OnlyAnEvictionRaisesTheAttempt) {
  PromptLedger ledger(SmallOptions());
  const TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.OnStored(lease.key, 0, 2);
  ledger.OnEvicted(lease.key, 0);
  EXPECT_EQ(ledger.counts().evictions, 1);
  const TrainLease again = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  EXPECT_EQ(again.key, lease.key);
  EXPECT_EQ(again.attempt, 1);
  // A late report of the attempt before says nothing about this one.
  ledger.ReportNoPair(lease.key, 0);
  ledger.ReportStored(lease.key, 0);
  EXPECT_EQ(ledger.counts().leased, 1);
}

TEST(PromptLedgerTest, APromptThatFailsTooOftenIsFinal) {
  PromptLedger ledger(SmallOptions());
  TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.ReportFailed(lease.key, lease.lease_id);
  EXPECT_EQ(ledger.counts().waiting, 1);
  lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.ReportFailed(lease.key, lease.lease_id);
  EXPECT_EQ(ledger.counts().failed, 1);
  EXPECT_EQ(ledger.counts().waiting, 0);
}

TEST(PromptLedgerTest, ARepeatedFailureReportCountsOnce) {
  PromptLedger ledger(SmallOptions());
  const TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.ReportFailed(lease.key, lease.lease_id);
  ledger.ReportFailed(lease.key, lease.lease_id);
  EXPECT_EQ(ledger.counts().failed, 0);
}

TEST(PromptLedgerTest, AReturnedPromptIsLeasedAgainAndNotCountedAsAFailure) {
  PromptLedger ledger(SmallOptions());
  for (int i = 0; i < 5; ++i) {
    const TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
    EXPECT_EQ(lease.key, (PromptKey{0, 0}));
    ledger.ReportReturned(lease.key, lease.lease_id);
  }
  EXPECT_EQ(ledger.counts().failed, 0);
}

TEST(PromptLedgerTest, CountsPromptsWithoutAPairInARow) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 4, kAll);
  ledger.OnNoPair(leases[0].key, 0);
  ledger.OnNoPair(leases[1].key, 0);
  EXPECT_EQ(ledger.prompts_without_pair(), 2);
  ledger.ReportStored(leases[2].key, 0);
  EXPECT_EQ(ledger.prompts_without_pair(), 0);
}

TEST(PromptLedgerTest, IsExhaustedOnceEverythingIsHandedOutAndNobodyIsAtWork) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 100, kAll);
  EXPECT_FALSE(ledger.Exhausted());
  for (size_t i = 0; i + 1 < leases.size(); ++i) ledger.OnNoPair(leases[i].key, 0);
  EXPECT_FALSE(ledger.Exhausted());
  ledger.OnStored(leases.back().key, 0, 1);
  EXPECT_TRUE(ledger.Exhausted());
}

TEST(PromptLedgerTest, AfterTheEndOfDataAnEvictedPromptIsCancelled) {
  PromptLedger ledger(SmallOptions());
  const TrainLease lease = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  ledger.OnStored(lease.key, 0, 2);
  ledger.Close();
  ledger.OnEvicted(lease.key, 0);
  EXPECT_EQ(ledger.counts().cancelled, 1);
  EXPECT_TRUE(ledger.Lease(kStart, "rollout-1", 1, kAll).empty());
}

TEST(PromptLedgerTest, TheEndOfTheJobCancelsWhateverIsLive) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 3, kAll);
  ledger.OnStored(leases[0].key, 0, 1);
  ledger.ReportReturned(leases[1].key, leases[1].lease_id);
  ledger.CancelRest();
  const LedgerCounts counts = ledger.counts();
  EXPECT_EQ(counts.cancelled, 3);
  EXPECT_EQ(counts.issued, 3);
  ledger.OnConsumed(leases[0].key, 0, 1);  // too late: it is final
  EXPECT_EQ(ledger.counts().consumed, 0);
}

TEST(PromptLedgerTest, WhatALostStoreHeldIsLeasedAgainUnderTheSameAttempt) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 3, kAll);
  ledger.OnStored(leases[0].key, 0, 2);
  ledger.OnStored(leases[1].key, 0, 2);
  ledger.OnConsumed(leases[1].key, 0, 2);
  ledger.OnEvictedPairs(1);
  EXPECT_EQ(ledger.UsedPairs(), 2 + 2 + 2 - 1);
  ledger.OnStoreLost(kAll);
  EXPECT_EQ(ledger.UsedPairs(), 2 + 1);  // in flight, and consumed without the evicted one
  ledger.OnEvictedPairs(0);              // the new store counts from zero
  EXPECT_EQ(ledger.UsedPairs(), 2 + 1);
  const TrainLease again = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  EXPECT_EQ(again.key, leases[0].key);
  EXPECT_EQ(again.attempt, 0);
  EXPECT_EQ(ledger.counts().consumed, 1);
}

TEST(PromptLedgerTest, AReportFromBeforeTheLossDoesntCountAsStoredInTheNewStore) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 2, kAll);
  ledger.OnStoreLost(kAll);
  ledger.ReportStored(leases[0].key, 0);  // its insert went to the lost store
  EXPECT_EQ(ledger.UsedPairs(), 2);       // the other one, in flight
  const TrainLease again = ledger.Lease(kStart, "rollout-1", 1, kAll).front();
  EXPECT_EQ(again.key, leases[0].key);
  ledger.ReportStored(again.key, 0);
  ledger.OnStored(leases[1].key, 0, 1);  // the new store's own word
  EXPECT_EQ(ledger.UsedPairs(), 2 + 1);
}

TEST(PromptLedgerTest, ALostStoreLeavesNoMoreConsumedThanTheCheckpointHolds) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 2, kAll);
  ledger.OnConsumed(leases[0].key, 0, 2);
  ledger.OnConsumed(leases[1].key, 0, 2);
  // Two batches of one pair: the other two were evicted, which nobody told before the loss.
  ledger.OnStoreLost(/*checkpoint_pairs=*/2);
  EXPECT_EQ(ledger.UsedPairs(), 2);
}

TEST(PromptLedgerTest, EpochsBelowTheOldestLivePromptCanBeForgotten) {
  PromptLedger ledger(SmallOptions());
  const auto leases = ledger.Lease(kStart, "rollout-1", 5, kAll);
  EXPECT_EQ(ledger.OldestLiveEpoch(), 0);
  for (int i = 0; i < 4; ++i) ledger.OnNoPair(leases[i].key, 0);
  EXPECT_EQ(ledger.OldestLiveEpoch(), 1);
}

PromptLedger::Options FilteringOptions() {
  PromptLedger::Options options = SmallOptions();
  options.epochs = 3;
  options.pass_rates = {.min_rate = 0.2, .max_rate = 0.9};
  return options;
}

// Leases what is left of the epoch at hand and ends it without pairs; the prompts in order.
std::vector<int64_t> RunEpoch(PromptLedger& ledger, const std::map<int64_t, int64_t>& right_of_8,
                              int max) {
  std::vector<int64_t> prompts;
  for (const TrainLease& lease : ledger.Lease(kStart, "rollout-1", max, kAll)) {
    prompts.push_back(lease.key.prompt);
    if (const auto right = right_of_8.find(lease.key.prompt); right != right_of_8.end()) {
      ledger.CountAnswers(lease.key, right->second, 8);
    }
    ledger.ReportNoPair(lease.key, 0);
  }
  return prompts;
}

TEST(PassRateTest, WhatIsNearlyAlwaysRightOrWrongIsLeftOutOfTheNextEpochs) {
  PromptLedger ledger(FilteringOptions());
  EXPECT_EQ(RunEpoch(ledger, {{0, 0}, {1, 8}, {2, 4}}, 4), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(ledger.counts().left_out, 0);
  // Prompt 3 was never judged. Rates are over all epochs: 2 has 4 of 8, then 4 of 16.
  EXPECT_EQ(RunEpoch(ledger, {{2, 0}, {3, 0}}, 2), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(ledger.counts().left_out, 2);
  EXPECT_EQ(RunEpoch(ledger, {}, 4), (std::vector<int64_t>{2}));
  EXPECT_EQ(ledger.counts().left_out, 5);
  EXPECT_EQ(ledger.counts().issued, 7);
  EXPECT_TRUE(ledger.Exhausted());
}

TEST(PassRateTest, OnceEverythingIsLeftOutThereIsNoMore) {
  PromptLedger ledger(FilteringOptions());
  EXPECT_EQ(RunEpoch(ledger, {{0, 0}, {1, 8}, {2, 0}, {3, 8}}, 4).size(), 4u);
  EXPECT_FALSE(ledger.Exhausted());
  EXPECT_TRUE(RunEpoch(ledger, {}, 4).empty());
  EXPECT_TRUE(ledger.Exhausted());
  EXPECT_EQ(ledger.counts().left_out, 4);
}

TEST(PassRateTest, NothingIsLeftOutUnlessTheJobAsksForIt) {
  PromptLedger ledger(SmallOptions());
  EXPECT_EQ(RunEpoch(ledger, {{0, 0}, {1, 8}, {2, 0}, {3, 8}}, 4).size(), 4u);
  EXPECT_EQ(RunEpoch(ledger, {}, 4).size(), 4u);
}

void Restore(PromptLedger& from, PromptLedger& to) {
  KeptWriter writer;
  writer(from);
  const std::string bytes = writer.Take();
  KeptReader reader(bytes);
  reader(to);
}

TEST(PassRateTest, ARestoredLedgerLeavesOutTheSamePrompts) {
  PromptLedger ledger(FilteringOptions());
  RunEpoch(ledger, {{0, 0}, {1, 8}, {2, 4}}, 4);
  RunEpoch(ledger, {}, 1);  // in the middle of the second epoch
  PromptLedger restored(FilteringOptions());
  Restore(ledger, restored);
  for (PromptLedger* one : {&ledger, &restored}) {
    EXPECT_EQ(RunEpoch(*one, {}, 4), (std::vector<int64_t>{3, 2, 3}));
    EXPECT_EQ(one->counts().left_out, 4);
  }
}

constexpr int64_t kFocusPrompts = 40;

PromptLedger::Options FocusedOptions(int32_t focus, int64_t epochs) {
  PromptLedger::Options options = SmallOptions();
  options.prompts = kFocusPrompts;
  options.epochs = epochs;
  options.shuffle = true;
  options.pass_rates = {.focus = focus, .seed = 11};
  return options;
}

// The first epoch: 20 of the 40 prompts were judged, prompt i is right in i of 20 answers.
void JudgeFirstEpoch(PromptLedger& ledger) {
  for (const TrainLease& lease : ledger.Lease(kStart, "rollout-1", kFocusPrompts, kAll)) {
    if (lease.key.prompt < 20) ledger.CountAnswers(lease.key, lease.key.prompt, 20);
    ledger.ReportNoPair(lease.key, 0);
  }
}

// In how many of the epochs 1 .. each prompt is; none is ever there twice.
std::vector<int64_t> Visits(PromptLedger& ledger) {
  std::vector<int64_t> visits(kFocusPrompts);
  std::set<PromptKey> keys;
  for (const TrainLease& lease : ledger.Lease(kStart, "rollout-1", 1'000'000, kAll)) {
    EXPECT_TRUE(keys.insert(lease.key).second);
    ++visits[lease.key.prompt];
  }
  return visits;
}

TEST(PassRateTest, PromptsAreSeenAgainInProportionToTheirWeight) {
  for (const int32_t focus : {1, 3}) {
    constexpr int64_t kEpochs = 2001;
    PromptLedger ledger(FocusedOptions(focus, kEpochs));
    JudgeFirstEpoch(ledger);
    const std::vector<int64_t> visits = Visits(ledger);
    double chi_square = 0;
    int64_t left_out = 0;
    int degrees = 0;
    for (int64_t prompt = 0; prompt < kFocusPrompts; ++prompt) {
      const int64_t epochs = kEpochs - 1;
      left_out += epochs - visits[prompt];
      // Half right, or never judged: in each epoch.
      if (prompt >= 20 || prompt == 10) {
        EXPECT_EQ(visits[prompt], epochs) << prompt;
        continue;
      }
      const double rate = (static_cast<double>(prompt) + 1) / 22;
      const double chance = std::pow(4 * rate * (1 - rate), focus);
      const double expected = chance * epochs;
      const double off = static_cast<double>(visits[prompt]) - expected;
      chi_square += off * off / (expected * (1 - chance));
      ++degrees;
    }
    EXPECT_EQ(degrees, 19);
    EXPECT_LT(chi_square, 36.2) << "focus " << focus << ": seen once in a hundred seeds";
    EXPECT_GT(chi_square, 7.6) << "focus " << focus << ": nor are the visits evened out";
    EXPECT_EQ(ledger.counts().left_out, left_out);
    EXPECT_EQ(ledger.counts().issued + left_out, kEpochs * kFocusPrompts);
  }
}

TEST(PassRateTest, AmongPromptsThatAreAllEquallyEasyNoneIsLeftOut) {
  PromptLedger ledger(FocusedOptions(/*focus=*/8, /*epochs=*/3));
  for (const TrainLease& lease : ledger.Lease(kStart, "rollout-1", kFocusPrompts, kAll)) {
    ledger.CountAnswers(lease.key, 1000, 1000);
  }
  EXPECT_EQ(Visits(ledger), std::vector<int64_t>(kFocusPrompts, 2));
}

TEST(PassRateTest, WhoIsOutsideOfTheRatesDoesntWeighAmongThoseInside) {
  PromptLedger::Options options = FocusedOptions(/*focus=*/1, /*epochs=*/101);
  options.pass_rates.max_rate = 0.3;
  PromptLedger ledger(options);
  for (const TrainLease& lease : ledger.Lease(kStart, "rollout-1", kFocusPrompts, kAll)) {
    ledger.CountAnswers(lease.key, lease.key.prompt == 0 ? 6 : 10, 20);
  }
  std::vector<int64_t> only_the_first(kFocusPrompts, 0);
  only_the_first[0] = 100;
  EXPECT_EQ(Visits(ledger), only_the_first);
}

TEST(PassRateTest, ARestoredLedgerDrawsTheSamePrompts) {
  PromptLedger ledger(FocusedOptions(/*focus=*/2, /*epochs=*/50));
  JudgeFirstEpoch(ledger);
  ledger.Lease(kStart, "rollout-1", 10, kAll);  // in the middle of the second epoch
  PromptLedger restored(FocusedOptions(/*focus=*/2, /*epochs=*/50));
  Restore(ledger, restored);
  EXPECT_EQ(Visits(restored), Visits(ledger));
  EXPECT_GT(restored.counts().left_out, 0);
  EXPECT_EQ(restored.counts().left_out, ledger.counts().left_out);
}

}  // namespace
}  // namespace dtrpo::coordinator
