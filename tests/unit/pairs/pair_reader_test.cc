#include "common/pairs/pair_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/pairs/pair_rules.h"

namespace dtrpo::pairs {
namespace {

using ::testing::HasSubstr;

job::JobSpec Job() {
  job::JobSpec job;
  job.model.path = DTRPO_SOURCE_DIR "/examples/arithmetic/base";
  job.data.pairs_heldout = 0.3;
  job.sampling.unmask = "steps:2";
  job.sampling.max_new_tokens = 8;
  return job;
}

std::unique_ptr<PairReader> Reader(const job::JobSpec& job = Job()) {
  auto reader = PairReader::Load(job, base::PosixFileSystem());
  EXPECT_TRUE(reader.ok()) << reader.status();
  return *std::move(reader);
}

std::string Line(const std::string& prompt) {
  return absl::StrCat(R"({"prompt": ")", prompt, R"(", "chosen": "4", "rejected": "5"})");
}

TEST(PairReaderTest, TheOrderOfUnmaskingIsAFunctionOfSeedAndLine) {
  const auto reader = Reader();
  const auto once = reader->Read(Line("2+2="), 7);
  const auto again = Reader()->Read(Line("2+2="), 7);
  ASSERT_TRUE(once.ok()) << once.status();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(once->pair.id, "line/7");
  EXPECT_TRUE(once->pair.chosen.external);
  EXPECT_EQ(once->pair.chosen.unmask_step, again->pair.chosen.unmask_step);
  EXPECT_EQ(once->heldout, again->heldout);
  // Tokens of one answer come in another order on some other line.
  const std::string longer = R"({"prompt": "a", "chosen": "abcdef", "rejected": "b"})";
  int others = 0;
  for (int line = 2; line < 10; ++line) {
    others += reader->Read(longer, line)->pair.chosen.unmask_step !=
              reader->Read(longer, 1)->pair.chosen.unmask_step;
  }
  EXPECT_GT(others, 0);
}

TEST(PairReaderTest, AllPairsOfAPromptAreOnOneSideOfTheSplit) {
  const auto reader = Reader();
  int heldout = 0;
  for (int i = 0; i < 300; ++i) {
    const auto first = reader->Read(Line(absl::StrCat(i)), i + 1);
    const auto second = reader->Read(Line(absl::StrCat(i)), i + 1001);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_EQ(first->heldout, second->heldout) << i;
    heldout += first->heldout;
  }
  EXPECT_NEAR(heldout, 90, 25);
}

TEST(PairReaderTest, LinesThatBreakTheJobsLimitsSayWhich) {
  job::JobSpec job = Job();
  job.data.max_prompt_tokens = 12;
  const auto reader = Reader(job);
  for (const auto& [line, what] : {
           std::pair<std::string, std::string>{"{", "not a JSON object"},
           {R"({"prompt": "a", "chosen": "b", "rejected": "b"})", "equals 'chosen'"},
           {R"({"prompt": "a", "chosen": "123456789", "rejected": "b"})", "'chosen': too long"},
           {R"({"prompt": "aaaaaaaaaaaaaaaaaaaaaaaa", "chosen": "b", "rejected": "c"})",
            "'prompt': too long"},
       }) {
    const auto read = reader->Read(line, 1);
    ASSERT_FALSE(read.ok()) << line;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(what));
  }
}

TEST(PairRulesTest, OtherSamplersThanStepsUnmaskOneTokenAfterTheOther) {
  job::JobSpec job = Job();
  EXPECT_EQ(OrderOf(job)->steps, 2);
  job.sampling.unmask = "threshold:0.9";
  job.data.pairs_order = "noise";
  EXPECT_EQ(OrderOf(job)->steps, 0);
  EXPECT_EQ(OrderOf(job)->kind, trajectory::OrderKind::kNoise);
  job.sampling.sub_block = 8;
  EXPECT_THAT(PairReader::Load(job, base::PosixFileSystem()).status().ToString(),
              HasSubstr("sub_block 8: is larger than the block of 4"));
}

}  // namespace
}  // namespace dtrpo::pairs
