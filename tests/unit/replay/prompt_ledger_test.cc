#include "services/replay/prompt_ledger.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::replay {
namespace {

using Verdict = PromptLedger::Verdict;

TEST(PromptLedgerTest, AnEvictedPromptMayBeStoredWithTheNextAttemptOnly) {
  PromptLedger ledger;
  ledger.Store({0, 1, 0}, 2);
  ledger.ItemGone({0, 1, 0});
  EXPECT_EQ(ledger.Judge({0, 1, 1}), Verdict::kNotEvicted);  // one is left
  ledger.ItemGone({0, 1, 0});
  EXPECT_EQ(ledger.Judge({0, 1, 0}), Verdict::kDuplicate);
  EXPECT_EQ(ledger.Judge({0, 1, 1}), Verdict::kNew);
  EXPECT_EQ(ledger.Judge({0, 1, 2}), Verdict::kNotEvicted);
  ledger.NoPair({0, 1, 1});
  EXPECT_EQ(ledger.Judge({0, 1, 2}), Verdict::kNotEvicted);
  EXPECT_EQ(ledger.EventsAfter(0, 10).back().kind, PromptEvent::Kind::kNoPair);
}

TEST(PromptLedgerTest, ForgottenEpochsAreDuplicatesForEver) {
  PromptLedger ledger;
  ledger.Store({0, 1, 0}, 1);
  ledger.ItemUsed({0, 1, 0});
  ledger.ItemGone({0, 1, 0});
  ledger.NoPair({0, 2, 0});
  ledger.ForgetEpochsBelow(1);
  EXPECT_TRUE(ledger.prompts().empty());
  EXPECT_EQ(ledger.Judge({0, 1, 0}), Verdict::kDuplicate);
  EXPECT_EQ(ledger.Judge({0, 77, 0}), Verdict::kDuplicate);
  EXPECT_EQ(ledger.Judge({1, 1, 0}), Verdict::kNew);
  ledger.ForgetEpochsBelow(0);
  EXPECT_EQ(ledger.forgotten_below_epoch(), 1);
}

TEST(PromptLedgerTest, ALivePromptOfAForgottenEpochEndsBeforeItGoes) {
  PromptLedger ledger;
  ledger.Store({0, 1, 0}, 1);
  ledger.ForgetEpochsBelow(5);
  EXPECT_EQ(ledger.prompts().size(), 1u);
  ledger.ItemUsed({0, 1, 0});
  ledger.ItemGone({0, 1, 0});
  EXPECT_TRUE(ledger.prompts().empty());
  EXPECT_EQ(ledger.EventsAfter(0, 10).back().kind, PromptEvent::Kind::kConsumed);
}

TEST(PromptLedgerDeathTest, AnItemOfAnUnknownPromptIsABrokenInvariant) {
  PromptLedger ledger;
  EXPECT_DEATH(ledger.ItemGone({0, 1, 0}), "isn't live");
}

}  // namespace
}  // namespace dtrpo::replay
