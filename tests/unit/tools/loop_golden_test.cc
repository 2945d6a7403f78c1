// `dtrpo generate` at temperature 0 against an independent twin of each family's published loop,
// run on `transformers` without cache or batch (tests/golden/make_loop_fixtures.py): whole answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/unit/tools/generate_and_score.h"

namespace dtrpo::tools {
namespace {

using nlohmann::json;

class LoopGoldenTest : public GenerateAndScoreTest,
                       public ::testing::WithParamInterface<std::string> {
 protected:
  LoopGoldenTest() { model_ = absl::StrCat(kModels, GetParam()); }

  // All answers of a case, from one call.
  void ExpectAnswers(const json& c, const std::string& batch) {
    std::ofstream prompts(Path("p.jsonl"));
    for (size_t i = 0; i < c["answers"].size(); ++i) {
      prompts << json({{"id", i}, {"prompt_tokens", c["answers"][i]["prompt_tokens"]}}) << "\n";
    }
    prompts.close();
    std::vector<std::string> arguments = {
        "generate", "--model",       model_,          "--prompts", Path("p.jsonl"),
        "--output", Path("t.jsonl"), "--temperature", "0",         "--batch",
        batch};
    for (const json& option : c["options"]) arguments.push_back(option);
    const Outcome outcome = Dtrpo(arguments);
    ASSERT_EQ(outcome.exit_code, kExitOk) << outcome.err;
    const std::vector<json> lines = Lines("t.jsonl");
    ASSERT_EQ(lines.size(), c["answers"].size());
    for (size_t i = 0; i < lines.size(); ++i) ExpectAnswer(lines[i], c["answers"][i]);
  }

  static void ExpectAnswer(const json& got, const json& expected) {
    SCOPED_TRACE(absl::StrCat("prompt of ", expected["prompt_tokens"].size(), " tokens"));
    EXPECT_EQ(got["response_tokens"], expected["response_tokens"]);
    EXPECT_EQ(got["unmask_step"], expected["unmask_step"]);
    EXPECT_EQ(got["stop_index"], expected["stop_index"]);
    ASSERT_EQ(got["behaviour_logprob"].size(), expected["logprob"].size());
    for (size_t i = 0; i < expected["logprob"].size(); ++i) {
      EXPECT_NEAR(got["behaviour_logprob"][i].get<double>(), expected["logprob"][i].get<double>(),
                  1e-4)
          << "response token " << i;
    }
  }
};

TEST_P(LoopGoldenTest, AnswersAreThoseOfThePublishedLoop) {
  std::ifstream file(absl::StrCat(DTRPO_SOURCE_DIR, "/tests/golden/loops/", GetParam(), ".json"));
  const json cases = json::parse(file);
  size_t answers = 0;
  for (const json& c : cases) {
    SCOPED_TRACE(absl::StrCat(c["loop"].get<std::string>(), " ", c["options"].dump()));
    for (const char* batch : {"64", "1", "3"}) ExpectAnswers(c, batch);
    answers += c["answers"].size();
  }
  EXPECT_GE(answers, 15u);
}

INSTANTIATE_TEST_SUITE_P(Families, LoopGoldenTest,
                         ::testing::Values("fast_dllm_4_2_tied", "fast_dllm_4_1_untied", "sdar",
                                           "llada", "dream"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace dtrpo::tools
