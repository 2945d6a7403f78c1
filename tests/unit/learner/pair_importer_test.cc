#include "services/learner/pair_importer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/retry_after.h"
#include "common/job/job_limits.h"

namespace dtrpo::learner {
namespace {

using ::testing::HasSubstr;

using Key = std::pair<int64_t, int64_t>;  // epoch, index

// Replay and coordinator as far as an import sees them.
class FakePairPeers : public PairPeers {
 public:
  absl::Status Insert(const wire::PromptOutcome& outcome, absl::Time) override {
    absl::MutexLock lock(&mutex_);
    if (static_cast<int64_t>(stored_.size()) >= room_) {
      ++refused_;
      return base::BackPressureError("full", "replay_full", absl::Milliseconds(1));
    }
    const Key key = {outcome.epoch, outcome.prompt_index - job::kFirstExternalPrompt};
    if (outcome.pairs.size() != 1) return absl::InvalidArgumentError("not one pair");
    const bool fresh = stored_.emplace(key, outcome.pairs.front()).second;
    duplicates_ += !fresh;
    return insert_answer_;
  }
  absl::StatusOr<v1::ReportPairsResponse> ReportPairs(v1::ReportPairsRequest request,
                                                      absl::Time) override {
    absl::MutexLock lock(&mutex_);
    if (!report_answer_.ok()) return report_answer_;
    if (request.has_file()) file_ = request.file();
    all_imported_ = all_imported_ || request.all_imported();
    return known_;
  }

  // False after 20 s.
  bool Await(const std::function<bool()>& what) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&what), absl::Seconds(20));
  }

  absl::Mutex mutex_;
  int64_t room_ = 1 << 20;
  int64_t refused_ = 0;
  int64_t duplicates_ = 0;
  bool all_imported_ = false;
  std::map<Key, trajectory::PreferencePair> stored_;
  v1::PairCounts file_;
  v1::ReportPairsResponse known_;
  absl::Status report_answer_, insert_answer_;
};

class PairImporterTest : public ::testing::Test {
 protected:
  PairImporterTest() {
    spec_.model.path = DTRPO_SOURCE_DIR "/examples/arithmetic/base";
    spec_.data.pairs = absl::StrCat(
        ::testing::TempDir(), "/pairs_", ::testing::UnitTest::GetInstance()->random_seed(), "_",
        ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".jsonl");
    spec_.data.pairs_heldout = 0.2;
    spec_.data.epochs = 2;
    spec_.sampling.unmask = "steps:2";
    spec_.sampling.max_new_tokens = 8;
    spec_.output = spec_.data.pairs + ".out";
    std::string lines;
    for (int i = 0; i < 40; ++i) {
      absl::StrAppend(&lines,
                      i % 10 == 4
                          ? "{}"
                          : absl::StrCat(R"({"prompt": ")", i, R"(+1=", "chosen": "1234", )",
                                         R"("rejected": "5"})"),
                      "\n");
    }
    EXPECT_TRUE(base::WriteFileAtomically(files_, spec_.data.pairs, lines).ok());
  }
  ~PairImporterTest() override {
    files_->RemoveFile(spec_.data.pairs).IgnoreError();
    files_->RemoveTree(spec_.output).IgnoreError();
  }

  std::unique_ptr<PairImporter> Start() {
    return std::make_unique<PairImporter>(
        PairImporter::Options{.job_id = "job-1", .spec = spec_},
        PairImporter::Deps{
            .peers = &peers_, .files = files_, .clock = base::RealClock(), .waits = &waits_});
  }

  base::FileSystem* const files_ = base::PosixFileSystem();
  base::WaitStateRegistry waits_;
  FakePairPeers peers_;
  job::JobSpec spec_;
};

TEST_F(PairImporterTest, EveryUsablePairIsImportedOnceAnEpochInAnOrderOfItsOwn) {
  auto importer = Start();
  ASSERT_TRUE(peers_.Await([this] { return peers_.all_imported_; }));
  const v1::PairCounts& file = peers_.file_;
  EXPECT_EQ(file.lines(), 40);
  EXPECT_EQ(file.rejected(), 4);
  EXPECT_EQ(file.lines(), file.rejected() + file.held_out() + file.usable());
  EXPECT_EQ(file.rejects(), PairImporter::RejectsPath(spec_));
  EXPECT_THAT(files_->Read(file.rejects()).value_or(""), HasSubstr("\"line\":5"));
  ASSERT_EQ(static_cast<int64_t>(peers_.stored_.size()), 2 * file.usable());
  std::vector<std::string> order[2];
  for (const auto& [key, pair] : peers_.stored_) {
    ASSERT_LT(key.second, file.usable());
    EXPECT_TRUE(pair.chosen.external);
    EXPECT_EQ(pair.chosen.id, pair.id + "/chosen");
    const std::string prefix = absl::StrCat("job-1/", key.first, "/line/");
    ASSERT_EQ(pair.id.substr(0, prefix.size()), prefix);
    order[key.first].push_back(pair.id.substr(prefix.size()));
  }
  EXPECT_NE(order[0], order[1]);
  const std::set<std::string> lines(order[0].begin(), order[0].end());
  EXPECT_EQ(lines, std::set<std::string>(order[1].begin(), order[1].end()));
  EXPECT_EQ(static_cast<int64_t>(lines.size()), file.usable());

  // Held-out pairs are in no epoch.
  const auto heldout = importer->HeldOut(absl::Now() + absl::Seconds(20));
  ASSERT_TRUE(heldout.ok()) << heldout.status();
  EXPECT_EQ(static_cast<int64_t>(heldout->size()), file.held_out());
  for (const auto& pair : *heldout) EXPECT_EQ(lines.count(pair.id.substr(5)), 0u) << pair.id;
  EXPECT_TRUE(importer->status().ok());
}

TEST_F(PairImporterTest, TheOrderOfUnmaskingIsKeptThroughTheEpochsAndTheDrawsAreNot) {
  auto importer = Start();
  ASSERT_TRUE(peers_.Await([this] { return peers_.all_imported_; }));
  std::map<std::string, std::vector<int32_t>> steps;
  for (const auto& [key, pair] : peers_.stored_) {
    const std::string line = pair.id.substr(pair.id.rfind('/'));
    const auto [it, fresh] = steps.emplace(line, pair.chosen.unmask_step);
    EXPECT_EQ(it->second, pair.chosen.unmask_step) << pair.id;
  }
}

TEST_F(PairImporterTest, AFullStoreIsWaitedForAndAStoppedRunEndsTheWait) {
  peers_.room_ = 3;
  auto importer = Start();
  ASSERT_TRUE(peers_.Await([this] { return peers_.refused_ > 2; }));
  EXPECT_TRUE(importer->status().ok());
  EXPECT_EQ(peers_.stored_.size(), 3u);
  importer.reset();
  EXPECT_FALSE(peers_.all_imported_);
}

TEST_F(PairImporterTest, AnImporterGoesOnWhereTheOneBeforeWasKilled) {
  peers_.room_ = 7;
  auto first = Start();
  ASSERT_TRUE(peers_.Await([this] { return peers_.refused_ > 0; }));
  first.reset();
  const auto before = peers_.stored_;
  // What the coordinator knows: uses 0 to 3 are consumed, 5 is stored; of 4 and 6 it has not heard.
  {
    absl::MutexLock lock(&peers_.mutex_);
    peers_.room_ = 1 << 20;
    peers_.known_.set_first_use(4);
    peers_.known_.add_known_uses(5);
  }
  auto second = Start();
  ASSERT_TRUE(peers_.Await([this] { return peers_.all_imported_; }));
  EXPECT_EQ(peers_.duplicates_, 2);
  EXPECT_EQ(static_cast<int64_t>(peers_.stored_.size()), 2 * peers_.file_.usable());
  for (const auto& [key, pair] : before) {
    EXPECT_EQ(peers_.stored_.at(key).id, pair.id);
    EXPECT_EQ(peers_.stored_.at(key).chosen.unmask_step, pair.chosen.unmask_step);
  }
}

TEST_F(PairImporterTest, WhatEndsAnImportIsToldToTheRun) {
  peers_.report_answer_ = absl::FailedPreconditionError("other pairs");
  auto refused = Start();
  EXPECT_EQ(refused->HeldOut(absl::Now() + absl::Seconds(20)).status().message(), "other pairs");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused->status()));

  peers_.report_answer_ = absl::OkStatus();
  spec_.data.pairs += ".missing";
  auto missing = Start();
  const auto status = missing->HeldOut(absl::Now() + absl::Seconds(20)).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("data.pairs"));
}

TEST_F(PairImporterTest, AStoreThatTakesNoMoreEndsTheImportQuietly) {
  peers_.insert_answer_ = absl::FailedPreconditionError("closed");
  base::SetReason(peers_.insert_answer_, "job_closed");
  auto importer = Start();
  ASSERT_TRUE(peers_.Await([this] { return !peers_.stored_.empty(); }));
  ASSERT_TRUE(importer->HeldOut(absl::Now() + absl::Seconds(20)).ok());
  importer.reset();
  EXPECT_FALSE(peers_.all_imported_);
}

}  // namespace
}  // namespace dtrpo::learner
