// `dtrpo train` that is killed goes on from its newest checkpoint, to the same bits.
#include <cstdlib>

#include "common/base/atomic_file.h"
#include "common/base/fault_points.h"
#include "nlohmann/json.hpp"
#include "tests/integration/loop_test.h"

namespace dtrpo {
namespace {

class TrainResumeTest : public LoopTest {
 protected:
  void WritePairs() {
    std::string lines;
    for (int i = 0; i < 40; ++i) {
      absl::StrAppend(
          &lines,
          nlohmann::json({{"prompt", absl::StrCat(i)}, {"chosen", "blue"}, {"rejected", "red"}})
              .dump(),
          "\n");
    }
    ASSERT_TRUE(
        base::WriteFileAtomically(base::PosixFileSystem(), folder_ + "/pairs.jsonl", lines).ok());
  }
  support::ProgramResult Train(const std::string& output, const std::string& fault = "",
                               const std::vector<std::string>& more = {}) const {
    if (fault.empty()) {
      unsetenv(base::kFaultPointsVariable);
    } else {
      setenv(base::kFaultPointsVariable, fault.c_str(), /*overwrite=*/1);
    }
    std::vector<std::string> arguments = {"dtrpo",
                                          "train",
                                          "--model",
                                          task_.base(),
                                          "--pairs",
                                          folder_ + "/pairs.jsonl",
                                          "--output",
                                          folder_ + "/" + output,
                                          "--rejects",
                                          folder_ + "/rejects.jsonl",
                                          "--unmask",
                                          "steps:2",
                                          "--max-new-tokens",
                                          "8",
                                          "--steps",
                                          "12",
                                          "--pairs-per-batch",
                                          "4",
                                          "--checkpoint-every",
                                          "3",
                                          "--learning-rate",
                                          "1e-3",
                                          "--threads",
                                          "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const support::ProgramResult result = Run(arguments, absl::Seconds(60));
    unsetenv(base::kFaultPointsVariable);
    return result;
  }
  std::string Weights(const std::string& output) const {
    return base::PosixFileSystem()
        ->Read(absl::StrCat(folder_, "/", output, "/model.safetensors"))
        .value_or("");
  }
};

TEST_F(TrainResumeTest, KilledAnywhereItEndsWithTheSameBits) {
  ASSERT_NO_FATAL_FAILURE(MakeTask(/*base_steps=*/1));
  ASSERT_NO_FATAL_FAILURE(WritePairs());
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--dtype", "bfloat16"}}) {
    const std::string kind = more.empty() ? "float32" : more.back();
    const auto whole = Train("whole-" + kind, "", more);
    ASSERT_EQ(whole.exit_code, 0) << whole.output;
    // In the middle of a step's wake, and between a checkpoint and the next step.
    for (const std::string fault : {"train.step_made:kill@5", "train.checkpoint_written:kill@2"}) {
      const std::string output = absl::StrCat(kind, "-", fault.substr(6, 4));
      const auto killed = Train(output, fault, more);
      ASSERT_EQ(killed.exit_code, 128 + 9) << killed.output;
      const auto rest = Train(output, "", more);
      ASSERT_EQ(rest.exit_code, 0) << rest.output;
      EXPECT_NE(rest.output.find("train: goes on after step "), std::string::npos) << rest.output;
      EXPECT_NE(Weights(output), "");
      EXPECT_EQ(Weights(output), Weights("whole-" + kind)) << output;
      EXPECT_FALSE(base::PosixFileSystem()->Exists(
          absl::StrCat(folder_, "/", output, "/training_state.json")));
    }
  }
}

TEST_F(TrainResumeTest, OtherOptionsAreRefusedWithWords) {
  ASSERT_NO_FATAL_FAILURE(MakeTask(/*base_steps=*/1));
  ASSERT_NO_FATAL_FAILURE(WritePairs());
  ASSERT_EQ(Train("out", "train.step_made:kill@5").exit_code, 128 + 9);
  const auto other = Train("out", "", {"--beta", "0.5"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.output.find("an interrupted training with other options"), std::string::npos)
      << other.output;
  const auto restarted = Train("out", "", {"--beta", "0.5", "--restart"});
  EXPECT_EQ(restarted.exit_code, 0) << restarted.output;
  EXPECT_EQ(restarted.output.find("goes on"), std::string::npos);
  EXPECT_NE(restarted.output.find("train: pairs=48 steps=12 "), std::string::npos);
}

}  // namespace
}  // namespace dtrpo
