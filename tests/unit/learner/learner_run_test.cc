#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/atomic_file.h"
#include "common/base/retry_after.h"
#include "common/checkpoint/retention.h"
#include "common/training/training_state.h"
#include "tests/unit/learner/learner_run_fixture.h"

namespace dtrpo::learner {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(LearnerRunTest, PublishesReportsCheckpointsAndAcknowledgesInThisOrder) {
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(peers_->calls(),
              ElementsAre("version 0 at step 0", "published 0",                         //
                          "step 1 at version 0",                                        //
                          "version 1 at step 2", "published 1", "step 2 at version 1",  //
                          "step 3 at version 1", "checkpoint 3", "acknowledge 3",       //
                          "version 2 at step 4", "published 2", "step 4 at version 2",  //
                          "step 5 at version 2",                                        //
                          "version 3 at step 5", "published 3",  // an interval cut short
                          "checkpoint 5", "acknowledge 5", "finished 5: all steps made"));
}

TEST_F(LearnerRunTest, ALastIntervalThatIsWholeGivesNoVersionMore) {
  spec_.training.steps = 4;
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(peers_->calls(), Contains("published 2"));
  EXPECT_THAT(peers_->calls(), Not(Contains("published 3")));
  EXPECT_THAT(peers_->calls().back(), "finished 4: all steps made");
}

TEST_F(LearnerRunTest, VersionZeroIsTheBaseModelAndLaterOnesAreNewBits) {
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  const std::vector<weights::Manifest> manifests = peers_->manifests();
  ASSERT_EQ(manifests.size(), 4u);
  for (size_t i = 0; i < manifests.size(); ++i) {
    EXPECT_EQ(manifests[i].version, static_cast<int64_t>(i));
    EXPECT_EQ(manifests[i].generation, 0);
    EXPECT_EQ(manifests[i].job_id, kJob);
    for (size_t j = 0; j < i; ++j) EXPECT_NE(manifests[i].sha256, manifests[j].sha256);
  }
}

TEST_F(LearnerRunTest, EachStepReportsWhatItMeasured) {
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  const std::vector<StepReport> reports = peers_->reports();
  ASSERT_EQ(reports.size(), 5u);
  // The policy still is the reference.
  EXPECT_NEAR(reports[0].values.at("preference_loss"), std::log(2.0), 1e-6);
  for (const char* name : {"loss", "margin", "gradient_norm", "learning_rate", "staleness",
                           "seconds_step", "seconds_batch_wait", "seconds_reference", "skipped"}) {
    EXPECT_TRUE(reports[4].values.contains(name)) << name;
  }
  EXPECT_NE(reports[4].values.at("margin"), 0);
  EXPECT_EQ(registry_.Value("dtrpo_learner_steps_total"), 5);
  EXPECT_EQ(registry_.Value("dtrpo_learner_pairs_total"), 10);
  EXPECT_EQ(registry_.Value("dtrpo_learner_weights_version", {{"run", kJob}}), 3);
}

// 1 - the probability that a pair is ordered right; a resumed run says the same bits.
TEST_F(LearnerRunTest, TellsHowMuchItWantsToSeeEachPairAgain) {
  spec_.replay.selector = "prioritised";
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_TRUE(peers_->priorities().empty()) << "rewards decide, unless the job says otherwise";

  spec_.replay.priority = "learner";
  spec_.output = folder_ + "/told";
  const auto peers = MakePeers();
  ASSERT_TRUE(MakeRun(*peers)->Run().ok());
  const std::map<int64_t, std::vector<double>> told = peers->priorities();
  ASSERT_EQ(told.size(), 5u);
  // The policy still is the reference: nothing is known of either pair.
  EXPECT_THAT(told.at(1), ElementsAre(DoubleNear(0.5, 1e-6), DoubleNear(0.5, 1e-6)));
  for (const auto& [step, priorities] : told) {
    ASSERT_EQ(priorities.size(), 2u) << step;
    for (double priority : priorities) EXPECT_TRUE(priority > 0 && priority < 1) << step;
  }

  spec_.output = folder_ + "/resumed";
  const auto first = MakePeers(), second = MakePeers();
  const std::string checkpoint = TrainUpTo(3, *first);
  ASSERT_TRUE(MakeRun(*second, checkpoint, 2)->Run().ok());
  EXPECT_EQ(second->priorities().at(5), told.at(5));
}

// Invariant 11: resume on the same log of batches is bit-equal to never having stopped. Stopped
// within an interval and at its end, before and after the first version. In bfloat16 the masters
// are part of it: the weights alone don't tell what was rounded away.
TEST_F(LearnerRunTest, ResumeFromACheckpointIsBitEqualToNeverHavingStopped) {
  for (const char* dtype : {"float32", "bfloat16"}) {
    spec_.model.dtype = dtype;
    spec_.training.learning_rate = 1e-3;
    spec_.output = absl::StrCat(folder_, "/", dtype);
    const auto unstopped = MakePeers();
    ASSERT_TRUE(MakeRun(*unstopped)->Run().ok());
    const std::string whole = unstopped->last_checkpoint();
    for (const int64_t stop : {1, 2, 3, 4}) {
      SCOPED_TRACE(absl::StrCat(dtype, ", ", stop));
      spec_.output = absl::StrCat(folder_, "/", dtype, "-stopped-", stop);
      const auto peers = MakePeers();
      const std::string checkpoint = TrainUpTo(stop, *peers);
      const auto rest = MakePeers();
      ASSERT_TRUE(MakeRun(*rest, checkpoint, /*attempt=*/2)->Run().ok());
      EXPECT_EQ(rest->calls().back(), "finished 5: all steps made");
      EXPECT_NE(rest->last_checkpoint(), whole);
      for (const char* name :
           {"model.safetensors", "optimizer.safetensors", "training_state.json"}) {
        EXPECT_EQ(Read(rest->last_checkpoint(), name), Read(whole, name)) << name;
      }
      EXPECT_EQ(rest->manifests().back().sha256, unstopped->manifests().back().sha256);
    }
    // The control: the weights did move after each of these stops.
    EXPECT_NE(Read(spec_.output + "/checkpoints/step-00000004", "model.safetensors"),
              Read(whole, "model.safetensors"));
  }
}

TEST_F(LearnerRunTest, ABfloat16JobPushesAndSavesBfloat16) {
  spec_.model.dtype = "bfloat16";
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  for (const weights::Manifest& manifest : peers_->manifests()) {
    for (const weights::TensorSpec& tensor : manifest.tensors) EXPECT_EQ(tensor.dtype, "BF16");
  }
  const auto saved = checkpoint::CheckpointFolder::Open(peers_->last_checkpoint());
  ASSERT_TRUE(saved.ok()) << saved.status();
  for (const std::string& name : saved->TensorNames()) {
    EXPECT_EQ(saved->Find(name)->dtype, checkpoint::DType::kBF16) << name;
  }
  EXPECT_EQ(saved->config().torch_dtype, "bfloat16");
}

TEST_F(LearnerRunTest, CheckpointsAreWrittenInShardsAndResumedFrom) {
  spec_.training.max_shard_bytes = 1000;
  const std::string checkpoint = TrainUpTo(2, *peers_);
  EXPECT_FALSE(base::PosixFileSystem()->Exists(checkpoint + "/model.safetensors"));
  EXPECT_TRUE(base::PosixFileSystem()->Exists(checkpoint + "/model.safetensors.index.json"));
  const auto rest = MakePeers();
  ASSERT_TRUE(MakeRun(*rest, checkpoint, /*attempt=*/2)->Run().ok());
  EXPECT_EQ(rest->calls().back(), "finished 5: all steps made");
}

TEST_F(LearnerRunTest, AResumedRunPublishesWhatItLoadedUnderAHigherGeneration) {
  const std::string checkpoint = TrainUpTo(3, *peers_);
  const auto rest = MakePeers();
  ASSERT_TRUE(MakeRun(*rest, checkpoint, /*attempt=*/3)->Run().ok());
  const std::vector<std::string> calls = rest->calls();
  ASSERT_GE(calls.size(), 4u);
  EXPECT_THAT(std::vector<std::string>(calls.begin(), calls.begin() + 4),
              ElementsAre("version 1 at step 3", "published 1", "checkpoint 3", "acknowledge 3"));
  for (const weights::Manifest& manifest : rest->manifests()) EXPECT_EQ(manifest.generation, 2);
}

TEST_F(LearnerRunTest, VersionZeroStaysTheBaseModelWhenARunResumesInTheFirstInterval) {
  const std::string checkpoint = TrainUpTo(1, *peers_);
  const auto rest = MakePeers();
  const std::unique_ptr<LearnerRun> run = MakeRun(*rest, checkpoint, /*attempt=*/2);
  ASSERT_TRUE(run->Run().ok());
  const std::vector<std::string> calls = rest->calls();
  ASSERT_GE(calls.size(), 3u);
  EXPECT_EQ(calls[0], "checkpoint 1");
  EXPECT_EQ(calls[1], "acknowledge 1");
  EXPECT_EQ(calls[2], "version 1 at step 2");
}

TEST_F(LearnerRunTest, DrainWritesACheckpointAndSaysNothingOfAnEnd) {
  const std::string checkpoint = TrainUpTo(2, *peers_);
  EXPECT_THAT(checkpoint, HasSubstr("step-00000002"));
  EXPECT_EQ(peers_->calls().back(), "acknowledge 2");
  const auto progress = training::ReadTrainingProgress(base::PosixFileSystem(), checkpoint);
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->step, 2);
  EXPECT_EQ(progress->job_id, kJob);
}

TEST_F(LearnerRunTest, DrainBeforeTheFirstStepWritesNothing) {
  const std::unique_ptr<LearnerRun> run = MakeRun(*peers_);
  run->SetDesired(Desired::kDrain);
  run->SetDesired(Desired::kRun);  // too late: draining is final
  ASSERT_TRUE(run->Run().ok());
  EXPECT_THAT(peers_->calls(), ElementsAre("version 0 at step 0", "published 0"));
}

TEST_F(LearnerRunTest, AnAbandonedRunEndsWithoutACheckpoint) {
  const std::unique_ptr<LearnerRun> run = MakeRun(*peers_);
  peers_->on_call = [&](const std::string& call) {
    if (call == "step 2 at version 1") run->SetDesired(Desired::kAbandon);
    return absl::OkStatus();
  };
  ASSERT_TRUE(run->Run().ok());
  EXPECT_EQ(peers_->calls().back(), "step 2 at version 1");
}

TEST_F(LearnerRunTest, PauseWritesACheckpointAndWaitsUntilTheJobIsResumed) {
  const std::unique_ptr<LearnerRun> run = MakeRun(*peers_);
  peers_->on_call = [&](const std::string& call) {
    if (call == "step 2 at version 1") run->SetDesired(Desired::kPause);
    return absl::OkStatus();
  };
  std::thread thread([&] { EXPECT_TRUE(run->Run().ok()); });
  EXPECT_TRUE(peers_->AwaitCall("acknowledge 2"));
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(peers_->calls().back(), "acknowledge 2");
  const std::vector<base::WaitState> waits = waits_.Snapshot();
  EXPECT_TRUE(std::any_of(waits.begin(), waits.end(), [](const base::WaitState& wait) {
    return wait.what == "the job to be resumed" && wait.on_whom == "coordinator";
  }));
  run->SetDesired(Desired::kRun);
  thread.join();
  EXPECT_EQ(peers_->calls().back(), "finished 5: all steps made");
}

TEST_F(LearnerRunTest, TheDataMayEndBeforeTheSteps) {
  peers_->last_batch = 3;
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  const std::vector<std::string> calls = peers_->calls();
  EXPECT_THAT(std::vector<std::string>(calls.end() - 4, calls.end()),
              ElementsAre("acknowledge 3", "version 2 at step 3", "published 2",
                          "finished 3: the data ended at step 3"));
}

TEST_F(LearnerRunTest, AJobWithoutAnyPairEndsWithACheckpointAllTheSame) {
  peers_->last_batch = 0;
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  const std::vector<std::string> calls = peers_->calls();
  EXPECT_THAT(std::vector<std::string>(calls.end() - 3, calls.end()),
              ElementsAre("checkpoint 0", "acknowledge 0", "finished 0: the data ended at step 0"));
}

TEST_F(LearnerRunTest, AnEarlyCheckpointIsMadeWhenTheCoordinatorAsks) {
  peers_->ask_for_checkpoint = true;
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(peers_->calls(), IsSupersetOf({"acknowledge 1", "acknowledge 2", "acknowledge 4"}));
}

// Else nothing would ever move again: the store takes no pair, and no step reports.
TEST_F(LearnerRunTest, AnEarlyCheckpointIsMadeWhenTheStoreHoldsBackABatchForIt) {
  std::atomic<bool> acknowledged = false;
  peers_->on_call = [&](const std::string& call) {
    acknowledged = acknowledged || call == "acknowledge 2";
    absl::Status status;
    if (call == "batch 3" && !acknowledged) {
      status = absl::UnavailableError("full");
      base::SetReason(status, "checkpoint_wanted");
    }
    return status;
  };
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_EQ(peers_->calls().back(), "finished 5: all steps made");
}

TEST_F(LearnerRunTest, StepsWithNumbersThatArentFiniteAreSkippedAndTheirBatchesConsumed) {
  peers_->spoil_scores = [](int64_t batch, std::vector<std::vector<float>>& scores) {
    if (batch == 2) scores[0][0] = std::numeric_limits<float>::quiet_NaN();
  };
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_EQ(peers_->calls().back(), "finished 5: all steps made");
  EXPECT_EQ(peers_->reports()[1].values.at("skipped"), 1);
  EXPECT_EQ(registry_.Value("dtrpo_learner_skipped_steps_total"), 1);
}

TEST_F(LearnerRunTest, TooManySkippedStepsInARowFailTheJobNamingThePair) {
  spec_.training.max_skipped_steps = 1;
  peers_->spoil_scores = [](int64_t batch, std::vector<std::vector<float>>& scores) {
    if (batch != 2) scores[2][0] = std::numeric_limits<float>::quiet_NaN();  // 1, 3, 4, ...
  };
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_EQ(peers_->calls().back(),
            absl::StrCat("failed 4: 2 steps in a row gave numbers that aren't finite; last at "
                         "step 4, pair ",
                         support::TinyPair(401).id));
}

TEST_F(LearnerRunTest, AMissingModelFolderFailsTheJobNamingIt) {
  spec_.model.path = folder_ + "/nowhere";
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_THAT(peers_->calls(),
              ElementsAre(AllOf(StartsWith("failed 0: "), HasSubstr(folder_ + "/nowhere"))));
}

TEST_F(LearnerRunTest, ACheckpointOfAnotherJobIsRefusedWithWords) {
  const auto folder = checkpoint::CheckpointFolder::Open(base_);
  ASSERT_TRUE(folder.ok());
  const std::string path = folder_ + "/foreign";
  const auto model = support::LoadModel(base_);
  training::AdamW optimizer(model->NamedParameters(), {});
  ASSERT_TRUE(training::WriteTrainingCheckpoint(base::PosixFileSystem(), path, *model, *folder,
                                                &optimizer,
                                                {.job_id = "sub-7", .job_hash = "hash", .step = 2})
                  .ok());
  ASSERT_TRUE(MakeRun(*peers_, path, 2)->Run().ok());
  EXPECT_THAT(peers_->calls(),
              ElementsAre(AllOf(StartsWith("failed "), HasSubstr(path), HasSubstr("of job sub-7"),
                                HasSubstr("job job can't resume"))));
}

TEST_F(LearnerRunTest, ACheckpointOfAnotherModelOrFormatIsRefusedWithWords) {
  const std::string other = folder_ + "/other", path = folder_ + "/foreign";
  support::WriteTinyCheckpoint(other, {.tied = false});
  const auto folder = checkpoint::CheckpointFolder::Open(other);
  ASSERT_TRUE(folder.ok());
  const auto model = support::LoadModel(other);
  training::AdamW optimizer(model->NamedParameters(), {});
  ASSERT_TRUE(training::WriteTrainingCheckpoint(base::PosixFileSystem(), path, *model, *folder,
                                                &optimizer,
                                                {.job_id = kJob, .job_hash = "hash", .step = 2})
                  .ok());
  ASSERT_TRUE(MakeRun(*peers_, path, 2)->Run().ok());
  EXPECT_THAT(peers_->calls(),
              ElementsAre(AllOf(StartsWith("failed "), HasSubstr(path),
                                HasSubstr("is of another model"), HasSubstr("untied head"))));

  const auto peers = MakePeers();
  const std::string checkpoint = TrainUpTo(2, *peers);
  const std::string state = base::JoinPath(checkpoint, "training_state.json");
  std::string text = Read(checkpoint, "training_state.json");
  const size_t at = text.find("\"format\": 1");
  ASSERT_NE(at, text.npos);
  text.replace(at, 11, "\"format\": 9");
  ASSERT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), state, text).ok());
  const auto rest = MakePeers();
  ASSERT_TRUE(MakeRun(*rest, checkpoint, 2)->Run().ok());
  EXPECT_THAT(rest->calls(), ElementsAre(AllOf(StartsWith("failed "), HasSubstr(state),
                                               HasSubstr("format 9 isn't 1"))));
}

TEST_F(LearnerRunTest, APlainModelFolderIsNoCheckpointToResumeFrom) {
  ASSERT_TRUE(MakeRun(*peers_, base_, 2)->Run().ok());
  EXPECT_THAT(peers_->calls(), ElementsAre(HasSubstr("training_state.json: no such file")));
}

TEST_F(LearnerRunTest, WhatMayPassIsTriedAgain) {
  std::atomic<int> failures = 0;
  peers_->on_call = [&](const std::string& call) {
    const bool lost = absl::StartsWith(call, "checkpoint 3") && failures++ < 2;
    return lost ? absl::UnavailableError("coordinator is away") : absl::OkStatus();
  };
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_EQ(failures, 3);
  EXPECT_EQ(peers_->calls().back(), "finished 5: all steps made");
}

TEST_F(LearnerRunTest, WhatAnotherAttemptWouldMeetTooFailsTheJob) {
  peers_->on_call =
      Fail("batch 2", absl::InvalidArgumentError("batch 2: pair p: chosen.unmask_step"));
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  EXPECT_EQ(peers_->calls().back(), "failed 1: batch 2: pair p: chosen.unmask_step");
}

TEST_F(LearnerRunTest, AnAttemptThatWasReplacedEndsQuietly) {
  absl::Status stale = absl::FailedPreconditionError("attempt 2 is granted");
  base::SetReason(stale, "stale_attempt");
  for (const char* call : {"version 1", "step 1", "checkpoint 3", "batch 2"}) {
    SCOPED_TRACE(call);
    const auto peers = MakePeers();
    peers->on_call = Fail(call, stale);
    EXPECT_EQ(MakeRun(*peers)->Run().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(peers->calls(), Not(Contains(StartsWith("failed"))));
  }
  // A store that was restarted; the coordinator grants another attempt.
  peers_->on_call = Fail("batch 2", absl::NotFoundError("unknown job"));
  EXPECT_TRUE(absl::IsNotFound(MakeRun(*peers_)->Run()));
  EXPECT_THAT(peers_->calls(), Not(Contains(StartsWith("failed"))));
}

TEST_F(LearnerRunTest, OnlyTheNewestCheckpointsAreKept) {
  spec_.training.checkpoint_every = 1;
  spec_.training.keep_checkpoints = 2;
  ASSERT_TRUE(MakeRun(*peers_)->Run().ok());
  checkpoint::CheckpointRoot root(base::PosixFileSystem(), spec_.output + "/checkpoints");
  const auto kept = root.List();
  ASSERT_TRUE(kept.ok()) << kept.status();
  ASSERT_EQ(kept->size(), 2u);
  EXPECT_EQ(kept->front().step, 4);
  EXPECT_EQ(root.Latest()->step, 5);
  EXPECT_EQ(root.Latest()->path, peers_->last_checkpoint());
}

}  // namespace
}  // namespace dtrpo::learner
