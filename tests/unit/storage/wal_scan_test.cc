#include "common/storage/wal_scan.h"

#include <string>
#include <vector>

#include "common/base/memory_file_system.h"
#include "common/storage/rocksdb_engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/scratch_folder.h"

namespace dtrpo::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A log that RocksDB wrote, of more than three blocks and with records over several of them.
std::string WrittenLog() {
  const ScratchFolder folder;
  auto engine = *OpenRocksDb({.folder = folder.path()});
  for (int i = 0; i < 30; ++i) {
    EXPECT_TRUE(engine
                    ->Append("a", {.records = {"record " + std::to_string(i)},
                                   .bodies = {{i, std::string(i % 5 == 0 ? 70000 : 900, 'b')}}})
                    .ok());
  }
  // What a killed process leaves.
  base::FileSystem* files = base::PosixFileSystem();
  std::string log;
  const std::vector<std::string> names = *files->List(folder / "db");
  for (const std::string& name : names) {
    if (name.size() > 4 && name.substr(name.size() - 4) == ".log") {
      log = *files->Read(base::JoinPath(folder / "db", name));
    }
  }
  return log;
}

TEST(WalScanTest, ReadsWhatRocksDbWrites) {
  const std::string log = WrittenLog();
  const WalScan scan = ScanWal(log);
  EXPECT_THAT(scan.damage, IsEmpty());
  EXPECT_GE(scan.whole_records, 30);
  EXPECT_EQ(scan.whole_bytes, static_cast<int64_t>(log.size()));
  EXPECT_THAT(ScanWal("").damage, IsEmpty());
}

TEST(WalScanTest, EveryCutIsATornEndAndKeepsTheWholeRecordsBeforeIt) {
  const std::string log = WrittenLog();
  int64_t records = 0;
  for (size_t size = 0; size <= log.size(); size += 97) {
    const WalScan scan = ScanWal(log.substr(0, size));
    EXPECT_EQ(scan.records_after_damage, 0) << size;
    EXPECT_GE(scan.whole_records, records) << size;
    EXPECT_LE(scan.whole_bytes, static_cast<int64_t>(size));
    // What is kept is whole by itself.
    EXPECT_THAT(ScanWal(log.substr(0, scan.whole_bytes)).damage, IsEmpty()) << size;
    records = scan.whole_records;
  }
}

TEST(WalScanTest, AChangedByteIsNeverOverlooked) {
  const std::string log = WrittenLog();
  const int64_t whole = ScanWal(log).whole_records;
  for (size_t at = 0; at < log.size(); at += 131) {
    std::string damaged = log;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
    const WalScan scan = ScanWal(damaged);
    if (scan.damage.empty()) {
      // Only what pads a block to its end may change unseen.
      EXPECT_GT(at % 32768, 32768u - 7) << at;
      continue;
    }
    EXPECT_LT(scan.whole_records, whole);
    EXPECT_LE(scan.whole_bytes, static_cast<int64_t>(at));
    // Damage far from the end has whole records behind it.
    if (at + 2 * 70000 < log.size()) {
      EXPECT_GT(scan.records_after_damage, 0) << at;
    }
  }
}

TEST(WalScanTest, DamageInAnEarlierFileIsNoTornEndWhenALaterOneHoldsRecords) {
  const std::string log = WrittenLog();
  base::MemoryFileSystem files;
  auto write = [&](const std::string& path, const std::string& content) {
    auto file = *files.Create(path);
    ASSERT_TRUE(file->Append(content).ok() && file->Close().ok());
  };
  ASSERT_TRUE(files.MakeDirectories("db").ok());
  write("db/000009.log", log.substr(0, log.size() - 3));
  write("db/000010.log", "");
  write("db/LOG", "something else");
  absl::StatusOr<WalCheck> check = CheckWals(&files, "db");
  ASSERT_TRUE(check.ok()) << check.status();
  ASSERT_TRUE(check->cut.has_value());
  EXPECT_EQ(check->cut->path, "db/000009.log");
  EXPECT_EQ(check->later.size(), 1u);

  // After power loss: a log that stops was never synced, and so nothing behind it was.
  write("db/000011.log", log);
  check = CheckWals(&files, "db");
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_EQ(check->cut->path, "db/000009.log");
  EXPECT_GT(check->later_records, 0);

  std::string changed = log;
  changed.back() ^= 1;
  write("db/000009.log", changed);
  check = CheckWals(&files, "db");
  EXPECT_EQ(check.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(check.status().message(), HasSubstr("db/000009.log"));
  EXPECT_THAT(check.status().message(), HasSubstr("offset"));
}

TEST(WalScanTest, NoFolderHasNoLogs) {
  base::MemoryFileSystem files;
  EXPECT_EQ(CheckWals(&files, "nowhere")->files, 0);
}

}  // namespace
}  // namespace dtrpo::storage
