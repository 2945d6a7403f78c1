// Jobs of kind eval: rollouts answer a file's questions, and nothing is trained.
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/run_folder.h"
#include "common/report/evaluation_report.h"
#include "nlohmann/json.hpp"
#include "tests/unit/coordinator/coordinator_harness.h"

namespace dtrpo::coordinator {
namespace {

using testing::HasSubstr;

class EvalJobTest : public CoordinatorHarness {
 protected:
  EvalJobTest() {
    Write("sums.jsonl", R"({"question": "1+1?", "answer": "so #### 2", "category": "easy"})"
                        "\n"
                        R"({"question": "7+8?", "answer": "so #### 15", "category": "hard"})"
                        "\n"
                        R"({"question": "9+9?", "answer": "so #### 18", "category": "hard"})"
                        "\n");
  }

  static v1::JobSpec EvalSpec() {
    v1::JobSpec spec;
    spec.set_name("sums");
    spec.set_kind("eval");
    spec.mutable_model()->set_path("model");
    spec.mutable_data()->set_heldout("sums.jsonl");
    spec.mutable_evaluation()->set_layout("gsm8k");
    spec.mutable_evaluation()->set_samples(2);
    spec.mutable_evaluation()->set_temperature(1);
    spec.mutable_evaluation()->add_pass_k(1);
    spec.mutable_evaluation()->add_pass_k(2);
    spec.set_output("results");
    return spec;
  }

  // With a rollout and nobody else.
  std::string RunEval(const v1::JobSpec& spec = EvalSpec()) {
    const std::string id = Submit(spec);
    EXPECT_EQ(Get(id).reason(), "waiting for a rollout");
    rollout_ = Register(kRollout);
    coordinator_.Tick();
    EXPECT_EQ(State(id), v1::RUNNING);
    Beat(rollout_, id, {0});
    return id;
  }

  void Answer(const std::string& id, const v1::PromptLease& lease, int right, int answers = 2) {
    const auto question = nlohmann::json::parse(lease.prompt_json());
    v1::ReportPromptsRequest request;
    request.mutable_job()->set_job_id(id);
    request.set_worker_id(rollout_);
    v1::PromptResult& result = *request.add_results();
    result.set_lease_id(lease.lease_id());
    result.set_kind(lease.kind());
    result.set_prompt_index(lease.prompt_index());
    result.set_outcome(v1::PromptResult::EVALUATED);
    result.set_correct(right);
    result.set_samples(answers);
    result.set_tokens(4);
    result.set_forwards(2);
    result.set_sampling_seconds(0.5);
    std::string lines;
    for (int i = 0; i < answers; ++i) {
      evaluation::JudgedAnswer answer;
      answer.unmask = lease.unmask();
      answer.id = question["id"];
      answer.categories = question["category"];
      answer.sample = i;
      answer.question = question["prompt"];
      answer.expected = question["answer"];
      answer.answer = absl::StrCat("answer ", i);
      answer.correct = i < right;
      lines += evaluation::ToJsonLine(answer);
    }
    result.mutable_sample()->set_answer(lines);
    ASSERT_TRUE(coordinator_.ReportPrompts(request).ok());
  }

  absl::Status Refusal(const v1::JobSpec& spec) {
    v1::SubmitJobRequest request;
    *request.mutable_spec() = spec;
    return coordinator_.SubmitJob(request).status();
  }
};

TEST_F(EvalJobTest, EndsWithoutLearnerReferenceAndReplayAndLeavesARunFolder) {
  const std::string id = RunEval();
  driver_.Step();
  const v1::LeasePromptsResponse response = Lease(id, 10);
  ASSERT_EQ(response.leases_size(), 3);
  EXPECT_THAT(response.leases(1).prompt_json(), HasSubstr("7+8?"));
  EXPECT_EQ(response.leases(1).kind(), v1::EVALUATE);
  EXPECT_EQ(response.leases(1).version(), 0);
  Answer(id, response.leases(0), 2);
  Answer(id, response.leases(1), 1);
  EXPECT_EQ(Get(id).evaluations(0).correct(), 3);
  EXPECT_EQ(Get(id).evaluations(0).total(), 4);
  EXPECT_EQ(State(id), v1::RUNNING);
  Answer(id, response.leases(2), 0);
  coordinator_.Tick();

  const v1::JobStatus job = Get(id);
  EXPECT_EQ(job.state(), v1::SUCCEEDED) << job.reason();
  EXPECT_EQ(job.reason(), "");
  const v1::EvaluationRecord& record = job.evaluations(0);
  EXPECT_TRUE(record.complete());
  EXPECT_EQ(record.correct(), 3);
  EXPECT_EQ(record.total(), 6);
  EXPECT_EQ(record.answered(), 3);
  ASSERT_EQ(record.estimates_size(), 6);  // all, easy, hard: pass@1 and pass@2 each
  EXPECT_EQ(record.estimates(1).k(), 2);
  EXPECT_NEAR(record.estimates(1).value(), 2.0 / 3, 1e-12);
  EXPECT_LT(record.estimates(1).low(), 2.0 / 3);
  EXPECT_EQ(record.estimates(4).category(), "hard");
  EXPECT_NEAR(record.estimates(4).value(), 0.25, 1e-12);
  EXPECT_EQ(record.samples(0).answer(), "answer 0");

  const auto run = evaluation::ReadRun(&files_, "results");
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->answers.size(), 6u);
  EXPECT_THAT(run->answers[0].question, HasSubstr("1+1?")) << "in the order of the file";
  EXPECT_EQ(run->settings["verifier"], "number");
  EXPECT_EQ(*files_.Read("results/summary.json"), evaluation::SummaryJson(*run));
  EXPECT_DOUBLE_EQ(run->timing.at("threshold:0.9").seconds, 1.5);
  EXPECT_EQ(run->timing.at("threshold:0.9").tokens, 12);
  EXPECT_EQ(*files_.Read("results/report.html"), report::EvaluationReport(*run));
}

TEST_F(EvalJobTest, AsksEveryQuestionUnderEachPolicy) {
  v1::JobSpec spec = EvalSpec();
  spec.mutable_evaluation()->add_policies("threshold:0.5");
  spec.mutable_evaluation()->add_policies("threshold:1");
  const std::string id = RunEval(spec);
  const v1::LeasePromptsResponse response = Lease(id, 10);
  ASSERT_EQ(response.leases_size(), 6);
  EXPECT_EQ(response.leases(1).unmask(), "threshold:0.5");
  EXPECT_EQ(response.leases(4).unmask(), "threshold:1");
  EXPECT_EQ(response.leases(4).prompt_json(), response.leases(1).prompt_json());
  // A program that doesn't know of several policies answers with another.
  v1::PromptLease mistaken = response.leases(4);
  mistaken.set_unmask("threshold:0.5");
  Answer(id, mistaken, 2);
  EXPECT_EQ(Get(id).evaluations(0).total(), 0);
  for (int i : {5, 3, 1, 2, 0}) Answer(id, response.leases(i), i < 3 ? 2 : 1);
  coordinator_.Tick();
  EXPECT_EQ(State(id), v1::RUNNING);
  records_per_snapshot_ = 1;
  Restart();
  Beat(rollout_, id, {0});
  const v1::LeasePromptsResponse again = Lease(id, 10, 0, /*holds_no_lease=*/true);
  ASSERT_EQ(again.leases_size(), 1);
  EXPECT_EQ(again.leases(0).unmask(), "threshold:1");
  Answer(id, again.leases(0), 1);
  coordinator_.Tick();

  const v1::JobStatus job = Get(id);
  EXPECT_EQ(job.state(), v1::SUCCEEDED) << job.reason();
  const v1::EvaluationRecord& record = job.evaluations(0);
  EXPECT_EQ(record.answered(), 6);
  ASSERT_EQ(record.policies_size(), 2);
  EXPECT_EQ(record.policies(1).unmask(), "threshold:1");
  EXPECT_EQ(record.policies(1).answers(), 6);
  EXPECT_DOUBLE_EQ(record.policies(1).seconds(), 1.5);
  ASSERT_EQ(record.estimates_size(), 12);
  EXPECT_EQ(record.estimates(0).value(), 1);
  EXPECT_EQ(record.estimates(6).unmask(), "threshold:1");
  EXPECT_EQ(record.estimates(6).value(), 0.5);
  const auto run = evaluation::ReadRun(&files_, "results");
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_EQ(run->answers.size(), 12u);
  EXPECT_EQ(run->answers[5].unmask, "threshold:0.5");
  EXPECT_EQ(run->answers[6].unmask, "threshold:1");
  EXPECT_THAT(run->answers[6].question, HasSubstr("1+1?")) << "in the order of the file";
  EXPECT_EQ(run->timing.size(), 2u);
}

TEST_F(EvalJobTest, AJobThatTrainsIsEvaluatedOnAPublishedLayoutWithSeveralAnswersToo) {
  Write("template.txt", "Q: {{question}}\n");
  v1::JobSpec spec = Spec();
  spec.mutable_data()->set_heldout("sums.jsonl");
  *spec.mutable_evaluation() = EvalSpec().evaluation();
  spec.mutable_evaluation()->set_template_("template.txt");
  const std::string id = Run(spec);
  const v1::LeasePromptsResponse response = Lease(id, 10);
  ASSERT_EQ(response.leases_size(), 3);
  const auto line = nlohmann::json::parse(response.leases(1).prompt_json());
  EXPECT_EQ(line["prompt"], "Q: 7+8?");
  EXPECT_EQ(line["answer"], "15");
  EXPECT_EQ(response.leases(1).unmask(), "");
  for (const v1::PromptLease& lease : response.leases()) {
    Report(id, lease, v1::PromptResult::EVALUATED, /*correct=*/true);  // one of the two answers
  }
  const v1::EvaluationRecord record = Get(id).evaluations(0);
  EXPECT_TRUE(record.complete());
  EXPECT_EQ(record.correct(), 3);
  EXPECT_EQ(record.total(), 6);
  ASSERT_EQ(record.estimates_size(), 2);
  EXPECT_EQ(record.estimates(0).value(), 0.5);
  EXPECT_EQ(record.estimates(1).value(), 1);

  spec.mutable_evaluation()->set_layout("ifeval");
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("reward.service.address"));
  spec.mutable_evaluation()->set_verifier("exact");
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("sums.jsonl:1"));
}

TEST_F(EvalJobTest, ARestartInTheMiddleRepeatsOnlyWhatWasNotReported) {
  records_per_snapshot_ = 3;
  const std::string id = RunEval();
  const v1::LeasePromptsResponse response = Lease(id, 2);
  Answer(id, response.leases(0), 1);
  Restart();
  Beat(rollout_, id, {0});
  const v1::LeasePromptsResponse rest = Lease(id, 10, 0, /*holds_no_lease=*/true);
  ASSERT_EQ(rest.leases_size(), 2);
  for (const v1::PromptLease& lease : rest.leases()) {
    EXPECT_NE(lease.prompt_index(), response.leases(0).prompt_index());
    Answer(id, lease, 1);
  }
  Restart();  // all answers are there, and nothing is written yet
  EXPECT_EQ(Get(id).reason(), "writing the results");
  coordinator_.Tick();
  EXPECT_EQ(State(id), v1::SUCCEEDED);
  EXPECT_EQ(evaluation::ReadRun(&files_, "results")->answers.size(), 6u);
  EXPECT_EQ(Get(id).evaluations(0).correct(), 3);
}

TEST_F(EvalJobTest, AFailedQuestionIsLeasedAgainAndThenCountedAsFailed) {
  const std::string id = RunEval();
  const v1::LeasePromptsResponse response = Lease(id, 10);
  Answer(id, response.leases(0), 2);
  Answer(id, response.leases(1), 2);
  Report(id, response.leases(2), v1::PromptResult::FAILED);
  v1::LeasePromptsResponse again = Lease(id, 10);
  ASSERT_EQ(again.leases_size(), 1);
  EXPECT_EQ(again.leases(0).prompt_index(), 2);
  Answer(id, again.leases(0), 1, /*answers=*/1);  // another number than was asked for
  again = Lease(id, 10);
  ASSERT_EQ(again.leases_size(), 1);
  Report(id, again.leases(0), v1::PromptResult::FAILED);
  coordinator_.Tick();
  EXPECT_EQ(State(id), v1::SUCCEEDED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("1 of 3 questions failed"));
  EXPECT_EQ(Get(id).evaluations(0).total(), 4);
  EXPECT_EQ(evaluation::ReadRun(&files_, "results")->answers.size(), 4u);
}

TEST_F(EvalJobTest, WithoutOneAnswerTheJobFails) {
  v1::JobSpec spec = EvalSpec();
  spec.mutable_evaluation()->set_max_prompts(1);
  const std::string id = RunEval(spec);
  for (int i = 0; i < Options().job.max_prompt_attempts; ++i) {
    Report(id, Lease(id, 1).leases(0), v1::PromptResult::FAILED);
  }
  EXPECT_EQ(State(id), v1::FAILED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("no question could be answered"));
}

TEST_F(EvalJobTest, WaitsForRolloutsHoweverLongTheyAreAway) {
  const std::string id = RunEval();
  Pass(absl::Minutes(15), {rollout_});
  EXPECT_EQ(State(id), v1::RUNNING);
  EXPECT_EQ(Get(id).reason(), "waiting for a rollout");
}

TEST_F(EvalJobTest, ResultsThatCantBeWrittenFailTheJob) {
  const std::string id = RunEval();
  Write("results/run.json", "{}");
  const v1::LeasePromptsResponse response = Lease(id, 10);
  for (const v1::PromptLease& lease : response.leases()) Answer(id, lease, 2);
  coordinator_.Tick();
  EXPECT_EQ(State(id), v1::FAILED);
  EXPECT_THAT(Get(id).reason(), HasSubstr("output: the results can't be written"));
}

TEST_F(EvalJobTest, SubmitRefusesWhatCantBeCarriedOut) {
  v1::JobSpec spec = EvalSpec();
  spec.mutable_evaluation()->set_layout("ifeval");
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("reward.service.address"));
  spec.mutable_evaluation()->set_verifier("exact");
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("sums.jsonl:1"));
  spec = EvalSpec();
  spec.mutable_data()->set_prompts("p.jsonl");
  EXPECT_THAT(Refusal(spec).message(), HasSubstr("data.prompts"));
  Write("results/run.json", "{}");
  EXPECT_THAT(Refusal(EvalSpec()).message(), HasSubstr("is of another run"));
}

}  // namespace
}  // namespace dtrpo::coordinator
