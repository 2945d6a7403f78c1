// A job of kind eval: the fleet answers the questions as `dtrpo eval` does on one machine.
#include <signal.h>

#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

class EvalJobTest : public LoopTest {
 protected:
  static std::string Example(const std::string& name) {
    return absl::StrCat(DTRPO_SOURCE_DIR, "/examples/", name);
  }

  v1::JobSpec Job(const std::string& name) const {
    v1::JobSpec spec;
    spec.set_name(name);
    spec.set_kind("eval");
    spec.set_seed(5);
    spec.mutable_model()->set_path(Example("arithmetic/base"));
    spec.mutable_data()->set_heldout(Example("evaluation/sums.jsonl"));
    spec.mutable_sampling()->set_max_new_tokens(4);
    v1::EvaluationSpec& evaluation = *spec.mutable_evaluation();
    evaluation.set_layout("gsm8k");
    evaluation.set_template_(Example("evaluation/sums_template.txt"));
    evaluation.set_max_prompts(60);
    evaluation.add_policies("threshold:0.3");
    evaluation.add_policies("threshold:0.7");
    evaluation.set_samples(3);
    evaluation.set_temperature(1);
    evaluation.add_pass_k(1);
    evaluation.add_pass_k(3);
    spec.set_output(absl::StrCat(folder_, "/", name));
    return spec;
  }

  std::string Content(const std::string& name) const {
    return base::PosixFileSystem()->Read(absl::StrCat(folder_, "/", name)).value_or("");
  }
  nlohmann::json Policies(const std::string& run) const {
    const auto summary = nlohmann::json::parse(Content(run + "/summary.json"), nullptr, false);
    return summary.is_object() ? summary["policies"] : nlohmann::json();
  }

  // With `rollouts` rollouts and a coordinator that is killed on the way.
  void RunJob(const std::string& name, int rollouts) {
    ASSERT_NO_FATAL_FAILURE(StartCluster({.rollouts = rollouts}));
    const auto id = cluster_->Submit(Job(name));
    ASSERT_TRUE(id.ok()) << id.status();
    const auto begun = cluster_->Await(
        *id, "the evaluation", [](const v1::JobStatus& job) { return job.evaluations_size() > 0; });
    ASSERT_TRUE(begun.ok()) << begun.status();
    cluster_->Signal("coordinator", SIGKILL);
    const auto job = cluster_->AwaitEnd(*id);
    ASSERT_TRUE(job.ok()) << job.status();
    ASSERT_EQ(job->state(), v1::SUCCEEDED) << job->reason();
    ASSERT_EQ(job->evaluations_size(), 1);
    EXPECT_EQ(job->evaluations(0).total(), 360);
    EXPECT_EQ(job->evaluations(0).estimates(0).k(), 1);
    EXPECT_GT(job->evaluations(0).estimates_size(), 2) << "by category, too";
    cluster_.reset();
  }
};

TEST_F(EvalJobTest, GivesTheNumbersOfDtrpoEvalWhateverTheNumberOfRollouts) {
  ASSERT_NO_FATAL_FAILURE(RunJob("one", 1));
  ASSERT_NO_FATAL_FAILURE(RunJob("two", 2));
  const auto local = Run({"dtrpo",
                          "eval",
                          "--model",
                          Example("arithmetic/base"),
                          "--data",
                          Example("evaluation/sums.jsonl"),
                          "--layout",
                          "gsm8k",
                          "--template",
                          Example("evaluation/sums_template.txt"),
                          "--max-new-tokens",
                          "4",
                          "--limit",
                          "60",
                          "--thresholds",
                          "0.3,0.7",
                          "--samples",
                          "3",
                          "--temperature",
                          "1",
                          "--pass-k",
                          "1,3",
                          "--seed",
                          "5",
                          "--threads",
                          "1",
                          "--run",
                          folder_ + "/local"},
                         absl::Minutes(2));
  ASSERT_EQ(local.exit_code, 0) << local.output;
  EXPECT_FALSE(Content("local/results.jsonl").empty());
  EXPECT_EQ(Content("one/results.jsonl"), Content("local/results.jsonl"));
  EXPECT_EQ(Content("two/results.jsonl"), Content("local/results.jsonl"));
  EXPECT_EQ(Policies("one"), Policies("local"));
  EXPECT_EQ(Policies("two"), Policies("local"));
  EXPECT_EQ(Policies("local").size(), 2u);
  const nlohmann::json::json_pointer speed("/timing/threshold:0.7/tokens_per_second");
  for (const char* run : {"one", "two", "local"}) {
    const auto summary = nlohmann::json::parse(Content(absl::StrCat(run, "/summary.json")));
    EXPECT_GT(summary.value(speed, 0.0), 0) << run;
    EXPECT_NE(Content(absl::StrCat(run, "/report.html")).find("<td>threshold:0.3</td>"),
              std::string::npos)
        << run;
  }
  const auto compared =
      Run({"dtrpo", "compare", folder_ + "/one", folder_ + "/local"}, absl::Minutes(2));
  EXPECT_EQ(compared.exit_code, 0) << compared.output;
}

}  // namespace
}  // namespace dtrpo
