// `dtrpo generate` and `dtrpo score` as scripts use them, on a committed tiny checkpoint.
#include "tests/unit/tools/generate_and_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

TEST_F(GenerateAndScoreTest, GenerateWritesOneTrajectoryALineAndASummary) {
  const Outcome outcome = Generate({"--unmask", "steps:2"});
  ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
  const std::vector<json> lines = Lines("t.jsonl");
  ASSERT_EQ(lines.size(), 9u);
  for (const char* field : {"id", "prompt_tokens", "response_tokens", "unmask_step",
                            "behaviour_logprob", "block_size", "block_origin", "stop_index",
                            "finish_reason", "text", "seed", "weights_version", "sampler"}) {
    EXPECT_TRUE(lines[0].contains(field)) << field;
  }
  EXPECT_EQ(lines[0]["id"], "p1");
  EXPECT_EQ(lines[8]["id"], "p9");
  EXPECT_THAT(outcome.err, ContainsRegex("generate: sequences=9 tokens=[0-9]+ forwards=[0-9]+ "
                                         "seconds=[0-9.]+ tokens_per_second=[0-9.]+\n$"));
}

// One-forward terms equal the step-by-step cached sampler's record.
TEST_F(GenerateAndScoreTest, ExactScoreEqualsTheSamplersRecord) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--unmask", "steps:2", "--temperature", "1"},
                                             {"--unmask", "threshold:0.2"},
                                             {"--unmask", "threshold:0.3", "--temperature", "1",
                                              "--top-p", "0.9", "--sub-block", "2"}}) {
    ASSERT_EQ(Generate(options).exit_code, kExitOk);
    ASSERT_EQ(Score({"--exact"}).exit_code, kExitOk);
    const std::vector<json> sampled = Lines("t.jsonl");
    const std::vector<json> scored = Lines("s.jsonl");
    ASSERT_EQ(sampled.size(), scored.size());
    for (size_t i = 0; i < sampled.size(); ++i) {
      EXPECT_EQ(sampled[i]["id"], scored[i]["id"]);
      const int64_t stop = sampled[i]["stop_index"];
      double sum = 0;
      ASSERT_EQ(scored[i]["token_logprob"].size(), sampled[i]["response_tokens"].size());
      for (int64_t j = 0; j < static_cast<int64_t>(scored[i]["token_logprob"].size()); ++j) {
        const double recorded = sampled[i]["behaviour_logprob"][j];
        EXPECT_NEAR(scored[i]["token_logprob"][j].get<double>(), recorded, 1e-4);
        if (j < 10 && (stop < 0 || j <= stop)) sum += recorded;
      }
      EXPECT_NEAR(scored[i]["logprob"].get<double>(), sum, 1e-4);
    }
  }
}

TEST_F(GenerateAndScoreTest, ManyDrawsGiveTheExactLogProbability) {
  ASSERT_EQ(Generate({"--unmask", "steps:3", "--temperature", "1"}).exit_code, kExitOk);
  ASSERT_EQ(Score({"--exact"}, "exact.jsonl").exit_code, kExitOk);
  ASSERT_EQ(Score({"--draws", "4", "--seed", "9"}, "drawn.jsonl").exit_code, kExitOk);
  const std::vector<json> exact = Lines("exact.jsonl");
  const std::vector<json> drawn = Lines("drawn.jsonl");
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_NEAR(exact[i]["logprob"].get<double>(), drawn[i]["logprob"].get<double>(), 1e-4);
  }
}

TEST_F(GenerateAndScoreTest, SeedAndIdDecideWhateverTheBatch) {
  const std::vector<std::string> options = {"--temperature", "1", "--samples", "3"};
  const auto with = [&options](std::vector<std::string> more) {
    more.insert(more.end(), options.begin(), options.end());
    return more;
  };
  ASSERT_EQ(Generate(with({"--batch", "64"}), "a.jsonl").exit_code, kExitOk);
  ASSERT_EQ(Generate(with({"--batch", "1"}), "b.jsonl").exit_code, kExitOk);
  ASSERT_EQ(Generate(with({"--seed", "2"}), "c.jsonl").exit_code, kExitOk);
  const std::vector<json> a = Lines("a.jsonl");
  const std::vector<json> b = Lines("b.jsonl");
  const std::vector<json> c = Lines("c.jsonl");
  ASSERT_EQ(a.size(), 27u);
  EXPECT_EQ(a[1]["id"], "p1/1");
  int differ = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i]["response_tokens"], b[i]["response_tokens"]);
    EXPECT_EQ(a[i]["unmask_step"], b[i]["unmask_step"]);
    differ += a[i]["response_tokens"] != c[i]["response_tokens"];
  }
  EXPECT_GT(differ, 0);
}

TEST_F(GenerateAndScoreTest, WrongUsageExitsWithTwo) {
  EXPECT_EQ(Dtrpo({}).exit_code, kExitUsage);
  EXPECT_EQ(Dtrpo({"juggle"}).exit_code, kExitUsage);
  EXPECT_EQ(Dtrpo({"generate"}).exit_code, kExitUsage);
  EXPECT_EQ(Generate({"--unmask", "steps:0"}).exit_code, kExitUsage);
  EXPECT_EQ(Generate({"--top-p", "0"}).exit_code, kExitUsage);
  EXPECT_EQ(Generate({"--dtype", "int4"}).exit_code, kExitUsage);
  EXPECT_EQ(Score({"--exact", "--draws", "2"}).exit_code, kExitUsage);
  EXPECT_EQ(Score({"--draw-from", "page"}).exit_code, kExitUsage);
  EXPECT_THAT(Dtrpo({"generate"}).err, HasSubstr("dtrpo generate: --"));
  const Outcome samples = Generate({"--samples", "2"});
  EXPECT_EQ(samples.exit_code, kExitUsage);
  EXPECT_THAT(samples.err, HasSubstr("--temperature"));
}

TEST_F(GenerateAndScoreTest, HelpExitsWithZeroAndShowsPromptLines) {
  const Outcome outcome = Dtrpo({"generate", "--help"});
  EXPECT_EQ(outcome.exit_code, kExitOk);
  EXPECT_THAT(outcome.out, HasSubstr("prompt_tokens"));
}

// One line, naming file and place, and exit code 1.
void ExpectFailure(const Outcome& outcome, const std::string& words) {
  EXPECT_EQ(outcome.exit_code, kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr(words));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST_F(GenerateAndScoreTest, FailuresAreOneLineThatNamesThePlace) {
  ExpectFailure(Dtrpo({"generate", "--model", "/no/such/folder", "--prompts", Path("p.jsonl"),
                       "--output", Path("t.jsonl")}),
                "/no/such/folder");
  ExpectFailure(Dtrpo({"generate", "--model", model_, "--prompts", Path("none.jsonl"), "--output",
                       Path("t.jsonl")}),
                "none.jsonl");
  ExpectFailure(Dtrpo({"generate", "--model", model_, "--prompts", Path("p.jsonl"), "--output",
                       Path("t.jsonl"), "--max-new-tokens", "256"}),
                "p.jsonl:1: the prompt is too long");
  ExpectFailure(Generate({"--sub-block", "5"}), "sub_block 5");

  std::ofstream(Path("t.jsonl")) << "\n{\"id\": \"a\"}\n";
  ExpectFailure(Score({"--exact"}), "t.jsonl:2: ");
  std::ofstream(Path("t.jsonl")) << "";
  ExpectFailure(Score({"--exact"}), "t.jsonl: no trajectories");
}

}  // namespace
}  // namespace dtrpo::tools
