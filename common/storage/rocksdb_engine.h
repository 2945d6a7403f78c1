// A StorageEngine in a folder of its own, on RocksDB: the default. Thread-safe.
//
//   Write --> WriteBatch --> buffer of the write-ahead log
//   Confirm(log)   write(): survives SIGKILL      \ one for everybody who waits
//   Confirm(sync)  fdatasync(): survives power loss /
//
// A start checks the log by itself: a torn end is cut and said so, damage anywhere else refuses to
// start and names file and offset (store_repair.h mends what can be mended).
//
// After a failed write or sync ("store_failed") the folder stays locked until the process ends,
// which is what the process should do then: the next one finds out what the disk holds.
//
// Fault points (base/fault_points.h): storage.before_sync, storage.after_sync, storage.before_log,
// storage.after_log, storage.before_snapshot, storage.after_snapshot, storage.in_flush,
// storage.in_compaction, and storage.disk_full, whose `error` is a full disk.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/file_system.h"
#include "common/storage/storage_engine.h"

namespace rocksdb {
class Env;
}  // namespace rocksdb

namespace dtrpo::storage {

struct RocksDbOptions {
  std::string folder;  // made when it isn't there
  // Write() answers "disk_full" while the disk has less than this, so that there is room to go on
  // compacting and deleting; 0: never.
  int64_t min_free_bytes = 64 << 20;
  // What a family of keys holds in memory before it is written out; 0: 8 MiB for records, 16 MiB
  // for bodies, up to four times.
  int64_t write_buffer_bytes = 0;
  // Told about opening: every second while the log is read, and what was cut.
  std::function<void(const std::string& what)> progress = {};
  SyncObserver on_sync = {};
  base::FileSystem* files = base::PosixFileSystem();
  rocksdb::Env* env = nullptr;  // null: the real disk
};

// FAILED_PRECONDITION for a folder that another process has open or whose format isn't this
// program's; DATA_LOSS for damage.
absl::StatusOr<std::unique_ptr<StorageEngine>> OpenRocksDb(const RocksDbOptions& options);

}  // namespace dtrpo::storage
