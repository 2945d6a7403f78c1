#include "common/job/job_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace dtrpo::job {
namespace {

using ::testing::HasSubstr;

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
  EXPECT_TRUE(CheckReplayLimits(spec).ok());
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
