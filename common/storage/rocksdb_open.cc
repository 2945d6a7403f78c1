#include "common/storage/rocksdb_open.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/fault_points.h"
#include "common/base/status_macros.h"
#include "common/storage/rocksdb_keys.h"
#include "common/storage/rocksdb_options.h"
#include "common/storage/rocksdb_status.h"
#include "common/storage/wal_scan.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/sst_file_reader.h"
#include "rocksdb/wal_filter.h"

namespace dtrpo::storage {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(1);
constexpr char kDropped[] = ".dropped";
constexpr char kRepairHint[] =
    "; `dtrpo-store repair FOLDER` keeps what can be read and says what is lost";

// Tells how far the reading of the log has come; changes nothing.
class RecoveryProgress : public rocksdb::WalFilter {
 public:
  RecoveryProgress(std::function<void(const std::string&)> progress, int64_t steps)
      : progress_(std::move(progress)), steps_(steps), told_(absl::Now()) {}
  const char* Name() const override { return "dtrpo.recovery_progress"; }
  WalProcessingOption LogRecordFound(unsigned long long, const std::string&,
                                     const rocksdb::WriteBatch&, rocksdb::WriteBatch*,
                                     bool*) override {
    ++read_;
    if (progress_ && absl::Now() - told_ >= kProgressEvery) {
      told_ = absl::Now();
      progress_(absl::StrCat("reading the log: ", read_, " of ", steps_, " steps"));
    }
    return WalProcessingOption::kContinueProcessing;
  }

 private:
  const std::function<void(const std::string&)> progress_;
  const int64_t steps_;
  int64_t read_ = 0;
  absl::Time told_;
};

class BackgroundFaultPoints : public rocksdb::EventListener {
 public:
  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo&) override {
    base::HitFaultPoint("storage.in_flush").IgnoreError();
  }
  void OnSubcompactionBegin(const rocksdb::SubcompactionJobInfo&) override {
    base::HitFaultPoint("storage.in_compaction").IgnoreError();
  }
};

// The log's number, first and last position and the highest body, from the keys alone.
absl::StatusOr<LogIndex> ReadIndex(const OpenedRocksDb& opened, const std::string& log,
                                   uint64_t number) {
  LogIndex index = {.number = number};
  DTRPO_ASSIGN_OR_RETURN(const std::optional<Snapshot> snapshot,
                         ReadSnapshotOf(*opened.db, log, number));
  if (snapshot) index.first = snapshot->position + 1;
  index.last = index.first - 1;
  auto highest = [&](rocksdb::ColumnFamilyHandle* family) -> absl::StatusOr<int64_t> {
    const std::unique_ptr<rocksdb::Iterator> it(
        opened.db->NewIterator(rocksdb::ReadOptions(), family));
    it->SeekForPrev(keys::Pair(number, std::numeric_limits<int64_t>::max()));
    DTRPO_RETURN_IF_ERROR(FromRocksDb(it->status(), absl::StrCat("log '", log, "'")));
    if (!it->Valid()) return -1;
    return keys::NumberOf(number, {it->key().data(), it->key().size()}).value_or(-1);
  };
  DTRPO_ASSIGN_OR_RETURN(const int64_t last, highest(opened.log_family));
  index.last = std::max(index.last, last);
  DTRPO_ASSIGN_OR_RETURN(const int64_t body, highest(opened.body_family));
  index.next_body = body + 1;
  return index;
}

absl::Status ReadLogs(OpenedRocksDb& opened) {
  const std::unique_ptr<rocksdb::Iterator> it(opened.db->NewIterator(rocksdb::ReadOptions()));
  for (it->Seek(std::string(keys::kName)); it->Valid(); it->Next()) {
    absl::string_view name(it->key().data(), it->key().size());
    if (!absl::ConsumePrefix(&name, keys::kName)) break;
    const std::optional<uint64_t> number =
        keys::ReadNumber({it->value().data(), it->value().size()});
    if (!number) return absl::DataLossError(absl::StrCat("log '", name, "' has no number"));
    const std::string log(name);
    DTRPO_ASSIGN_OR_RETURN(opened.logs[log], ReadIndex(opened, log, *number));
    opened.next_log = std::max(opened.next_log, *number + 1);
  }
  return FromRocksDb(it->status(), "the names of the logs");
}

absl::Status RaiseEpoch(OpenedRocksDb& opened) {
  std::string value;
  const rocksdb::Status found = opened.db->Get(rocksdb::ReadOptions(), keys::kEpoch, &value);
  if (!found.IsNotFound()) DTRPO_RETURN_IF_ERROR(FromRocksDb(found, "the epoch"));
  opened.epoch = static_cast<int64_t>(keys::ReadNumber(value).value_or(0)) + 1;
  DTRPO_RETURN_IF_ERROR(
      FromRocksDb(opened.db->Put(rocksdb::WriteOptions(), keys::kEpoch,
                                 keys::Number(static_cast<uint64_t>(opened.epoch))),
                  "the epoch"));
  return FromRocksDb(opened.db->FlushWAL(/*sync=*/true), "the epoch");
}

// RocksDB blames its manifest for tables that it can't open, so this looks for them.
std::string DamagedTables(const RocksDbOptions& options, const std::string& directory) {
  std::string damage;
  const auto names = options.files->List(directory);
  for (const std::string& name : names.ok() ? *names : std::vector<std::string>()) {
    if (!absl::EndsWith(name, ".sst")) continue;
    rocksdb::SstFileReader reader{rocksdb::Options()};
    rocksdb::Status status = reader.Open(base::JoinPath(directory, name));
    if (status.ok()) status = reader.VerifyChecksum();
    if (!status.ok()) absl::StrAppend(&damage, "; ", name, ": ", status.ToString());
  }
  return damage;
}

}  // namespace

absl::Status CutTornEnd(base::FileSystem* files, const WalCheck& check) {
  if (!check.cut) return absl::OkStatus();
  for (const std::string& path : check.later) {
    DTRPO_RETURN_IF_ERROR(files->Rename(path, absl::StrCat(path, kDropped)));
  }
  const int file = ::open(check.cut->path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cutting ", check.cut->path));
  const bool cut = ::ftruncate(file, check.cut->at_bytes) == 0 && ::fdatasync(file) == 0;
  const int error = errno;
  ::close(file);
  if (!cut) return absl::ErrnoToStatus(error, absl::StrCat("cutting ", check.cut->path));
  return files->SyncDirectory(base::ParentPath(check.cut->path));
}

absl::StatusOr<std::optional<Snapshot>> ReadSnapshotOf(rocksdb::DB& db, absl::string_view log,
                                                       uint64_t number) {
  std::string value;
  const rocksdb::Status found = db.Get(rocksdb::ReadOptions(), keys::Snapshot(number), &value);
  if (found.IsNotFound()) return std::optional<Snapshot>();
  DTRPO_RETURN_IF_ERROR(FromRocksDb(found, absl::StrCat("log '", log, "', snapshot")));
  if (value.size() < 8) {
    return absl::DataLossError(absl::StrCat("log '", log, "': the snapshot has no position"));
  }
  const auto position = static_cast<Position>(*keys::ReadNumber(value.substr(0, 8)));
  value.erase(0, 8);
  return Snapshot{.position = position, .state = std::move(value)};
}

absl::StatusOr<OpenedRocksDb> OpenRocksDbFolder(const RocksDbOptions& options) {
  auto tell = [&options](const std::string& what) {
    if (options.progress) options.progress(what);
  };
  DTRPO_ASSIGN_OR_RETURN(StoreFolder folder, StoreFolder::Open(options.files, options.folder));
  OpenedRocksDb opened(std::move(folder));
  const std::string path = opened.folder.database();

  absl::StatusOr<WalCheck> check = CheckWals(options.files, path);
  if (!check.ok()) {
    return absl::Status(check.status().code(), absl::StrCat(check.status().message(), kRepairHint));
  }
  if (check->cut) {
    tell(absl::StrCat("the log was cut at its last whole record: ", check->cut->path, " at offset ",
                      check->cut->at_bytes, ", ", check->cut->dropped_bytes, " bytes dropped (",
                      check->cut->damage, ")",
                      check->later_records == 0
                          ? ""
                          : absl::StrCat("; ", check->later_records,
                                         " later records were never synced and are dropped")));
    DTRPO_RETURN_IF_ERROR(CutTornEnd(options.files, *check));
  }
  tell(absl::StrCat("opening ", options.folder, ": ", check->records, " steps in ", check->files,
                    " log files (", check->bytes, " bytes)"));

  RecoveryProgress progress(options.progress, check->records);
  rocksdb::Options database(DatabaseOptions(), rocksdb::ColumnFamilyOptions());
  database.wal_filter = &progress;
  database.listeners.push_back(std::make_shared<BackgroundFaultPoints>());
  if (options.env != nullptr) database.env = options.env;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  const absl::Status status = FromRocksDb(
      rocksdb::DB::Open(database, path, ColumnFamilies(options.write_buffer_bytes), &families, &db),
      path);
  if (!status.ok()) {
    // Not a torn end after all: leave everything as it was found.
    for (const std::string& later : check->later) {
      DTRPO_RETURN_IF_ERROR(options.files->Rename(absl::StrCat(later, kDropped), later));
    }
    if (!absl::IsDataLoss(status)) return status;
    return absl::DataLossError(
        absl::StrCat(status.message(), DamagedTables(options, path), kRepairHint));
  }
  opened.db.reset(db);
  for (const std::string& later : check->later) {
    DTRPO_RETURN_IF_ERROR(options.files->RemoveFile(absl::StrCat(later, kDropped)));
  }
  db->DestroyColumnFamilyHandle(families[0]).PermitUncheckedError();  // DB has its own
  opened.log_family = families[1];
  opened.body_family = families[2];
  absl::Status read = ReadLogs(opened);
  if (read.ok()) read = RaiseEpoch(opened);
  if (!read.ok()) {
    db->DestroyColumnFamilyHandle(opened.log_family).PermitUncheckedError();
    db->DestroyColumnFamilyHandle(opened.body_family).PermitUncheckedError();
    return read;
  }
  tell(absl::StrCat("opened ", options.folder, ": ", opened.logs.size(), " logs"));
  return opened;
}

}  // namespace dtrpo::storage
