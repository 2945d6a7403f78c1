// `dtrpo train` as scripts use it: on a tiny checkpoint with the example's tokenizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/support/tiny_checkpoint.h"
#include "tools/dtrpo/cli.h"

namespace dtrpo::tools {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kLastLine[] =
    "\ntrain: pairs=[0-9]+ steps=[0-9]+ seconds=[0-9.]+ pairs_per_second=[0-9.]+ "
    "peak_rss_bytes=[0-9]+\n$";

struct Outcome {
  int exit_code = 0;
  std::string err;
};

Outcome Dtrpo(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv = {"dtrpo"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  Outcome outcome;
  ::testing::internal::CaptureStderr();
  outcome.exit_code = RunCli(static_cast<int>(argv.size()), argv.data());
  outcome.err = ::testing::internal::GetCapturedStderr();
  return outcome;
}

std::string Content(const std::string& path) {
  std::ostringstream content;
  content << std::ifstream(path).rdbuf();
  return content.str();
}

// The numbers that follow `name` in lines that contain `what`.
std::vector<double> Numbers(const std::string& output, const std::string& what,
                            const std::string& name) {
  std::vector<double> numbers;
  for (const absl::string_view line : absl::StrSplit(output, '\n')) {
    const size_t at = line.find(absl::StrCat(name, " "));
    if (!absl::StrContains(line, what) || at == absl::string_view::npos) continue;
    numbers.push_back(std::stod(std::string(line.substr(at + name.size() + 1))));
  }
  return numbers;
}

class TrainTest : public ::testing::Test {
 protected:
  TrainTest() : folder_(support::TestFolder()) {
    support::WriteTinyCheckpoint(Base(),
                                 {.tokenizer_from = DTRPO_SOURCE_DIR "/examples/arithmetic/base"});
    EXPECT_EQ(Dtrpo({"make-arithmetic", "--output", folder_}).exit_code, kExitOk);
    // Small digits are good and large ones bad: a model of random weights learns that at once.
    std::ofstream few(Path("few.jsonl"));
    for (int i = 0; i < 64; ++i) {
      few << nlohmann::json({{"prompt", absl::StrCat(i)},
                             {"chosen", absl::StrCat(1 + i % 3, 1 + i % 2)},
                             {"rejected", absl::StrCat(7 + i % 3, 8 + i % 2)}})
                 .dump()
          << "\n";
    }
  }
  ~TrainTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }
  std::string Base() const { return Path("base"); }
  std::string Weights(const std::string& output) const {
    return Content(Path(output + "/model.safetensors"));
  }

  Outcome Train(const std::string& output, const std::vector<std::string>& more,
                const std::string& pairs = "few.jsonl") const {
    std::vector<std::string> arguments = {
        "train",    "--model",           Base(),     "--pairs",   Path(pairs),
        "--output", Path(output),        "--unmask", "steps:2",   "--max-new-tokens",
        "8",        "--pairs-per-batch", "8",        "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

  const std::string folder_;
};

TEST_F(TrainTest, TheLossFallsHeldOutMarginsGrowAndTheCheckpointLoads) {
  const Outcome outcome =
      Train("new", {"--steps", "30", "--learning-rate", "3e-3", "--evaluate-every", "10"});
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.err, ContainsRegex(kLastLine));
  EXPECT_THAT(outcome.err, ContainsRegex("\ntrain: pairs=240 steps=30 "));
  EXPECT_THAT(outcome.err, ContainsRegex("train: step 30 of 30 loss [0-9.]+ margin [-0-9.]+ "
                                         "accuracy [0-9.]+ pairs/s [0-9.]+ ETA "));
  const std::vector<double> loss = Numbers(outcome.err, "train: step", "loss");
  ASSERT_GE(loss.size(), 4u);
  EXPECT_LT(loss.back(), loss.front() - 0.1);
  const std::vector<double> margin = Numbers(outcome.err, "train: heldout", "margin");
  ASSERT_EQ(margin.size(), 4u) << outcome.err;  // before, at 10 and 20, after
  EXPECT_NEAR(margin.front(), 0, 1e-4);
  EXPECT_GT(margin.back(), 0.05);
  EXPECT_NE(Weights("new"), Weights("base"));
  const Outcome eval = Dtrpo({"eval", "--model", Path("new"), "--data", Path("heldout.jsonl"),
                              "--limit", "3", "--unmask", "steps:2", "--max-new-tokens", "4"});
  EXPECT_EQ(eval.exit_code, kExitOk) << eval.err;
}

TEST_F(TrainTest, TheSameSeedRepeatsBitForBit) {
  const std::vector<std::string> options = {"--steps", "3",     "--learning-rate", "1e-3",
                                            "--order", "noise", "--heldout-share", "0"};
  ASSERT_EQ(Train("a", options).exit_code, kExitOk);
  ASSERT_EQ(Train("b", options).exit_code, kExitOk);
  EXPECT_EQ(Weights("a"), Weights("b"));
  std::vector<std::string> other = options;
  other.insert(other.end(), {"--seed", "2"});
  const Outcome outcome = Train("c", other);
  EXPECT_NE(Weights("a"), Weights("c"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("train: heldout")));
  EXPECT_THAT(outcome.err, HasSubstr(": 64 pairs to train on, 0 held out, 0 lines rejected\n"));
}

TEST_F(TrainTest, EveryFamilyTrainsOnPairsOfTokens) {
  std::ofstream pairs(Path("tokens.jsonl"));
  for (int i = 1; i < 10; ++i) {
    pairs << nlohmann::json({{"prompt_tokens", std::vector<int>(i, 10 + i)},
                             {"chosen_tokens", {20, 21, 22, 23, 24}},
                             {"rejected_tokens", {39, 38, 37}}})
                 .dump()
          << "\n";
  }
  pairs.close();
  for (const std::string family : {"fast_dllm_4_2_tied", "sdar", "llada", "dream"}) {
    const Outcome outcome = Dtrpo({"train",
                                   "--model",
                                   absl::StrCat(DTRPO_SOURCE_DIR "/tests/golden/model/", family),
                                   "--pairs",
                                   Path("tokens.jsonl"),
                                   "--output",
                                   Path(family),
                                   "--unmask",
                                   "steps:2",
                                   "--max-new-tokens",
                                   "8",
                                   "--pairs-per-batch",
                                   "4",
                                   "--steps",
                                   "20",
                                   "--learning-rate",
                                   "3e-3",
                                   "--heldout-share",
                                   "0.3",
                                   "--threads",
                                   "1"});
    ASSERT_EQ(outcome.exit_code, kExitOk) << family << outcome.err;
    EXPECT_THAT(outcome.err, ContainsRegex(kLastLine)) << family;
    const std::vector<double> margin = Numbers(outcome.err, "train: heldout", "margin");
    ASSERT_GE(margin.size(), 2u) << family << outcome.err;
    EXPECT_GT(margin.back(), margin.front() + 0.05) << family;
  }
}

TEST_F(TrainTest, LinesThatAreNoPairsAreCountedAndListed) {
  std::ofstream(Path("mixed.jsonl"))
      << "{\"prompt\": \"1+2=\", \"chosen\": \"3\", \"rejected\": \"4\"}\n"
      << "{\"prompt\": \"1+2=\", \"chosen\": \"3\"\n"
      << "{\"prompt\": \"1+2=\", \"chosen\": \"3\", \"rejected\": \"3\"}\n"
      << "{\"prompt\": \"1+2=\", \"chosen\": \"1234567\", \"rejected\": \"3\"}\n"
      << "{\"prompt\": \"1+2=\", \"chosen\": \"12345678\", \"rejected\": \"3\"}\n";
  const Outcome outcome = Train("new", {"--heldout-share", "0"}, "mixed.jsonl");
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("2 pairs to train on, 0 held out, 3 lines rejected"));
  EXPECT_THAT(outcome.err, HasSubstr("mixed.jsonl:2: not a JSON object"));
  EXPECT_THAT(outcome.err, ContainsRegex("\ntrain: pairs=2 steps=1 "));  // one epoch
  const std::vector<std::string> lines =
      absl::StrSplit(Content(Path("new.rejects.jsonl")), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  const auto last = nlohmann::json::parse(lines[2]);
  EXPECT_EQ(last["line"], 5);
  EXPECT_EQ(last["reason"],
            "field 'chosen': too long: 9 tokens with its stop token, the limit is 8");
  EXPECT_THAT(std::string(last["beginning"]), HasSubstr("12345678"));
}

TEST_F(TrainTest, AnInterruptEndsItAfterTheStepItIsInAndSavesWhatItHasLearnt) {
  std::thread interrupt([] {
    struct sigaction now = {};
    do {  // until the command catches it
      absl::SleepFor(absl::Milliseconds(5));
      sigaction(SIGINT, nullptr, &now);
    } while (now.sa_handler == SIG_DFL);
    absl::SleepFor(absl::Seconds(1));  // dozens of steps
    kill(getpid(), SIGINT);
  });
  const Outcome outcome =
      Train("new", {"--steps", "1000000", "--learning-rate", "1e-6", "--evaluate-every", "0"});
  interrupt.join();
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  EXPECT_THAT(outcome.err, ContainsRegex("train: stopped after step [0-9]+ of 1000000; the "));
  EXPECT_THAT(outcome.err, ContainsRegex(kLastLine));
  EXPECT_NE(Weights("new"), Weights("base"));
  struct sigaction after = {};
  sigaction(SIGINT, nullptr, &after);
  EXPECT_EQ(after.sa_handler, SIG_DFL);
}

TEST_F(TrainTest, RefusesBeforeItTrains) {
  EXPECT_EQ(Dtrpo({"train"}).exit_code, kExitUsage);
  EXPECT_EQ(Train("new", {"--order", "best"}).exit_code, kExitUsage);
  std::ofstream(Path("bad.jsonl")) << "\n{\"prompt\": \"1\"}\n";
  const Outcome bad = Train("new", {}, "bad.jsonl");
  EXPECT_EQ(bad.exit_code, kExitFailed);
  EXPECT_THAT(bad.err, HasSubstr("bad.jsonl:2: field 'chosen': missing; no line is a pair"));
  EXPECT_THAT(Train("new", {"--sub-block", "5"}).err, HasSubstr("sub_block 5"));
  const Outcome unmask = Dtrpo({"train", "--model", Base(), "--pairs", Path("few.jsonl"),
                                "--output", Path("new"), "--unmask", "steps:0"});
  EXPECT_THAT(unmask.err, HasSubstr("steps:0"));
  std::filesystem::create_directories(Path("mine"));
  EXPECT_THAT(Train("mine", {}).err, HasSubstr("--output"));
  EXPECT_FALSE(std::filesystem::exists(Path("new")));
}

}  // namespace
}  // namespace dtrpo::tools
