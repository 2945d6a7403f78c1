// dtrpo-replay on disks that are full, slow or read-only, and its drain: no confirmation that isn't
// true, a clear status, and the service goes on once it can.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/replay_client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/faults/replay_process.h"
#include "tests/unit/replay/test_pair.h"

namespace dtrpo::faults {
namespace {

using ::testing::HasSubstr;

constexpr char kJob[] = "disk-1";

class ReplayDiskTest : public ::testing::Test {
 protected:
  ReplayDiskTest()
      : folder_(absl::StrCat(::testing::TempDir(), "/replay_disk_",
                             ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~ReplayDiskTest() override {
    if (process_ != nullptr && process_->Running()) process_->Kill();
  }

  absl::Status Start(const std::string& fault_points = "") {
    if (process_ == nullptr) {
      process_ = std::make_unique<ReplayProcess>(
          folder_, absl::StrCat("engine: rocksdb\npath: \"", folder_,
                                "/store\"\nwrite_buffer_bytes: 65536\n"));
    }
    const absl::Status started = process_->Start(fault_points);
    if (!started.ok()) return started;
    factory_ = std::make_unique<rpc::ChannelFactory>(
        rpc::ChannelOptions{.identity = {.role = "rollout"}, .faults = {}});
    wire::ClientOptions options;
    options.target = "replay";
    client_ = *wire::MakeReplayClient({*factory_->Create(process_->address())}, options);
    return started;
  }

  void Open() {
    v1::ReplayJobOptions options;
    options.set_pairs_per_batch(2);
    options.set_publish_every(1);
    options.set_max_staleness(100);
    options.set_max_pairs_per_prompt(2);
    options.set_total_steps(100000);
    options.set_max_items(100000);
    const absl::Status opened = client_->OpenJob(kJob, options, Soon());
    ASSERT_TRUE(opened.ok()) << opened;
  }

  absl::Time Soon() const { return absl::Now() + absl::Seconds(60); }
  absl::StatusOr<wire::InsertResult> Insert(int64_t prompt, absl::Time deadline) {
    wire::PromptOutcome outcome;
    outcome.prompt_index = prompt;
    outcome.pairs.push_back(replay::TestPair(absl::StrCat("p", prompt), 0));
    return client_->Insert({kJob}, outcome, deadline);
  }
  int64_t Items() { return client_->GetStats(kJob, Soon())->items(); }

  std::string Log() const {
    std::ifstream file(folder_ + "/replay.log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string folder_;
  std::unique_ptr<ReplayProcess> process_;
  std::unique_ptr<rpc::ChannelFactory> factory_;
  std::unique_ptr<wire::ReplayClient> client_;
};

TEST_F(ReplayDiskTest, AFullDiskRefusesInsertsWithAReasonAndKeepsWhatWasConfirmed) {
  ASSERT_TRUE(Start().ok());
  ASSERT_NO_FATAL_FAILURE(Open());
  ASSERT_TRUE(Insert(0, Soon()).ok());
  process_->Kill();
  ASSERT_TRUE(Start("storage.disk_full:error").ok());
  const absl::Status full = Insert(1, absl::Now() + absl::Seconds(8)).status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_EQ(base::GetReason(full), "disk_full");
  EXPECT_EQ(Items(), 1);  // it still answers
  process_->Kill();
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(Items(), 1);
  const auto stored = Insert(1, Soon());
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_FALSE(stored->duplicate);
}

TEST_F(ReplayDiskTest, ASlowDiskConfirmsNothingEarly) {
  ASSERT_TRUE(Start("storage.before_sync:delay:1500").ok());
  ASSERT_NO_FATAL_FAILURE(Open());
  const absl::Time begin = absl::Now();
  const auto inserted = Insert(0, Soon());
  ASSERT_TRUE(inserted.ok()) << inserted.status();
  EXPECT_EQ(inserted->durability, v1::SYNC);
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(1400)) << "confirmed before the fsync";
  // Also the answer to a repeated insert rests upon the first one.
  EXPECT_TRUE(Insert(0, Soon())->duplicate);
}

TEST_F(ReplayDiskTest, AFailingDiskEndsTheProcessWithTheReasonAndTheNextStartHasWhatWasConfirmed) {
  ASSERT_TRUE(Start("storage.before_sync:error@4").ok());
  ASSERT_NO_FATAL_FAILURE(Open());
  std::set<int64_t> confirmed;
  for (int64_t prompt = 0; prompt < 6; ++prompt) {
    if (Insert(prompt, absl::Now() + absl::Seconds(5)).ok()) confirmed.insert(prompt);
  }
  EXPECT_FALSE(confirmed.empty());
  EXPECT_LT(confirmed.size(), 6u);
  for (const absl::Time end = absl::Now() + absl::Seconds(60); process_->Running();) {
    ASSERT_LT(absl::Now(), end) << "a process whose store failed goes on";
    absl::SleepFor(absl::Milliseconds(10));
  }
  ASSERT_TRUE(Start().ok());
  for (int64_t prompt : confirmed) {
    const auto again = Insert(prompt, Soon());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->duplicate) << "prompt " << prompt << " was confirmed and is lost";
  }
}

TEST_F(ReplayDiskTest, AFolderThatCantBeMadeIsNamed) {
  std::ofstream(folder_ + "/store") << "a file where the folder should be";
  EXPECT_FALSE(Start().ok());
  EXPECT_THAT(Log(), HasSubstr(folder_ + "/store"));
}

TEST_F(ReplayDiskTest, ADrainConfirmsAndEndsWithZero) {
  ASSERT_TRUE(Start().ok());
  ASSERT_NO_FATAL_FAILURE(Open());
  ASSERT_TRUE(Insert(0, Soon()).ok());
  EXPECT_EQ(process_->Stop(), "exited with 0");
  ASSERT_TRUE(Start().ok());
  EXPECT_THAT(Log(), HasSubstr("recovered jobs=1 items=1"));
  EXPECT_EQ(Items(), 1);
}

TEST_F(ReplayDiskTest, TheSpaceOfAClosedJobComesBack) {
  ASSERT_TRUE(Start().ok());
  ASSERT_NO_FATAL_FAILURE(Open());
  wire::PromptOutcome outcome;
  outcome.pairs.push_back(replay::TestPair("big", 0));
  // Text that doesn't compress: 8 MiB in all.
  uint64_t state = 1;
  for (int64_t prompt = 0; prompt < 400; ++prompt) {
    std::string& text = outcome.pairs[0].chosen.text;
    text.clear();
    while (text.size() < 20 << 10) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      text.push_back(static_cast<char>(' ' + (state >> 33) % 94));
    }
    outcome.prompt_index = prompt;
    ASSERT_TRUE(client_->Insert({kJob}, outcome, Soon()).ok());
  }
  const int64_t full = client_->GetStats(kJob, Soon())->disk_bytes();
  EXPECT_GT(full, 4 << 20);
  ASSERT_TRUE(client_->CloseJob(kJob, Soon()).ok());
  // Deleted files go in the background.
  v1::ReplayJobOptions options;
  options.set_pairs_per_batch(1);
  options.set_publish_every(1);
  options.set_max_pairs_per_prompt(1);
  options.set_total_steps(1);
  ASSERT_TRUE(client_->OpenJob("other", options, Soon()).ok());
  int64_t left = full;
  for (const absl::Time end = absl::Now() + absl::Seconds(60); left > full / 4;) {
    ASSERT_LT(absl::Now(), end) << left << " of " << full << " bytes are still taken";
    absl::SleepFor(absl::Milliseconds(100));
    left = client_->GetStats("other", Soon())->disk_bytes();
  }
}

}  // namespace
}  // namespace dtrpo::faults
