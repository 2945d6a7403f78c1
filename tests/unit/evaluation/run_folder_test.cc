#include "common/evaluation/run_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/base/memory_file_system.h"

namespace dtrpo::evaluation {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

JudgedAnswer Answer(const std::string& id, int sample, bool correct,
                    const std::string& unmask = "threshold:0.9") {
  return {.unmask = unmask,
          .id = id,
          .categories = {"easy"},
          .sample = sample,
          .question = "2+2=",
          .expected = "4",
          .answer = correct ? "4" : "5",
          .correct = correct,
          .finished = true,
          .reason = "because",
          .tokens = 4,
          .forwards = 2,
          .pieces = {correct ? "4" : "5"},
          .steps = {1}};
}

class RunFolderTest : public ::testing::Test {
 protected:
  std::unique_ptr<RunFolder> Open(const Json& settings) {
    auto folder = RunFolder::Open(&files_, "run", settings);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *std::move(folder) : nullptr;
  }

  const Json settings_ = {{"model", "m"}, {"seed", 1}, {"pass_k", {1, 2}}};
  base::MemoryFileSystem files_;
};

TEST_F(RunFolderTest, AnAnswerReadsBackAsItWas) {
  const JudgedAnswer answer = Answer("a", 1, true);
  const auto again = ParseAnswer(ToJsonLine(answer));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToJsonLine(*again), ToJsonLine(answer));
  EXPECT_FALSE(ParseAnswer("{}").ok());
  EXPECT_FALSE(ParseAnswer("7").ok());
}

TEST_F(RunFolderTest, ARunThatWasKilledGoesOnWithWhatItHas) {
  {
    auto run = Open(settings_);
    ASSERT_TRUE(run->Append({Answer("a", 0, true), Answer("a", 1, false)}, "threshold:0.9",
                            {.seconds = 2, .tokens = 8})
                    .ok());
  }
  // It died while it wrote a line.
  const std::string path = "run/results.jsonl";
  const std::string whole = *files_.Read(path);
  auto file = files_.OpenToAppend(path);
  ASSERT_TRUE(file.ok() && (*file)->Append(ToJsonLine(Answer("b", 0, true)).substr(0, 30)).ok());
  file->reset();

  auto run = Open(settings_);
  EXPECT_EQ(*files_.Read(path), whole);
  EXPECT_TRUE(run->Has("threshold:0.9", "a", 1));
  EXPECT_FALSE(run->Has("threshold:0.9", "b", 0));
  EXPECT_FALSE(run->Has("threshold:0.5", "a", 1));
  ASSERT_TRUE(run->Append({Answer("b", 0, true), Answer("b", 1, true)}, "threshold:0.9",
                          {.seconds = 2, .tokens = 8})
                  .ok());
  ASSERT_TRUE(run->WriteSummary().ok());

  const Json summary = Json::parse(*files_.Read("run/summary.json"));
  const Json& policy = summary["policies"][0];
  EXPECT_EQ(policy["questions"], 2);
  EXPECT_EQ(policy["answers"], 4);
  EXPECT_EQ(policy["tokens_per_forward"], 2.0);
  EXPECT_EQ(policy["forwards_per_answer"], 2.0);
  EXPECT_EQ(policy["estimates"][0]["value"], 0.75);  // pass@1 of all
  EXPECT_EQ(policy["estimates"][1]["value"], 1.0);   // pass@2
  EXPECT_EQ(policy["estimates"][2]["category"], "easy");
  EXPECT_EQ(summary["timing"]["threshold:0.9"]["tokens_per_second"], 4.0);
}

TEST_F(RunFolderTest, AFolderOfAnotherRunIsRefused) {
  Open(settings_);
  Json other = settings_;
  other["seed"] = 2;
  const auto refused = RunFolder::Open(&files_, "run", other);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("seed is 1 there, and 2 is asked for"));
  other = settings_;
  other.erase("seed");
  EXPECT_THAT(std::string(RunFolder::Open(&files_, "run", other).status().message()),
              HasSubstr("seed is 1 there, and missing is asked for"));
}

TEST_F(RunFolderTest, APathThatIsNoUtf8IsAskedForAgainAsItWas) {
  Json settings = settings_;
  settings["data"] = "\xff.jsonl";
  EXPECT_NE(Open(settings), nullptr);
  auto again = Open(settings);
  ASSERT_NE(again, nullptr);
  EXPECT_TRUE(again->WriteSummary().ok());
}

TEST_F(RunFolderTest, AFolderWithoutARunIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(ReadRun(&files_, "nowhere").status()));
}

}  // namespace
}  // namespace dtrpo::evaluation
