#include "common/storage/rocksdb_engine.h"

#include <atomic>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/base/atomic_file.h"
#include "common/base/fault_points.h"
#include "common/base/retry_after.h"
#include "common/storage/store_repair.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "tests/unit/storage/scratch_folder.h"
#include "tests/unit/storage/store_script.h"
#include "tests/unit/storage/test_disk.h"

namespace dtrpo::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RocksDbEngineTest : public ::testing::Test {
 protected:
  RocksDbEngineTest()
      : disk_(std::make_shared<TestDisk>()), env_(rocksdb::NewCompositeEnv(disk_).release()) {}
  ~RocksDbEngineTest() override {
    base::DisarmFaultPoints();
    disk_->Break(TestDisk::Failure::kNone);
    disk_->ReleaseSyncs();
  }

  absl::StatusOr<std::unique_ptr<StorageEngine>> Open() {
    said_.clear();
    return OpenRocksDb({.folder = folder_.path(),
                        .progress = [this](const std::string& what) { said_ += what + "\n"; },
                        .on_sync =
                            [this](absl::Duration, int64_t steps) {
                              ++syncs_;
                              synced_steps_ += steps;
                            },
                        .env = env_});
  }
  std::unique_ptr<StorageEngine> MustOpen() {
    auto engine = Open();
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }
  // Leaves the store as a killed process would.
  void Kill(std::unique_ptr<StorageEngine> engine) {
    disk_->CutPower();
    engine.reset();
    disk_->ForgetUnsynced(1);
  }
  std::vector<std::string> Files() { return *base::PosixFileSystem()->List(folder_ / "db"); }
  std::string LogFile() {
    std::string path;
    for (const std::string& name : Files()) {
      if (name.size() > 4 && name.substr(name.size() - 4) == ".log") {
        path = base::JoinPath(folder_ / "db", name);
      }
    }
    return path;
  }
  static void ChangeFile(const std::string& path, const std::string& content) {
    ASSERT_TRUE(base::WriteFileAtomically(base::PosixFileSystem(), path, content).ok());
  }

  ScratchFolder folder_;
  std::shared_ptr<TestDisk> disk_;
  // Never destroyed: a store that failed uses it until the process ends.
  rocksdb::Env* const env_;
  std::string said_;
  std::atomic<int> syncs_ = 0;
  std::atomic<int64_t> synced_steps_ = 0;
};

// ---------------------------------------------------------------- group commit

TEST_F(RocksDbEngineTest, ConcurrentConfirmationsShareOneSync) {
  constexpr int kWriters = 32;
  auto engine = MustOpen();
  const int before = disk_->log_syncs();
  disk_->HoldSyncs();
  std::atomic<int> written = 0;
  std::atomic<int> confirmed = 0;
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([&, i] {
      const auto step = engine->Write("log " + std::to_string(i % 4), {.records = {"r"}});
      ASSERT_TRUE(step.ok()) << step.status();
      ++written;
      const auto level = engine->Confirm(step->sequence, Durability::kSync, absl::Minutes(1));
      ASSERT_TRUE(level.ok()) << level.status();
      EXPECT_EQ(*level, Durability::kSync);
      ++confirmed;
    });
  }
  while (written < kWriters) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(confirmed, 0);
  disk_->ReleaseSyncs();
  for (std::thread& writer : writers) writer.join();
  // The one that was under way, and one for everybody who came after it had begun.
  EXPECT_LE(disk_->log_syncs() - before, 2);
  EXPECT_GE(disk_->log_syncs() - before, 1);
  EXPECT_EQ(syncs_, disk_->log_syncs() - before) << "the observer is told of each";
  EXPECT_EQ(synced_steps_, kWriters);
}

TEST_F(RocksDbEngineTest, OneWriterAloneSyncsForEachConfirmation) {
  auto engine = MustOpen();
  const int before = disk_->log_syncs();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine->Append("log", {.records = {"r"}}).ok());
  EXPECT_EQ(disk_->log_syncs() - before, 10);
}

TEST_F(RocksDbEngineTest, LevelsBelowSyncDontSync) {
  auto engine = MustOpen();
  const int before = disk_->log_syncs();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(engine->Append("log", {.records = {"r"}}, Durability::kLog).ok());
    ASSERT_TRUE(engine->Append("log", {.records = {"r"}}, Durability::kMemory).ok());
  }
  EXPECT_EQ(disk_->log_syncs(), before);
}

// ---------------------------------------------------------------- a disk that misbehaves

TEST_F(RocksDbEngineTest, ASlowSyncIsADeadlineAndLosesNothing) {
  auto engine = MustOpen();
  disk_->HoldSyncs();
  const Written step = *engine->Write("log", {.records = {"r"}});
  EXPECT_EQ(
      engine->Confirm(step.sequence, Durability::kSync, absl::Milliseconds(50)).status().code(),
      absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(engine->Confirm(step.sequence, Durability::kLog, absl::Minutes(1)).ok());
  disk_->ReleaseSyncs();
  EXPECT_TRUE(engine->Confirm(step.sequence, Durability::kSync, absl::Minutes(1)).ok());
}

TEST_F(RocksDbEngineTest, AFullOrReadOnlyDiskIsSaidAndLosesNothingConfirmed) {
  for (TestDisk::Failure failure : {TestDisk::Failure::kFull, TestDisk::Failure::kReadOnly}) {
    const StoreScript script(7, failure == TestDisk::Failure::kFull ? "full" : "read only");
    const ScratchFolder folder;
    auto engine = *OpenRocksDb({.folder = folder.path(), .env = env_});
    ScriptState state;
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(engine->Append(script.log(), script.Next(state)).ok());
      if (script.SnapshotAfter(state)) {
        ASSERT_TRUE(engine->WriteSnapshot(script.log(), script.SnapshotOf(state)).ok());
      }
    }
    const int64_t confirmed = state.steps;
    disk_->Break(failure);
    const absl::Status refused = engine->Append(script.log(), script.Next(state)).status();
    EXPECT_EQ(base::GetReason(refused), kStoreFailed) << refused;
    EXPECT_THAT(refused.message(),
                HasSubstr(failure == TestDisk::Failure::kFull ? "No space left on device"
                                                              : "Read-only file system"));
    EXPECT_THAT(refused.message(), HasSubstr(folder.path()));
    // The disk works again, but what it holds isn't known any more.
    disk_->Break(TestDisk::Failure::kNone);
    EXPECT_EQ(base::GetReason(engine->Append(script.log(), {.records = {"r"}}).status()),
              kStoreFailed);
    engine.reset();
    // This process can't open that folder any more; another one would find this.
    const ScratchFolder copy;
    std::filesystem::copy(folder.path(), copy.path(), std::filesystem::copy_options::recursive);
    engine = *OpenRocksDb({.folder = copy.path()});
    const auto found = script.Check(*engine);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_GE(found->steps, confirmed);
  }
}

TEST_F(RocksDbEngineTest, BeforeTheDiskIsFullStepsAreRefusedAndNothingBreaks) {
  auto engine = MustOpen();
  ASSERT_TRUE(base::ArmFaultPoints({"storage.disk_full:error"}).ok());
  const absl::Status refused = engine->Append("log", {.records = {"r"}}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::GetReason(refused), kDiskFull);
  EXPECT_TRUE(base::GetRetryAfter(refused).has_value());
  base::DisarmFaultPoints();
  EXPECT_EQ(engine->Append("log", {.records = {"r"}})->position, 1);

  engine.reset();
  const auto picky = OpenRocksDb({.folder = folder_.path(), .min_free_bytes = int64_t{1} << 60});
  EXPECT_EQ(base::GetReason((*picky)->Append("log", {.records = {"r"}}).status()), kDiskFull);
}

TEST_F(RocksDbEngineTest, AFailedSyncIsNeverForgiven) {
  auto engine = MustOpen();
  ASSERT_TRUE(engine->Append("log", {.records = {"1"}}).ok());
  ASSERT_TRUE(base::ArmFaultPoints({"storage.before_sync:error"}).ok());
  EXPECT_EQ(base::GetReason(engine->Append("log", {.records = {"2"}}).status()), kStoreFailed);
  base::DisarmFaultPoints();
  EXPECT_EQ(base::GetReason(engine->Write("log", {.records = {"3"}}).status()), kStoreFailed);
}

// ---------------------------------------------------------------- what may be opened

TEST_F(RocksDbEngineTest, AStoreHasOneOwner) {
  auto engine = MustOpen();
  const absl::Status second = Open().status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr("another process"));
  engine.reset();
  EXPECT_TRUE(Open().ok());
}

TEST_F(RocksDbEngineTest, OtherFormatsAreRefusedInWords) {
  MustOpen()->Close().IgnoreError();
  const std::string format = folder_ / "FORMAT";
  ChangeFile(format, "dtrpo store, format 2\n");
  EXPECT_THAT(Open().status().message(), HasSubstr("a newer program wrote it"));
  ChangeFile(format, "dtrpo store, format 0\n");
  EXPECT_THAT(Open().status().message(), HasSubstr("no migration"));
  for (const char* odd : {"", "format", "dtrpo store, format x", "dtrpo store, format 1 2"}) {
    ChangeFile(format, odd);
    EXPECT_THAT(Open().status().message(), HasSubstr("isn't the FORMAT file")) << odd;
  }
  ASSERT_TRUE(base::PosixFileSystem()->RemoveFile(format).ok());
  EXPECT_THAT(Open().status().message(), HasSubstr("no FORMAT file"));
  ChangeFile(format, "dtrpo store, format 1\n");
  EXPECT_TRUE(Open().ok());
}

// ---------------------------------------------------------------- damage

TEST_F(RocksDbEngineTest, ATornEndIsCutAtTheLastWholeRecordAndSaidSo) {
  auto engine = MustOpen();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->Append("log", {.records = {"record"}}).ok());
  Kill(std::move(engine));
  const std::string path = LogFile();
  const std::string content = *base::PosixFileSystem()->Read(path);
  ChangeFile(path, content.substr(0, content.size() - 4));
  engine = MustOpen();
  EXPECT_EQ(engine->SizeOf("log")->last, 4);
  EXPECT_THAT(said_, HasSubstr("the log was cut at its last whole record: " + path));
  EXPECT_THAT(said_, HasSubstr("bytes dropped"));
}

TEST_F(RocksDbEngineTest, DamageInTheMiddleOfTheLogRefusesAndNamesFileAndOffset) {
  auto engine = MustOpen();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->Append("log", {.records = {"record"}}).ok());
  Kill(std::move(engine));
  const std::string path = LogFile();
  std::string content = *base::PosixFileSystem()->Read(path);
  content[content.size() / 2] ^= 1;
  ChangeFile(path, content);
  const absl::Status refused = Open().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(refused.message(), HasSubstr(path));
  EXPECT_THAT(refused.message(), HasSubstr("at offset "));
  EXPECT_THAT(refused.message(), HasSubstr("dtrpo-store repair"));
  EXPECT_EQ(*base::PosixFileSystem()->Read(path), content) << "a refusal changes nothing";

  // The repair keeps what stands before the damage.
  RepairReport report = *RepairLog(base::PosixFileSystem(), folder_.path(), /*dry_run=*/true);
  EXPECT_EQ(report.lines.size(), 1u);
  EXPECT_GT(report.lost_records, 0);
  EXPECT_FALSE(Open().ok());
  report = *RepairLog(base::PosixFileSystem(), folder_.path(), /*dry_run=*/false);
  EXPECT_THAT(report.lines[0], HasSubstr(path));
  EXPECT_EQ(
      *base::PosixFileSystem()->Read(base::JoinPath(folder_ / "damaged", base::BaseName(path))),
      content);
  auto repaired = MustOpen();
  EXPECT_LT(repaired->SizeOf("log")->last, 5);
  EXPECT_TRUE(repaired->Append("log", {.records = {"next"}}).ok());
  EXPECT_FALSE(RepairLog(base::PosixFileSystem(), folder_.path(), false).ok()) << "it is open";
  repaired.reset();
  EXPECT_TRUE(RepairLog(base::PosixFileSystem(), folder_.path(), false)->lines.empty());
}

TEST_F(RocksDbEngineTest, DamageInATableIsNamedWhereItIsRead) {
  auto engine = MustOpen();
  const StoreScript script(3, "log");
  ScriptState state;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(engine->Append("log", script.Next(state), Durability::kLog).ok());
    if (script.SnapshotAfter(state)) {
      ASSERT_TRUE(engine->WriteSnapshot("log", script.SnapshotOf(state)).ok());
    }
  }
  Kill(std::move(engine));
  engine = MustOpen();  // which writes what the log holds into tables
  engine.reset();
  int damaged = 0;
  for (const std::string& name : Files()) {
    const bool table = name.ends_with(".sst") || name.ends_with(".blob");
    if (!table) continue;
    const std::string path = base::JoinPath(folder_ / "db", name);
    const std::string before = *base::PosixFileSystem()->Read(path);
    std::string content = before;
    for (size_t at = 0; at < content.size(); at += 64) content[at] ^= 0x55;
    ChangeFile(path, content);
    auto opened = Open();
    absl::Status status = opened.status();
    if (opened.ok()) status = script.Check(**opened).status();
    EXPECT_FALSE(status.ok()) << name;
    // Of a blob file RocksDB names the value instead, when its header is gone.
    EXPECT_THAT(status.ToString(), HasSubstr(name.ends_with(".sst") ? name : "body "));
    if (opened.ok()) opened->reset();
    ChangeFile(path, before);
    ++damaged;
  }
  EXPECT_GE(damaged, 2);
  engine = MustOpen();
  EXPECT_TRUE(script.Check(*engine).ok());
}

// Whatever bytes a store is made of, opening it says so or gives what a script may leave.
TEST_F(RocksDbEngineTest, RandomDamageIsNeverReadAsSomethingElse) {
  const StoreScript script(11, "log", /*small=*/true);
  {
    auto engine = *OpenRocksDb({.folder = folder_.path(), .write_buffer_bytes = 64 << 10});
    ScriptState state;
    for (int i = 0; i < 60; ++i) {
      ASSERT_TRUE(AppendPatiently(*engine, "log", script.Next(state), Durability::kLog).ok());
      if (script.SnapshotAfter(state)) {
        ASSERT_TRUE(SnapshotPatiently(*engine, "log", script.SnapshotOf(state)).ok());
      }
    }
  }
  std::mt19937_64 random(5);
  int refused = 0;
  for (int round = 0; round < 40; ++round) {
    const ScratchFolder copy;
    std::filesystem::copy(folder_.path(), copy.path(), std::filesystem::copy_options::recursive);
    const std::vector<std::string> names = Files();
    const std::string path = base::JoinPath(copy / "db", names[random() % names.size()]);
    std::string content = *base::PosixFileSystem()->Read(path);
    if (content.empty()) continue;
    const size_t at = random() % content.size();
    switch (random() % 3) {
      case 0:
        content[at] = static_cast<char>(content[at] ^ (1 + random() % 255));
        break;
      case 1:
        content.resize(at);
        break;
      default:
        for (size_t i = at; i < std::min(content.size(), at + 200); ++i) {
          content[i] = static_cast<char>(random());
        }
    }
    ChangeFile(path, content);
    auto opened = OpenRocksDb({.folder = copy.path()});
    absl::Status status = opened.status();
    if (opened.ok()) status = script.Check(**opened).status();
    if (status.ok()) continue;
    ++refused;
    // The script's own words mean that the engine returned something else without noticing.
    EXPECT_THAT(status.ToString(), Not(HasSubstr(" is wrong"))) << path;
  }
  EXPECT_GT(refused, 5);
}

TEST_F(RocksDbEngineTest, SpaceComesBackWhenBodiesAreDeleted) {
  auto engine = MustOpen();
  const std::string body(100 << 10, 'b');
  constexpr int kBodies = 600;
  for (int i = 0; i < kBodies;) {
    const absl::Status stored =
        engine->Append("job", {.records = {"r"}, .bodies = {{i, body}}}, Durability::kMemory)
            .status();
    if (stored.ok()) {
      ++i;
      continue;
    }
    ASSERT_EQ(base::GetReason(stored), kStoreBehind) << stored;
    absl::SleepFor(absl::Milliseconds(10));
  }
  engine.reset();
  engine = MustOpen();
  const int64_t full = engine->Size()->disk_bytes;
  EXPECT_GT(full, int64_t{kBodies} * 100 << 10);
  ASSERT_TRUE(
      engine->Append("job", {.records = {"closed"}, .deleted_bodies = {{0, kBodies}}}).ok());
  const absl::Time give_up = absl::Now() + absl::Seconds(50);
  while (engine->Size()->disk_bytes > full / 10 && absl::Now() < give_up) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_LT(engine->Size()->disk_bytes, full / 10);
}

}  // namespace
}  // namespace dtrpo::storage
