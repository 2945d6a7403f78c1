// `dtrpo compare-objectives` as scripts use it: two iterations of every objective on the example.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/unit/tools/run_dtrpo.h"
#include "tools/dtrpo/compare/comparison_file.h"

namespace dtrpo::tools {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class CompareObjectivesTest : public ::testing::Test {
 protected:
  CompareObjectivesTest() : folder_(support::TestFolder()) {
    EXPECT_EQ(Dtrpo({"make-arithmetic", "--output", folder_}).exit_code, kExitOk);
  }
  ~CompareObjectivesTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }

  Outcome Compare(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"compare-objectives",
                                          "--model",
                                          DTRPO_SOURCE_DIR "/examples/arithmetic/base",
                                          "--prompts",
                                          Path("train.jsonl"),
                                          "--heldout",
                                          Path("heldout.jsonl"),
                                          "--output",
                                          Path("runs.jsonl"),
                                          "--unmask",
                                          "steps:2",
                                          "--max-new-tokens",
                                          "4",
                                          "--threads",
                                          "1",
                                          "--iterations",
                                          "2",
                                          "--prompts-per-iteration",
                                          "8",
                                          "--samples-per-prompt",
                                          "4",
                                          "--evaluate-prompts",
                                          "20",
                                          "--variance-draws",
                                          "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Dtrpo(arguments);
  }

  const std::string folder_;
};

TEST_F(CompareObjectivesTest, EveryObjectiveIsARowAndFinishedRunsAreNotMadeAgain) {
  const Outcome first = Compare({});
  ASSERT_EQ(first.exit_code, kExitOk) << first.err;
  auto runs = ReadRuns(Path("runs.jsonl"));
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_THAT(*runs, SizeIs(5));
  const RunRecord dtrpo = (*runs)[0], exact = (*runs)[1], vrpo = (*runs)[2];
  EXPECT_EQ(dtrpo.key.objective, "dtrpo");
  EXPECT_THAT(dtrpo.accuracy, SizeIs(1));
  EXPECT_GT(dtrpo.FinalAccuracy(), 0.2);        // the base has about half
  EXPECT_EQ(dtrpo.plain_forwards_per_pair, 4);  // the paper's four forwards a pair
  EXPECT_EQ(dtrpo.forwards_per_pair, 2);
  // Eight masks, and the state that the correction needs.
  EXPECT_EQ(vrpo.plain_forwards_per_pair, 36);
  EXPECT_GT(vrpo.rows_per_pair, 3 * dtrpo.rows_per_pair);
  EXPECT_GT(dtrpo.variance, 0);
  EXPECT_LT(exact.variance, 1e-9);
  for (const RunRecord& run : *runs) {
    EXPECT_GT(run.pairs, 0) << run.key.objective;
    EXPECT_THAT(first.out, HasSubstr(absl::StrCat("\n| ", run.key.objective, " | 1 | ")));
  }
  EXPECT_THAT(first.out, Not(HasSubstr("staleness")));

  // Another part of the comparison; what is there stays and is in the tables.
  const Outcome second = Compare(
      {"--objectives", "dtrpo", "--staleness", "1,2", "--corrections", "on,off", "--seeds", "1,2"});
  ASSERT_EQ(second.exit_code, kExitOk) << second.err;
  EXPECT_THAT(second.err, Not(HasSubstr("dtrpo staleness 1 correction on seed 1:")));
  EXPECT_THAT(second.err, HasSubstr("dtrpo staleness 2 correction off seed 2: iteration 2 of 2"));
  EXPECT_THAT(second.err, ContainsRegex("\ncompare: runs=12 base_accuracy=0\\.[0-9]+ output="));
  EXPECT_THAT(second.out,
              HasSubstr("| objective | staleness | correction | seed 1 | seed 2 | mean |"));
  EXPECT_THAT(second.out,
              ContainsRegex("\\| dtrpo \\| 2 \\| none \\| 0\\.[0-9]+ \\| 0\\.[0-9]+ \\|"));
  EXPECT_THAT(second.out, HasSubstr("\n| vrpo | 1 | "));
  runs = ReadRuns(Path("runs.jsonl"));
  ASSERT_THAT(*runs, SizeIs(12));
  EXPECT_EQ(ToJsonLine((*runs)[0]), ToJsonLine(dtrpo));

  // Other settings: none of these.
  const Outcome third = Compare({"--objectives", "exact", "--beta", "0.2"});
  ASSERT_EQ(third.exit_code, kExitOk) << third.err;
  EXPECT_THAT(third.err, HasSubstr("compare: runs=1 "));
  EXPECT_THAT(third.out, Not(HasSubstr("vrpo")));
}

TEST_F(CompareObjectivesTest, AFileOfSomethingElseIsRefusedWithItsLine) {
  std::ofstream(Path("runs.jsonl")) << "\n{\"prompt\": 1}\n";
  const Outcome outcome = Compare({});
  EXPECT_EQ(outcome.exit_code, kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr("runs.jsonl:2: not a run of a comparison"));
}

}  // namespace
}  // namespace dtrpo::tools
