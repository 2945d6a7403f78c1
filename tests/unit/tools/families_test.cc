// Every model family from end to end: what `dtrpo generate` records is what `dtrpo score --exact`
// finds, in float32 to rounding and in bfloat16 to that type's error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/unit/tools/generate_and_score.h"

namespace dtrpo::tools {
namespace {

using nlohmann::json;

struct Family {
  std::string name;
  int32_t block_size = 0;  // 0: the checkpoint's own; the whole canvas where it has none
};

void PrintTo(const Family& family, std::ostream* out) {
  *out << family.name << " with blocks of " << family.block_size;
}

class FamiliesTest : public GenerateAndScoreTest, public ::testing::WithParamInterface<Family> {
 protected:
  FamiliesTest() { model_ = absl::StrCat(kModels, GetParam().name); }

  std::vector<std::string> With(std::vector<std::string> options) const {
    if (GetParam().block_size > 0) {
      options.push_back("--block-size");
      options.push_back(absl::StrCat(GetParam().block_size));
    }
    return options;
  }

  bool IsBidirectional() const { return GetParam().name == "llada" || GetParam().name == "dream"; }

  // |log-probability as sampled - as scored exactly| of every committed token.
  std::vector<double> Differences() const {
    const std::vector<json> sampled = Lines("t.jsonl");
    const std::vector<json> scored = Lines("s.jsonl");
    EXPECT_EQ(sampled.size(), 9u);
    EXPECT_EQ(scored.size(), 9u);
    std::vector<double> differences;
    for (size_t i = 0; i < scored.size(); ++i) {
      EXPECT_EQ(scored[i]["token_logprob"].size(), sampled[i]["response_tokens"].size());
      for (size_t j = 0; j < scored[i]["token_logprob"].size(); ++j) {
        if (sampled[i]["unmask_step"][j] == -1) continue;
        differences.push_back(std::abs(scored[i]["token_logprob"][j].get<double>() -
                                       sampled[i]["behaviour_logprob"][j].get<double>()));
      }
    }
    return differences;
  }
};

double Largest(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

TEST_P(FamiliesTest, ExactScoresEqualWhatWasRecorded) {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"--unmask", "steps:2", "--temperature", "1"},
                                             {"--unmask", "threshold:0.2"},
                                             {"--unmask", "threshold:0.3", "--temperature", "1",
                                              "--top-p", "0.9", "--sub-block", "3"}}) {
    const Outcome generated = Generate(With(options));
    ASSERT_EQ(generated.exit_code, kExitOk) << generated.err;
    const Outcome scored = Score(With({"--exact"}));
    ASSERT_EQ(scored.exit_code, kExitOk) << scored.err;
    const std::vector<double> differences = Differences();
    EXPECT_GT(differences.size(), 20u);
    EXPECT_LT(Largest(differences), 1e-4);
    const int32_t block = GetParam().block_size > 0 ? GetParam().block_size : 10;
    EXPECT_EQ(Lines("t.jsonl")[0]["block_size"], block);
    EXPECT_EQ(Lines("t.jsonl")[0]["block_origin"], IsBidirectional() ? "RESPONSE" : "ABSOLUTE");
  }
}

TEST_P(FamiliesTest, DrawsAreFromTheSequenceWhereStatesShareNoForward) {
  ASSERT_EQ(Generate(With({"--unmask", "steps:3", "--temperature", "1"})).exit_code, kExitOk);
  ASSERT_EQ(Score(With({"--exact"}), "exact.jsonl").exit_code, kExitOk);
  ASSERT_EQ(Score(With({"--draws", "1"}), "one.jsonl").exit_code, kExitOk);
  ASSERT_EQ(Score(With({"--draws", "1", "--draw-from", "block"}), "blocks.jsonl").exit_code,
            kExitOk);
  ASSERT_EQ(Score(With({"--draws", "100"}), "all.jsonl").exit_code, kExitOk);
  const std::vector<json> exact = Lines("exact.jsonl");
  const std::vector<json> all = Lines("all.jsonl");
  const auto drawn = [](const json& line) {
    size_t states = 0;
    for (const json& block : line["blocks"]) states += block["drawn_steps"].size();
    return states;
  };
  for (size_t i = 0; i < exact.size(); ++i) {
    EXPECT_NEAR(exact[i]["logprob"].get<double>(), all[i]["logprob"].get<double>(), 1e-4);
    size_t blocks = 0;
    for (const json& block : exact[i]["blocks"]) blocks += block["steps"] > 0;
    EXPECT_EQ(drawn(Lines("one.jsonl")[i]), IsBidirectional() ? 1u : blocks);
    EXPECT_EQ(drawn(Lines("blocks.jsonl")[i]), blocks);
  }
}

// Eight bits of mantissa: log-probabilities of a few nats agree to some hundredths.
TEST_P(FamiliesTest, Bfloat16AgreesWithFloat32WithinItsError) {
  ASSERT_EQ(Generate(With({"--unmask", "steps:2", "--temperature", "1"})).exit_code, kExitOk);
  ASSERT_EQ(Score(With({"--exact", "--dtype", "bfloat16"})).exit_code, kExitOk);
  std::vector<double> differences = Differences();
  EXPECT_LT(Largest(differences), 0.3);
  EXPECT_GT(Largest(differences), 1e-4) << "nothing was computed in bfloat16";
  // Both in bfloat16: only the order of summation differs.
  ASSERT_EQ(Generate(With({"--unmask", "steps:2", "--temperature", "1", "--dtype", "bfloat16"}))
                .exit_code,
            kExitOk);
  ASSERT_EQ(Score(With({"--exact", "--dtype", "bfloat16"})).exit_code, kExitOk);
  EXPECT_LT(Largest(Differences()), 0.2);
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, FamiliesTest,
                         ::testing::Values(Family{"sdar", 4}, Family{"sdar", 8}, Family{"sdar", 16},
                                           Family{"llada", 0}, Family{"llada", 4},
                                           Family{"dream", 0}, Family{"dream", 4}));

}  // namespace
}  // namespace dtrpo::tools
