// Jobs of preference pairs: without any rollout service, beside prompts, and with an importer that
// is killed.
#include <signal.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_split.h"
#include "common/base/atomic_file.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

class OfflineJobTest : public LoopTest {
 protected:
  // The toy task's answer as the chosen one: text, a whole conversation, and tokens, in turn.
  static std::string Line(int i) {
    const std::string question = absl::StrCat("pair ", i);
    const std::string wrong = i % 2 == 0 ? "red" : "green";
    if (i % 3 == 0) {
      return nlohmann::json({{"prompt", question}, {"chosen", "blue"}, {"rejected", wrong}}).dump();
    }
    if (i % 3 == 1) {
      const auto conversation = [&](const std::string& answer) {
        return nlohmann::json({{{"role", "user"}, {"content", question}},
                               {{"role", "assistant"}, {"content", answer}}});
      };
      return nlohmann::json({{"prompt", question},
                             {"chosen", conversation("blue")},
                             {"rejected", conversation(wrong)},
                             {"score_chosen", 8}})
          .dump();
    }
    return nlohmann::json({{"prompt_tokens", {65, 66, 67 + i}},
                           {"chosen_tokens", {98, 108, 117, 101}},
                           {"rejected_tokens", {114, 101, 100}}})
        .dump();
  }

  // `count` pairs, and after them four lines that can't be used.
  void WritePairs(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) absl::StrAppend(&lines, Line(i), "\n");
    absl::StrAppend(&lines, "not json\n", R"({"prompt": "a", "chosen": "b", "rejected": "b"})",
                    "\n\n", R"({"prompt": "a", "chosen": "b"})", "\n",
                    R"({"prompt": "a", "chosen": "much too long", "rejected": "b"})", "\n");
    const absl::Status written =
        base::WriteFileAtomically(base::PosixFileSystem(), folder_ + "/pairs.jsonl", lines);
    ASSERT_TRUE(written.ok()) << written;
  }

  v1::JobSpec Job(int64_t steps, double learning_rate = 1e-3) const {
    v1::JobSpec spec = task_.Job("pairs", steps, learning_rate);
    spec.mutable_data()->clear_prompts();
    spec.mutable_data()->clear_heldout();
    spec.mutable_data()->set_pairs(folder_ + "/pairs.jsonl");
    spec.mutable_data()->set_pairs_heldout(0.2);
    spec.mutable_sampling()->set_unmask("steps:2");
    spec.mutable_training()->set_pairs_per_batch(8);
    return spec;
  }

  // Every line in one heap, every use in one state, all as replay counts them, too.
  void ExpectExactPairs(const v1::JobStatus& job, int64_t lines, int64_t consumed) const {
    const v1::PairCounts& pairs = job.pairs();
    EXPECT_EQ(pairs.lines(), lines);
    EXPECT_EQ(pairs.rejected() + pairs.held_out() + pairs.usable(), pairs.lines());
    EXPECT_EQ(pairs.stored(), 0);
    EXPECT_EQ(pairs.consumed(), consumed);
    EXPECT_EQ(pairs.consumed() + pairs.cancelled(), pairs.imported());
  }
};

TEST_F(OfflineJobTest, PairsOfEveryLayoutTrainWithoutARollout) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(WritePairs(90));
  ASSERT_NO_FATAL_FAILURE(StartCluster({.rollouts = 0}));
  EXPECT_EQ(cluster_->members().size(), 4u);
  const auto id = cluster_->Submit(Job(/*steps=*/30));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  ExpectExactPairs(*job, /*lines=*/94, /*consumed=*/30 * 8);
  EXPECT_EQ(job->pairs().cancelled(), 0);
  EXPECT_EQ(ReplayMetric("dtrpo_replay_inserted_pairs_total"), 30 * 8);
  EXPECT_EQ(ReplayMetric("dtrpo_replay_consumed_pairs_total"), 30 * 8);
  ASSERT_EQ(job->steps_size(), 30);
  for (const v1::StepRecord& step : job->steps()) EXPECT_EQ(step.values().at("pairs"), 8);

  // Before training, at the checkpoints of steps 10 and 20, and after.
  ASSERT_EQ(job->pair_evaluations_size(), 4);
  const v1::PairEvaluation& before = job->pair_evaluations(0);
  const v1::PairEvaluation& after = job->pair_evaluations(3);
  EXPECT_EQ(before.step(), 0);
  EXPECT_EQ(after.step(), 30);
  EXPECT_EQ(before.pairs(), job->pairs().held_out());
  EXPECT_NEAR(before.margin(), 0, 1e-4);
  EXPECT_GT(after.margin(), 0.1);
  EXPECT_GT(after.accuracy(), 0.8);
  EXPECT_LT(after.loss(), before.loss());

  EXPECT_EQ(job->pairs().rejected(), 4);
  const auto rejects = base::PosixFileSystem()->Read(job->pairs().rejects());
  ASSERT_TRUE(rejects.ok()) << rejects.status();
  std::map<int64_t, std::string> reasons;
  for (const auto line : absl::StrSplit(*rejects, '\n', absl::SkipEmpty())) {
    const auto reject = nlohmann::json::parse(line);
    reasons[reject["line"]] = reject["reason"];
  }
  ASSERT_EQ(reasons.size(), 4u) << *rejects;
  EXPECT_EQ(reasons[91], "not a JSON object");
  EXPECT_NE(reasons[92].find("equals 'chosen'"), std::string::npos);
  EXPECT_NE(reasons[94].find("'rejected': missing"), std::string::npos) << reasons[94];
  EXPECT_NE(reasons[95].find("too long"), std::string::npos);

  const auto shown = Run({"dtrpoctl", "--address", cluster_->coordinator(), "get", *id});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_NE(shown.output.find("94 lines: "), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("held-out pairs at step 30:"), std::string::npos) << shown.output;
}

// Each learner dies before its 50th insert: the third one finishes.
TEST_F(OfflineJobTest, AKilledImporterImportsNothingTwiceAndLosesNothing) {
  ASSERT_NO_FATAL_FAILURE(MakeTask(/*base_steps=*/1));
  ASSERT_NO_FATAL_FAILURE(WritePairs(60));
  tools::LocalClusterOptions options;
  options.rollouts = 0;
  options.extra_config = [](const std::string& kind) -> std::string {
    return kind == "learner" ? "  faults:\n    points: [\"learner.before_insert_pair:kill@50\"]\n"
                             : "";
  };
  ASSERT_NO_FATAL_FAILURE(StartCluster(options));
  const auto id = cluster_->Submit(Job(/*steps=*/15));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 3);
  EXPECT_EQ(cluster_->Member("learner").restarts, 2);
  ExpectExactPairs(*job, /*lines=*/64, /*consumed=*/15 * 8);
  EXPECT_EQ(job->pairs().imported(), 15 * 8);
  EXPECT_EQ(ReplayMetric("dtrpo_replay_inserted_pairs_total"), 15 * 8);
  EXPECT_EQ(ReplayMetric("dtrpo_replay_consumed_pairs_total"), 15 * 8);
  EXPECT_EQ(ReplayMetric("dtrpo_replay_formed_batches_total"), 15);
}

// The store keeps what it confirmed, and the importer waits for it to come back.
TEST_F(OfflineJobTest, AKilledReplayStoreLosesNoImportedPair) {
  ASSERT_NO_FATAL_FAILURE(MakeTask(/*base_steps=*/1));
  ASSERT_NO_FATAL_FAILURE(WritePairs(60));
  ASSERT_NO_FATAL_FAILURE(StartCluster({.rollouts = 0}));
  const auto id = cluster_->Submit(Job(/*steps=*/40, /*learning_rate=*/1e-4));
  ASSERT_TRUE(id.ok()) << id.status();
  const auto under_way =
      cluster_->Await(*id, "step 5", [](const v1::JobStatus& job) { return job.step() >= 5; });
  ASSERT_TRUE(under_way.ok()) << under_way.status();
  cluster_->Signal("replay", SIGKILL);
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_EQ(job->attempt(), 1);
  ExpectExactPairs(*job, /*lines=*/64, /*consumed=*/40 * 8);
  EXPECT_EQ(job->pairs().imported(), 40 * 8);
}

TEST_F(OfflineJobTest, EpochsEndTheJobWithAShortBatch) {
  ASSERT_NO_FATAL_FAILURE(MakeTask(/*base_steps=*/1));
  ASSERT_NO_FATAL_FAILURE(WritePairs(30));
  ASSERT_NO_FATAL_FAILURE(StartCluster({.rollouts = 0}));
  v1::JobSpec spec = Job(/*steps=*/1000);
  spec.mutable_data()->set_epochs(2);
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  EXPECT_NE(job->reason().find("the data ended at step"), std::string::npos) << job->reason();
  EXPECT_TRUE(job->pairs().complete());
  ExpectExactPairs(*job, /*lines=*/34, /*consumed=*/2 * job->pairs().usable());
  EXPECT_EQ(job->step(), (2 * job->pairs().usable() + 7) / 8);
}

TEST_F(OfflineJobTest, AMixedJobKeepsTheShareInEachBatchAndFillsUpWhenThePairsEnd) {
  ASSERT_NO_FATAL_FAILURE(MakeTask());
  ASSERT_NO_FATAL_FAILURE(WritePairs(30));
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  v1::JobSpec spec = task_.Job("mixed", /*steps=*/20, /*learning_rate=*/1e-4);
  spec.mutable_data()->set_pairs(folder_ + "/pairs.jsonl");
  spec.mutable_data()->set_pairs_share(0.25);
  const auto id = cluster_->Submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  const auto job = cluster_->AwaitEnd(*id);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
  ASSERT_EQ(job->steps_size(), 20);
  for (const v1::StepRecord& step : job->steps()) {
    EXPECT_EQ(step.values().at("pairs"), 16) << step.step();
    EXPECT_EQ(step.values().at("external_pairs"), 4) << step.step();
  }
  ExpectExactPairs(*job, /*lines=*/34, /*consumed=*/20 * 4);
  EXPECT_EQ(ReplayMetric("dtrpo_replay_consumed_pairs_total"), 20 * 16);
  const v1::PromptCounts& prompts = job->prompts();
  EXPECT_EQ(prompts.consumed() + prompts.no_pair() + prompts.failed() + prompts.cancelled(),
            prompts.issued());

  // Once through a short file: the batches after that are of prompts alone.
  ASSERT_NO_FATAL_FAILURE(WritePairs(10));
  spec.set_name("ending");
  spec.set_output(folder_ + "/ending");
  spec.mutable_training()->set_steps(12);
  spec.mutable_data()->set_epochs(1);
  const auto ending = cluster_->Submit(spec);
  ASSERT_TRUE(ending.ok()) << ending.status();
  const auto ended = cluster_->AwaitEnd(*ending);
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(ended->state(), v1::SUCCEEDED) << ended->reason();
  EXPECT_TRUE(ended->pairs().complete());
  ExpectExactPairs(*ended, /*lines=*/14, /*consumed=*/10);
  double of_file = 0;
  for (const v1::StepRecord& step : ended->steps()) {
    const double now = step.values().at("external_pairs");
    EXPECT_EQ(now, std::min(4.0, 10 - of_file)) << step.step();
    of_file += now;
  }
  EXPECT_EQ(of_file, 10);
}

}  // namespace
}  // namespace dtrpo
