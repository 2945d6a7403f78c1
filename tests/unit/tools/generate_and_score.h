// `dtrpo generate` and `dtrpo score` called as scripts call them, on tiny checkpoints.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tests/unit/tools/run_dtrpo.h"

namespace dtrpo::tools {

inline const char kModels[] = DTRPO_SOURCE_DIR "/tests/golden/model/";

class GenerateAndScoreTest : public ::testing::Test {
 protected:
  GenerateAndScoreTest() {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    prefix_ = absl::StrCat(::testing::TempDir(), "dtrpo_", name, "_");
    // A test with parameters has a slash in its name.
    std::replace(prefix_.begin() + ::testing::TempDir().size(), prefix_.end(), '/', '_');
    std::ofstream prompts(Path("p.jsonl"));
    for (int length = 1; length <= 9; ++length) {
      nlohmann::json line = {{"id", absl::StrCat("p", length)},
                             {"prompt_tokens", nlohmann::json::array()}};
      for (int i = 0; i < length; ++i) line["prompt_tokens"].push_back(4 + (7 * i + length) % 36);
      prompts << line.dump() << "\n";
    }
  }

  std::string Path(const std::string& name) const { return prefix_ + name; }

  Outcome Generate(std::vector<std::string> more, const std::string& output = "t.jsonl") const {
    std::vector<std::string> arguments = {"generate",   "--model",          model_,
                                          "--prompts",  Path("p.jsonl"),    "--output",
                                          Path(output), "--max-new-tokens", "10"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

  Outcome Score(std::vector<std::string> more, const std::string& output = "s.jsonl") const {
    std::vector<std::string> arguments = {"score",         "--model",  model_,      "--input",
                                          Path("t.jsonl"), "--output", Path(output)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

  std::string Content(const std::string& name) const {
    std::ostringstream content;
    content << std::ifstream(Path(name)).rdbuf();
    return content.str();
  }

  std::vector<nlohmann::json> Lines(const std::string& name) const {
    std::vector<nlohmann::json> lines;
    for (const absl::string_view line : absl::StrSplit(Content(name), '\n', absl::SkipEmpty())) {
      lines.push_back(nlohmann::json::parse(line));
    }
    return lines;
  }

 protected:
  std::string model_ = absl::StrCat(kModels, "fast_dllm_4_2_tied");

 private:
  std::string prefix_;
};

}  // namespace dtrpo::tools
