#include "common/job/job_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace dtrpo::job {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

JobSpec Spec() {
  JobSpec spec;
  spec.training.pairs_per_batch = 8;
  spec.training.publish_every = 2;
  spec.training.max_staleness = 3;
  spec.training.checkpoint_every = 10;
  spec.training.steps = 1000;
  spec.data.prompts = "prompts.jsonl";
  spec.reward.max_pairs_per_prompt = 2;
  return spec;
}

TEST(JobLimitsTest, PolicyVersionIsAPureFunctionOfTheStep) {
  EXPECT_EQ(PolicyVersion(1, 1), 0);
  EXPECT_EQ(PolicyVersion(5, 1), 4);
  EXPECT_EQ(PolicyVersion(1, 3), 0);
  EXPECT_EQ(PolicyVersion(3, 3), 0);
  EXPECT_EQ(PolicyVersion(4, 3), 1);
}

// Invariant 8, the rule: an item fits while the policy is at most S versions ahead of it.
TEST(JobLimitsTest, ItemsFitUpToTheStalenessBound) {
  EXPECT_TRUE(Fits(/*item_version=*/2, /*step=*/6, 1, /*max_staleness=*/3));  // V = 5
  EXPECT_FALSE(Fits(2, 7, 1, 3));
  EXPECT_TRUE(Fits(9, 7, 1, 0));      // newer than the policy, after a resume
  EXPECT_TRUE(Fits(-1, 1000, 1, 0));  // external
}

TEST(JobLimitsTest, RequiredItemsHoldUnacknowledgedAndEligibleBatches) {
  // 8 * (10 + 2) unacknowledged, 8 * 2 * 4 eligible, 2 of the prompt that is coming in.
  EXPECT_EQ(RequiredReplayItems(Spec()), 96 + 64 + 2);
}

TEST(JobLimitsTest, AdmissionGrowsWithTheVersion) {
  EXPECT_EQ(AdmittedPairs(Spec(), 0), 8 * 2 * 4);
  EXPECT_EQ(AdmittedPairs(Spec(), 5), 8 * 2 * 9);
}

TEST(JobLimitsTest, AdmissionEndsWithTheLastStep) {
  EXPECT_EQ(AdmittedPairs(Spec(), 500), 8 * 1000);
}

TEST(JobLimitsTest, EachBatchOfAMixedJobHasAWholeNumberOfImportedPairs) {
  JobSpec spec = Spec();
  EXPECT_EQ(ExternalPairsPerBatch(spec), 0);
  spec.data.pairs = "pairs.jsonl";
  EXPECT_EQ(ExternalPairsPerBatch(spec), 4);
  spec.data.pairs_share = 0.3;
  EXPECT_EQ(ExternalPairsPerBatch(spec), 2);
  EXPECT_EQ(RequiredReplayItems(spec), 96 + 64 + 2 + 4 * 2);
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
  for (const double share : {0.0, 0.05, 0.95, 1.0}) {
    spec.data.pairs_share = share;
    EXPECT_THAT(std::string(CheckReplayLimits(spec).message()), HasSubstr("data.pairs_share"))
        << share;
  }
  spec.data.prompts = "";
  EXPECT_EQ(ExternalPairsPerBatch(spec), 8);
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
}

TEST(JobLimitsTest, PromptsFillThePlacesOfImportedPairsThatHaveEnded) {
  JobSpec spec = Spec();
  spec.data.pairs = "pairs.jsonl";
  spec.data.pairs_share = 0.25;
  // While they come, 6 of each batch of 8 are of prompts.
  EXPECT_EQ(AdmittedPairs(spec, 0), 6 * 2 * 4);
  // 10 were imported in all: they are in the first batches, and prompts make up the rest.
  EXPECT_EQ(AdmittedPairs(spec, 0, 10), 8 * 2 * 4 - 10);
  EXPECT_EQ(AdmittedPairs(spec, 0, 1000), 6 * 2 * 4);
}

TEST(JobLimitsTest, RefusesAStoreThatCannotHoldTheJob) {
  JobSpec spec = Spec();
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
  spec.replay.max_items = 161;
  EXPECT_THAT(std::string(CheckReplayLimits(spec).message()), HasSubstr("replay.max_items"));
  spec.replay.max_items = 162;
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
  spec.replay.max_bytes = RequiredReplayBytes(spec) - 1;
  EXPECT_THAT(std::string(CheckReplayLimits(spec).message()), HasSubstr("replay.max_bytes"));
}

TEST(JobLimitsTest, RefusesSamplingLimitsThatWouldStopTheJob) {
  JobSpec spec = Spec();
  spec.replay.min_items = int64_t{spec.training.pairs_per_batch} *
                          (int64_t{spec.training.publish_every} * spec.training.max_staleness + 1);
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
  ++spec.replay.min_items;
  EXPECT_THAT(std::string(CheckReplayLimits(spec).message()), HasSubstr("replay.min_items"));
  spec = Spec();
  spec.replay.samples_per_insert = spec.training.max_uses + 0.5;
  EXPECT_THAT(std::string(CheckReplayLimits(spec).message()),
              HasSubstr("replay.samples_per_insert"));
  spec.replay.samples_per_insert = 1;
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
  spec.replay.selector = "prioritised";
  spec.replay.priority = "learner";
  EXPECT_THAT(std::string(CheckReplayLimits(spec).message()), HasSubstr("training.max_uses"));
  spec.training.max_uses = 2;
  spec.replay.samples_per_insert = 0;
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
}

// Each is fine by itself, and such a job would run for ever without a batch.
TEST(JobLimitsTest, NamesTheFieldOfACombinationThatCanNeverMakeABatch) {
  using Change = std::function<void(JobSpec&)>;
  const auto learner = [](JobSpec& s) {
    s.replay.selector = "prioritised";
    s.replay.priority = "learner";
    s.training.max_uses = 3;
  };
  const auto terms = [](std::vector<RewardTerm> terms, double min_gap) {
    return Change([terms, min_gap](JobSpec& s) {
      s.reward.terms = terms;
      s.reward.min_gap = min_gap;
    });
  };
  const std::vector<std::pair<std::string, Change>> refused = {
      {"replay.priority",
       [&](JobSpec& s) {
         learner(s);
         s.replay.samples_per_insert = 1;
       }},
      {"training.max_staleness",
       [](JobSpec& s) {
         s.training.publish_every = 1 << 10;
         s.training.max_staleness = 1 << 15;
         s.replay.max_bytes = int64_t{1} << 50;
       }},
      {"sampling.top_k", [](JobSpec& s) { s.sampling.top_k = 1; }},
      {"sampling.top_k",
       [](JobSpec& s) {
         s.sampling.top_k = 1;
         s.sampling.unmask = "dream:entropy,8";
       }},
      {"reward.min_gap", [](JobSpec& s) { s.reward.min_gap = 1; }},
      {"reward.min_gap", terms({{"exact", 0}}, 0)},
      {"reward.min_gap", terms({{"exact", 2}, {"length:1..9", -0.5}}, 2.5)},
      {"reward.min_gap", terms({{"service:taste", 0}, {"exact", 1}}, 1)},
  };
  for (const auto& [field, change] : refused) {
    JobSpec spec = Spec();
    change(spec);
    const absl::Status status = CheckReplayLimits(spec);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << field;
    EXPECT_THAT(std::string(status.message()), StartsWith(field + ": "));
  }
  const std::vector<Change> accepted = {
      [&](JobSpec& s) {
        learner(s);
        s.replay.samples_per_insert = 1.5;
      },
      [](JobSpec& s) { s.sampling.top_k = 2; },
      [](JobSpec& s) {
        s.sampling.top_k = 1;
        s.sampling.unmask = "random:2";  // by chance in another order
      },
      [](JobSpec& s) {
        s.sampling.top_k = 1;
        s.data.prompts.clear();
        s.data.pairs = "pairs.jsonl";  // nothing is sampled
      },
      [](JobSpec& s) { s.reward.min_gap = 0.99; },
      terms({{"exact", 2}, {"length:1..9", -0.5}}, 2.4),
      terms({{"service:taste", 0.1}}, 100),
  };
  for (const Change& change : accepted) {
    JobSpec spec = Spec();
    change(spec);
    EXPECT_TRUE(CheckReplayLimits(spec).ok()) << CheckReplayLimits(spec);
  }
}

TEST(JobLimitsTest, WhatIsSentAtOnceFitsIntoAMessage) {
  const JobSpec spec = Spec();
  const int64_t pair = RequiredReplayBytes(spec) / RequiredReplayItems(spec);
  EXPECT_TRUE(CheckMessageSizes(spec, 8 * pair).ok());
  const auto refusal = [&](JobSpec of, int64_t bytes) {
    return std::string(CheckMessageSizes(of, bytes).message());
  };
  EXPECT_THAT(refusal(spec, 8 * pair - 1), StartsWith("training.pairs_per_batch: "));
  JobSpec ranks = spec;
  ranks.training.ranks = 3;
  EXPECT_TRUE(CheckMessageSizes(ranks, 3 * pair).ok());
  ranks.training.min_ranks = 2;  // may have to do with so few
  EXPECT_THAT(refusal(ranks, 3 * pair), StartsWith("training.pairs_per_batch: "));
  EXPECT_THAT(refusal(spec, 2 * pair - 1), StartsWith("reward.max_pairs_per_prompt: "));
}

TEST(JobLimitsTest, HugeLimitsDoNotOverflow) {
  JobSpec spec = Spec();
  spec.training.pairs_per_batch = spec.training.publish_every = 1 << 20;
  spec.training.max_staleness = spec.training.checkpoint_every = 1 << 20;
  spec.sampling.max_new_tokens = spec.data.max_prompt_tokens = 1 << 20;
  EXPECT_GT(RequiredReplayItems(spec), int64_t{1} << 59);
  EXPECT_EQ(RequiredReplayBytes(spec), std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace dtrpo::job
