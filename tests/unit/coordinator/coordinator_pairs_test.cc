// Jobs with data.pairs: without prompts, and beside them.
#include <gmock/gmock.h>

#include "common/base/retry_after.h"
#include "common/job/job_limits.h"
#include "services/coordinator/coordinator.h"
#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class CoordinatorPairsTest : public CoordinatorHarness {
 protected:
  CoordinatorPairsTest() { Write("pairs.jsonl", "{}\n"); }

  // 3 steps of 2 pairs of the file.
  static v1::JobSpec Offline() {
    v1::JobSpec spec = Spec();
    spec.mutable_data()->clear_prompts();
    spec.mutable_data()->clear_heldout();
    spec.mutable_data()->set_pairs("pairs.jsonl");
    return spec;
  }

  absl::StatusOr<v1::ReportPairsResponse> ReportFile(const std::string& id, int64_t usable,
                                                     const std::string& fingerprint = "f",
                                                     int32_t attempt = 1) {
    v1::ReportPairsRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(attempt);
    request.mutable_file()->set_lines(usable + 3);
    request.mutable_file()->set_rejected(1);
    request.mutable_file()->set_held_out(2);
    request.mutable_file()->set_usable(usable);
    request.mutable_file()->set_rejects("out/rejects.jsonl");
    request.set_fingerprint(fingerprint);
    return coordinator_.ReportPairs(request);
  }
  void ReportAllImported(const std::string& id) {
    v1::ReportPairsRequest request;
    request.mutable_job()->set_job_id(id);
    request.mutable_job()->set_attempt(1);
    request.set_all_imported(true);
    ASSERT_TRUE(coordinator_.ReportPairs(request).ok());
  }
  void AddEvent(v1::PromptEvent::Kind kind, int64_t index) {
    v1::PromptLease lease;
    lease.set_prompt_index(job::kFirstExternalPrompt + index);
    replay_.AddEvent(kind, lease);
  }

  std::string RunOffline() {
    Register(kReference);
    Register(kLearner);
    const std::string id = Submit(Offline());
    driver_.Step();
    EXPECT_EQ(State(id), v1::RUNNING) << Get(id).reason();
    return id;
  }
};

TEST_F(CoordinatorPairsTest, AJobOfPairsAloneNeedsNoRollout) {
  const std::string id = RunOffline();
  EXPECT_EQ(replay_.opened[id].external_pairs_per_batch(), 2);
  driver_.Step();
  ASSERT_FALSE(replay_.marks.empty());
  EXPECT_TRUE(replay_.marks.back().end_of_prompts);
  EXPECT_FALSE(replay_.marks.back().end_of_external);
  EXPECT_FALSE(replay_.marks.back().end_of_data);
  ASSERT_TRUE(ReportFile(id, 6).ok());
  ReportAllImported(id);
  driver_.Step();
  EXPECT_TRUE(replay_.marks.back().end_of_data);
}

TEST_F(CoordinatorPairsTest, HeldOutPromptsNeedARolloutEvenBesidePairs) {
  v1::JobSpec spec = Offline();
  spec.mutable_data()->set_heldout("h.jsonl");
  Register(kReference);
  Register(kLearner);
  const std::string id = Submit(spec);
  driver_.Step();
  EXPECT_EQ(State(id), v1::PENDING);
  EXPECT_THAT(Get(id).reason(), HasSubstr("rollout"));
}

TEST_F(CoordinatorPairsTest, StatusCountsLinesAndUsesAndShowsEvaluations) {
  const std::string id = RunOffline();
  const auto begun = ReportFile(id, 6);
  ASSERT_TRUE(begun.ok()) << begun.status();
  EXPECT_EQ(begun->first_use(), 0);
  for (int i = 0; i < 4; ++i) AddEvent(v1::PromptEvent::STORED, i);
  for (int i = 0; i < 2; ++i) AddEvent(v1::PromptEvent::CONSUMED, i);
  driver_.Step();
  v1::ReportPairsRequest request;
  request.mutable_job()->set_job_id(id);
  request.mutable_job()->set_attempt(1);
  request.mutable_evaluation()->set_step(2);
  request.mutable_evaluation()->set_accuracy(0.75);
  const auto known = coordinator_.ReportPairs(request);
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_EQ(known->first_use(), 2);
  EXPECT_THAT(known->known_uses(), ElementsAre(2, 3));

  const v1::JobStatus status = Get(id);
  EXPECT_EQ(status.pairs().lines(), 9);
  EXPECT_EQ(status.pairs().rejected(), 1);
  EXPECT_EQ(status.pairs().rejects(), "out/rejects.jsonl");
  EXPECT_EQ(status.pairs().imported(), 4);
  EXPECT_EQ(status.pairs().consumed(), 2);
  ASSERT_EQ(status.pair_evaluations_size(), 1);
  EXPECT_EQ(status.pair_evaluations(0).accuracy(), 0.75);
  EXPECT_GT(status.pair_evaluations(0).unix_ms(), 0);
}

TEST_F(CoordinatorPairsTest, PairsOfAnOlderAttemptOrAnotherFileAreRefused) {
  const std::string id = RunOffline();
  ASSERT_TRUE(ReportFile(id, 6).ok());
  EXPECT_EQ(base::GetReason(ReportFile(id, 6, "g").status()), kPairsChanged);
  EXPECT_EQ(base::GetReason(ReportFile(id, 6, "f", 0).status()), "stale_attempt");
  const std::string prompts = Submit();
  v1::ReportPairsRequest request;
  request.mutable_job()->set_job_id(prompts);
  EXPECT_TRUE(absl::IsFailedPrecondition(coordinator_.ReportPairs(request).status()));
}

// B = 4, half of it pairs of the file; one version a step, strictly on-policy.
TEST_F(CoordinatorPairsTest, PromptsOfAMixedJobMakeTheirShareAndMoreOnceThePairsEnded) {
  v1::JobSpec spec = Spec();
  spec.mutable_data()->clear_heldout();
  spec.mutable_data()->set_pairs("pairs.jsonl");
  spec.mutable_training()->set_pairs_per_batch(4);
  const std::string id = Run(spec);
  EXPECT_EQ(replay_.opened[id].external_pairs_per_batch(), 2);
  ASSERT_TRUE(ReportFile(id, 3).ok());
  EXPECT_EQ(Lease(id, 100).leases_size(), 2);
  for (int i = 0; i < 3; ++i) AddEvent(v1::PromptEvent::STORED, i);
  driver_.Step();
  ReportAllImported(id);
  // 2 of the 3 imported pairs are in the first batch.
  EXPECT_EQ(Lease(id, 100).leases_size(), 0);
  ASSERT_TRUE(Publish(id, 1).ok());
  EXPECT_EQ(Lease(id, 100, 1).leases_size(), 3);  // 8 pairs of two batches, but for 3
  driver_.Step();
  EXPECT_TRUE(replay_.marks.back().end_of_external);
  EXPECT_FALSE(replay_.marks.back().end_of_prompts);
}

TEST_F(CoordinatorPairsTest, AStoreThatIsLostAsksForWhatNoCheckpointContains) {
  const std::string id = RunOffline();
  ASSERT_TRUE(ReportFile(id, 6).ok());
  for (int i = 0; i < 6; ++i) AddEvent(v1::PromptEvent::STORED, i);
  driver_.Step();
  ASSERT_TRUE(Checkpoint(id, 2, "out/c2").ok());
  replay_.opened.clear();
  replay_.events.clear();
  driver_.Step();
  driver_.Step();
  EXPECT_EQ(replay_.opened[id].first_batch(), 3);
  Pass(absl::Seconds(1));
  EXPECT_EQ(Get(id).attempt(), 2);
  const auto again = ReportFile(id, 6, "f", 2);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->first_use(), 4);
  EXPECT_EQ(again->known_uses_size(), 0);
}

TEST_F(CoordinatorPairsTest, APairFileThatIsMissingOrOutsideTheRootsIsRefusedAtSubmit) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = Offline();
  request.mutable_spec()->mutable_data()->set_pairs("nowhere.jsonl");
  EXPECT_THAT(std::string(coordinator_.SubmitJob(request).status().message()),
              HasSubstr("data.pairs"));
  Coordinator::Options options = Options();
  options.data_roots = {"allowed"};
  Coordinator confined(options,
                       {.clock = &clock_,
                        .files = &files_,
                        .metrics = &metrics_,
                        .prompt_check = [](const job::JobSpec&) {
                          return PromptCheck([](absl::string_view) { return absl::OkStatus(); });
                        }});
  Write("allowed/model/config.json", "{}");
  Write("allowed/pairs.jsonl", "{}\n");
  v1::JobSpec inside = Offline();
  inside.mutable_model()->set_path("allowed/model");
  inside.mutable_data()->set_pairs("allowed/pairs.jsonl");
  inside.set_output("allowed/out");
  *request.mutable_spec() = inside;
  request.mutable_spec()->mutable_data()->set_pairs("pairs.jsonl");
  const absl::Status outside = confined.SubmitJob(request).status();
  EXPECT_TRUE(absl::IsPermissionDenied(outside)) << outside;
  EXPECT_THAT(std::string(outside.message()), HasSubstr("data.pairs: "));
  *request.mutable_spec() = inside;
  request.mutable_spec()->set_output("allowed/../elsewhere");
  EXPECT_THAT(std::string(confined.SubmitJob(request).status().message()), HasSubstr("output: "));
  *request.mutable_spec() = inside;
  EXPECT_TRUE(confined.SubmitJob(request).ok());
}

}  // namespace
}  // namespace dtrpo::coordinator
