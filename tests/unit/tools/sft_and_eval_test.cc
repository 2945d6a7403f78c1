// `dtrpo make-arithmetic`, `dtrpo sft` and `dtrpo eval` as scripts use them, on the example's base.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tools/dtrpo/cli.h"

namespace dtrpo::tools {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

const char kBase[] = DTRPO_SOURCE_DIR "/examples/arithmetic/base";

struct Outcome {
  int exit_code = 0;
  std::string err;
};

Outcome Dtrpo(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"dtrpo"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Outcome outcome;
  CaptureStdout();
  CaptureStderr();
  outcome.exit_code = RunCli(static_cast<int>(argv.size()), argv.data());
  outcome.err = GetCapturedStderr();
  GetCapturedStdout();
  return outcome;
}

std::string Content(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path).rdbuf();
  return content.str();
}

class SftAndEvalTest : public ::testing::Test {
 protected:
  SftAndEvalTest() {
    folder_ = absl::StrCat(::testing::TempDir(), "sft_and_eval_",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    EXPECT_EQ(Dtrpo({"make-arithmetic", "--output", folder_}).exit_code, kExitOk);
  }
  ~SftAndEvalTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }

  Outcome Sft(const std::string& output, const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"sft",        "--model",           kBase,
                                          "--data",     Path("train.jsonl"), "--output",
                                          Path(output), "--batch",           "8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

  Outcome Eval(const std::string& model, const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {
        "eval",    "--model",          model, "--data", Path("heldout.jsonl"), "--unmask",
        "steps:2", "--max-new-tokens", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

  std::string Weights(const std::string& output) const {
    return Content(Path(output + "/model.safetensors"));
  }

 private:
  std::string folder_;
};

TEST_F(SftAndEvalTest, TheCommittedBaseGetsAboutHalfOfTheHeldOutProblemsRight) {
  const Outcome outcome = Eval(kBase, {"--run", Path("run")});
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.err, ContainsRegex("eval: prompts=980 correct=[0-9]+ accuracy=0\\.[0-9]+ "
                                         "tokens_per_forward=[0-9.]+ seconds=[0-9.]+\n$"));
  int lines = 0, correct = 0;
  for (const auto line :
       absl::StrSplit(Content(Path("run/results.jsonl")), '\n', absl::SkipEmpty())) {
    const json answer = json::parse(line);
    ++lines;
    correct += answer["correct"] == true;
    EXPECT_EQ(answer["correct"] == true,
              answer["finished"] == true && answer["answer"] == answer["expected"]);
  }
  EXPECT_EQ(lines, 980);
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("correct=", correct, " ")));
  EXPECT_GT(correct, 980 * 0.45);
  EXPECT_LT(correct, 980 * 0.58);
}

TEST_F(SftAndEvalTest, AFewStepsFromRandomWeightsRepeatBitForBit) {
  const std::vector<std::string> options = {"--init", "random", "--steps", "2", "--seed", "3"};
  const Outcome first = Sft("a", options);
  ASSERT_EQ(first.exit_code, kExitOk) << first.err;
  EXPECT_THAT(first.err, ContainsRegex("sft: examples=9020 steps=2 seconds=[0-9.]+ loss=[0-9.]+ "
                                       "heldout_accuracy=none output=[^ ]+/a\n$"));
  ASSERT_EQ(Sft("b", options).exit_code, kExitOk);
  EXPECT_EQ(Weights("a"), Weights("b"));
  ASSERT_EQ(Sft("c", {"--init", "random", "--steps", "2", "--seed", "4"}).exit_code, kExitOk);
  EXPECT_NE(Weights("a"), Weights("c"));
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json"}) {
    EXPECT_TRUE(std::filesystem::exists(Path(absl::StrCat("a/", file)))) << file;
  }
}

TEST_F(SftAndEvalTest, TrainingGoesOnFromTheFoldersWeightsAndReportsHeldOutAccuracy) {
  const Outcome outcome =
      Sft("tuned", {"--steps", "4", "--learning-rate", "1e-5", "--heldout", Path("heldout.jsonl"),
                    "--evaluate-every", "2", "--evaluate-prompts", "98", "--stop-at-accuracy",
                    "0.2", "--unmask", "steps:2", "--max-new-tokens", "4"});
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.err, ContainsRegex("sft: step 2 of 4 .* heldout_accuracy 0\\.[0-9]+\n"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("sft: step 4")));  // stopped
  EXPECT_THAT(outcome.err, ContainsRegex("steps=2 .* heldout_accuracy=0\\.[45][0-9]+ "));
  EXPECT_NE(Weights("tuned"), Content(absl::StrCat(kBase, "/model.safetensors")));
  // What sft measured is what eval measures.
  const std::string accuracy = outcome.err.substr(outcome.err.find("heldout_accuracy=") + 17, 6);
  EXPECT_THAT(Eval(Path("tuned"), {}).err, HasSubstr("accuracy=" + accuracy));
}

TEST_F(SftAndEvalTest, ALimitTakesPromptsFromAllOverTheFile) {
  ASSERT_EQ(Eval(kBase, {"--limit", "10", "--run", Path("r")}).exit_code, kExitOk);
  const std::vector<std::string> lines =
      absl::StrSplit(Content(Path("r/results.jsonl")), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 10u);
  EXPECT_THAT(std::string(json::parse(lines[0])["id"]), ::testing::StartsWith("0+"));
  EXPECT_THAT(std::string(json::parse(lines[5])["id"]), ContainsRegex("^[45][0-9]\\+"));
}

TEST_F(SftAndEvalTest, OptionsThatDoNotFitTogetherAreWrongUsage) {
  EXPECT_EQ(Dtrpo({"sft"}).exit_code, kExitUsage);
  EXPECT_EQ(Dtrpo({"eval"}).exit_code, kExitUsage);
  EXPECT_EQ(Dtrpo({"make-arithmetic"}).exit_code, kExitUsage);
  EXPECT_EQ(Sft("a", {"--init", "zeros"}).exit_code, kExitUsage);
  EXPECT_EQ(Sft("a", {"--boundary", "exclude"}).exit_code, kExitUsage);
  EXPECT_EQ(Sft("a", {"--steps", "0"}).exit_code, kExitUsage);
  EXPECT_EQ(Eval(kBase, {"--verifier", "vibes"}).exit_code, kExitUsage);
  const Outcome no_heldout = Sft("a", {"--evaluate-every", "5"});
  EXPECT_EQ(no_heldout.exit_code, kExitUsage);
  EXPECT_THAT(no_heldout.err, HasSubstr("--evaluate-every needs --heldout"));
  const Outcome no_cadence =
      Sft("a", {"--heldout", Path("heldout.jsonl"), "--stop-at-accuracy", "0.5"});
  EXPECT_EQ(no_cadence.exit_code, kExitUsage);
  EXPECT_THAT(no_cadence.err, HasSubstr("--stop-at-accuracy needs --evaluate-every"));
}

// One line, naming file and place, and exit code 1.
void ExpectFailure(const Outcome& outcome, const std::string& words) {
  EXPECT_EQ(outcome.exit_code, kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr(words));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST_F(SftAndEvalTest, FailuresAreOneLineThatNamesThePlace) {
  std::filesystem::create_directories(Path("precious"));
  ExpectFailure(Sft("precious", {}), "precious: exists and is no checkpoint");

  ExpectFailure(Eval(Path("nowhere"), {}), "nowhere: no such model folder");
  ExpectFailure(Eval(kBase, {"--answer-field", "sum"}), "heldout.jsonl:1: field 'sum': missing");
  ExpectFailure(Sft("a", {"--answer-field", "sum"}), "train.jsonl:1: field 'sum': missing");

  std::ofstream(Path("train.jsonl"))
      << json({{"id", "a"}, {"prompt", "1+1"}, {"answer", std::string(2000, '1')}}).dump();
  ExpectFailure(Sft("a", {}), "train.jsonl:1: field 'answer': with its prompt it has 2012 tokens");
  EXPECT_FALSE(std::filesystem::exists(Path("a")));
}

TEST_F(SftAndEvalTest, RandomWeightsNeedNoWeightsInTheFolder) {
  std::filesystem::create_directories(Path("bare"));
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json",
                           "added_tokens.json", "generation_config.json"}) {
    std::filesystem::copy(absl::StrCat(kBase, "/", file), Path(absl::StrCat("bare/", file)));
  }
  const std::vector<std::string> arguments = {
      "sft",     "--model", Path("bare"), "--data", Path("train.jsonl"), "--output", Path("out"),
      "--batch", "2",       "--steps",    "1"};
  ExpectFailure(Dtrpo(arguments), "bare/model.safetensors");
  std::vector<std::string> random = arguments;
  random.insert(random.end(), {"--init", "random"});
  EXPECT_EQ(Dtrpo(random).exit_code, kExitOk);
  EXPECT_FALSE(Weights("out").empty());
}

}  // namespace
}  // namespace dtrpo::tools
