// Opening a RocksDB store: format, lock, the log's torn end, what is there. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/storage/log_index.h"
#include "common/storage/rocksdb_engine.h"
#include "common/storage/store_folder.h"
#include "common/storage/wal_scan.h"
#include "rocksdb/db.h"

namespace dtrpo::storage {

struct OpenedRocksDb {
  explicit OpenedRocksDb(StoreFolder locked) : folder(std::move(locked)) {}

  StoreFolder folder;
  std::unique_ptr<rocksdb::DB> db;
  rocksdb::ColumnFamilyHandle* log_family = nullptr;
  rocksdb::ColumnFamilyHandle* body_family = nullptr;
  int64_t epoch = 0;
  LogIndexes logs;
  uint64_t next_log = 1;
};

absl::StatusOr<OpenedRocksDb> OpenRocksDbFolder(const RocksDbOptions& options);

absl::StatusOr<std::optional<Snapshot>> ReadSnapshotOf(rocksdb::DB& db, absl::string_view log,
                                                       uint64_t number);

// Cuts the torn end that `check` found, durably, and renames later logs to <name>.dropped.
absl::Status CutTornEnd(base::FileSystem* files, const WalCheck& check);

}  // namespace dtrpo::storage
