// `dtrpo eval --run` and `dtrpo compare` as scripts use them, on the example's base and word
// problems.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file_system.h"
#include "nlohmann/json.hpp"
#include "tests/unit/tools/run_dtrpo.h"

namespace dtrpo::tools {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr char kExamples[] = DTRPO_SOURCE_DIR "/examples/";

class EvalRunTest : public ::testing::Test {
 protected:
  EvalRunTest()
      : folder_(absl::StrCat(::testing::TempDir(), "eval_run_",
                             ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~EvalRunTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }
  std::string Content(const std::string& name) const {
    return base::PosixFileSystem()->Read(Path(name)).value_or("");
  }

  Outcome Eval(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"eval",
                                          "--model",
                                          absl::StrCat(kExamples, "arithmetic/base"),
                                          "--data",
                                          absl::StrCat(kExamples, "evaluation/sums.jsonl"),
                                          "--layout",
                                          "gsm8k",
                                          "--template",
                                          absl::StrCat(kExamples, "evaluation/sums_template.txt"),
                                          "--max-new-tokens",
                                          "4",
                                          "--threads",
                                          "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

 private:
  const std::string folder_;
};

const std::vector<std::string> kSampled = {"--samples", "3",        "--temperature", "1",
                                           "--pass-k",  "1,3",      "--limit",       "40",
                                           "--unmask",  "random:2", "--seed",        "5"};

std::vector<std::string> With(std::vector<std::string> options,
                              const std::vector<std::string>& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

TEST_F(EvalRunTest, TheNumbersAreTheSameWhateverTheBatchAndHoweverOftenItWasKilled) {
  const Outcome whole = Eval(With(kSampled, {"--run", Path("a")}));
  ASSERT_EQ(whole.exit_code, kExitOk) << whole.err;
  const std::string results = Content("a/results.jsonl");
  ASSERT_EQ(Eval(With(kSampled, {"--run", Path("b"), "--batch", "7"})).exit_code, kExitOk);
  EXPECT_EQ(Content("b/results.jsonl"), results);

  // Killed in the middle of a line.
  std::filesystem::resize_file(Path("b/results.jsonl"), results.size() * 2 / 3);
  const Outcome resumed = Eval(With(kSampled, {"--run", Path("b")}));
  EXPECT_THAT(resumed.err, ContainsRegex("has [0-9]+ answers; going on"));
  EXPECT_EQ(Content("b/results.jsonl"), results);
  EXPECT_EQ(nlohmann::json::parse(Content("a/summary.json"))["policies"],
            nlohmann::json::parse(Content("b/summary.json"))["policies"]);

  EXPECT_THAT(whole.out, ContainsRegex("random:2 +pass@1 0\\.[0-9]+ \\[0\\.[0-9]+, 0\\.[0-9]+\\]"));
  EXPECT_THAT(whole.out, ContainsRegex("pass@3 0\\.[0-9]+"));
  EXPECT_THAT(whole.out, ContainsRegex("together +pass@1"));
  const Outcome another =
      Eval({"--limit", "40", "--unmask", "random:2", "--seed", "6", "--run", Path("b")});
  EXPECT_EQ(another.exit_code, kExitFailed);
  EXPECT_THAT(another.err, HasSubstr("is of another run"));
}

TEST_F(EvalRunTest, LowerThresholdsTakeFewerForwardsAndTwoRunsCanBeCompared) {
  const Outcome run = Eval({"--thresholds", "0.3,1", "--run", Path("a")});
  ASSERT_EQ(run.exit_code, kExitOk) << run.err;
  const auto policies = nlohmann::json::parse(Content("a/summary.json"))["policies"];
  ASSERT_EQ(policies.size(), 2u);
  EXPECT_EQ(policies[1]["unmask"], "threshold:1");
  EXPECT_GT(policies[0]["tokens_per_forward"], 1.3 * double{policies[1]["tokens_per_forward"]});
  EXPECT_THAT(Content("a/report.html"), HasSubstr("Accuracy (pass@1) against tokens per forward"));

  const Outcome compared = Dtrpo({"compare", Path("a"), Path("a"), "--unmask-a", "threshold:1",
                                  "--unmask-b", "threshold:0.3", "--output", Path("c")});
  ASSERT_EQ(compared.exit_code, kExitOk) << compared.err;
  EXPECT_THAT(compared.out, ContainsRegex("compare: questions=123 gained=[0-9]+ lost=[0-9]+ "
                                          "difference=-?0\\.[0-9]+ low=-?0\\.[0-9]+ "
                                          "high=-?0\\.[0-9]+ p=[01]\\.[0-9]+\n$"));
  EXPECT_THAT(Content("c/comparison.html"), HasSubstr("tokens per forward, A and B"));
  EXPECT_EQ(Dtrpo({"compare", Path("a"), Path("nowhere")}).exit_code, kExitFailed);
}

TEST_F(EvalRunTest, OptionsThatDoNotFitTogetherAreRefused) {
  EXPECT_EQ(Eval({"--samples", "2"}).exit_code, kExitUsage);  // all alike at temperature 0
  EXPECT_EQ(Eval({"--pass-k", "2"}).exit_code, kExitUsage);
  EXPECT_EQ(Eval({"--thresholds", "0.5", "--unmask", "steps:2"}).exit_code, kExitUsage);
  const Outcome service = Eval({"--verifier", "service:math"});
  EXPECT_EQ(service.exit_code, kExitFailed);
  EXPECT_THAT(service.err, HasSubstr("needs --reward-service"));
}

}  // namespace
}  // namespace dtrpo::tools
