#include "common/pairs/pair_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/memory_file_system.h"
#include "nlohmann/json.hpp"

namespace dtrpo::pairs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Line(int i) {
  return absl::StrCat(R"({"prompt": ")", i, R"(+1=", "chosen": "4", "rejected": "5"})");
}

class PairFileTest : public ::testing::Test {
 protected:
  PairFileTest() {
    job::JobSpec job;
    job.model.path = DTRPO_SOURCE_DIR "/examples/arithmetic/base";
    job.data.pairs_heldout = 0.25;
    job.sampling.max_new_tokens = 8;
    reader_ = *PairReader::Load(job, base::PosixFileSystem());
  }

  void Write(const std::string& content) {
    EXPECT_TRUE(base::WriteFileAtomically(&files_, "p.jsonl", content).ok());
  }
  absl::StatusOr<std::unique_ptr<PairFile>> Read(PairFile::Options options = {}) {
    if (options.rejects_path.empty()) options.rejects_path = "out/rejects.jsonl";
    return PairFile::Read(&files_, "p.jsonl", reader_.get(), options);
  }
  std::vector<int64_t> RejectedLines() {
    std::vector<int64_t> lines;
    const std::string list = files_.Read("out/rejects.jsonl").value_or("");
    for (size_t begin = 0; begin < list.size(); begin = list.find('\n', begin) + 1) {
      lines.push_back(
          nlohmann::json::parse(list.substr(begin, list.find('\n', begin) - begin))["line"]);
    }
    return lines;
  }

  base::MemoryFileSystem files_;
  std::unique_ptr<PairReader> reader_;
};

TEST_F(PairFileTest, EveryLineEndsInExactlyOneHeap) {
  std::string content;
  for (int i = 0; i < 200; ++i) {
    absl::StrAppend(&content, i % 20 == 3 ? "{\"prompt\": 1}" : Line(i), i % 2 == 0 ? "\n" : "\r\n",
                    i % 7 == 0 ? "\n" : "");
  }
  Write(content + Line(200));  // the last line has no end
  std::vector<std::string> usable;
  const auto file =
      Read({.usable = [&](trajectory::PreferencePair pair) { usable.push_back(pair.id); }});
  ASSERT_TRUE(file.ok()) << file.status();
  const PairCounts& counts = (*file)->counts();
  EXPECT_EQ(counts.lines, 201);
  EXPECT_EQ(counts.rejected, 10);
  EXPECT_EQ(counts.rejected + counts.held_out + counts.usable, counts.lines);
  EXPECT_THAT(RejectedLines(), SizeIs(10));
  EXPECT_THAT((*file)->rejects(), SizeIs(3));
  std::set<std::string> seen;
  for (int64_t i = 0; i < counts.usable; ++i) {
    const auto pair = (*file)->Usable(i);
    ASSERT_TRUE(pair.ok()) << pair.status();
    EXPECT_EQ(pair->id, usable[i]);
    EXPECT_TRUE(seen.insert(pair->id).second);
  }
  for (const auto& pair : (*file)->heldout()) EXPECT_TRUE(seen.insert(pair.id).second);
  EXPECT_EQ(static_cast<int64_t>(seen.size()), counts.usable + counts.held_out);
}

TEST_F(PairFileTest, WhichPairsAreHeldOutIsTheSameEachTimeAndBounded) {
  std::string content;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&content, Line(i), "\n");
  Write(content);
  const auto all = Read({.max_heldout = 0});
  const auto some = Read({.max_heldout = 5});
  const auto again = Read({.max_heldout = 5});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ((*all)->counts().held_out, static_cast<int64_t>((*all)->heldout().size()));
  EXPECT_EQ((*some)->counts().held_out, (*all)->counts().held_out);
  ASSERT_THAT((*some)->heldout(), SizeIs(5));
  for (int i = 0; i < 5; ++i) EXPECT_EQ((*some)->heldout()[i].id, (*again)->heldout()[i].id);
  EXPECT_EQ((*some)->fingerprint(), (*again)->fingerprint());
}

TEST_F(PairFileTest, LinesAcrossTheChunksOfTheReaderAreWhole) {
  // Fields that aren't used make lines of about 300 KiB, and one that is too long.
  const std::string ballast(300 << 10, 'x');
  std::string content;
  for (int i = 0; i < 12; ++i) {
    absl::StrAppend(&content, R"({"note": ")", ballast, R"(", "prompt": ")", i,
                    R"(", "chosen": "4", "rejected": "5"})", "\n");
    if (i == 5) absl::StrAppend(&content, std::string(kMaxPairLineBytes + 5, 'y'), "\n");
  }
  Write(content);
  double share = 0;
  const auto file = Read({.progress = [&](double now) {
    EXPECT_GT(now, share);
    share = now;
    return true;
  }});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(share, 1);
  EXPECT_EQ((*file)->counts().lines, 13);
  EXPECT_EQ((*file)->counts().rejected, 1);
  EXPECT_THAT(RejectedLines(), ElementsAre(7));
  for (int64_t i = 0; i < (*file)->counts().usable; ++i) EXPECT_TRUE((*file)->Usable(i).ok());
}

TEST_F(PairFileTest, AListOfAnEarlierRunIsReplaced) {
  Write(absl::StrCat("?\n", Line(1), "\n", Line(2), "\n", Line(3), "\n", Line(4)));
  ASSERT_TRUE(Read().ok());
  EXPECT_THAT(RejectedLines(), ElementsAre(1));
  Write(absl::StrCat(Line(1), "\n", Line(2), "\n", Line(3), "\n", Line(4)));
  ASSERT_TRUE(Read().ok());
  EXPECT_THAT(RejectedLines(), IsEmpty());
}

TEST_F(PairFileTest, AFileThatChangesUnderTheTrainingIsNoticed) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/changing.jsonl");
  const auto write = [&](int first) {
    std::ofstream file(path);  // in place
    for (int i = first; i < first + 40; ++i) file << Line(i) << "\n";
  };
  const auto read = [&] {
    return *PairFile::Read(base::PosixFileSystem(), path, reader_.get(), {});
  };
  write(10);
  const auto file = read();
  EXPECT_TRUE(file->Usable(0).ok());
  write(50);
  EXPECT_EQ(file->Usable(0).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(read()->fingerprint(), file->fingerprint());
  std::remove(path.c_str());
}

TEST_F(PairFileTest, AFileWithoutAPairSaysWhatIsWrongWithItsFirstLine) {
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
  Write("\n\n");
  EXPECT_THAT(Read().status().ToString(), HasSubstr("p.jsonl: no pairs to train on"));
  Write("\nhello\n");
  EXPECT_THAT(Read().status().ToString(),
              HasSubstr("p.jsonl:2: not a JSON object; no line is a pair to train on"));
  EXPECT_THAT(RejectedLines(), ElementsAre(2));
  Write(Line(1));
  EXPECT_EQ(Read({.progress = [](double) { return false; }}).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace dtrpo::pairs
