// Gives the space of large deletions back soon: a job that was deleted with a range deletion leaves
// files that RocksDB would only look at when something else makes it compact. Thread-safe.
#pragma once

#include <deque>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/db.h"

namespace dtrpo::storage {

class SpaceReclaimer {
 public:
  // They outlive the object, or its Stop(). The bodies are in `family`; they are also in the
  // write-ahead log for as long as another family hasn't written out what came with them.
  SpaceReclaimer(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family,
                 rocksdb::ColumnFamilyHandle* log_family);
  ~SpaceReclaimer() { Stop(); }

  // Compacts what was deleted in [first, end), in the background.
  void Reclaim(std::string first, std::string end);
  // Breaks off what is under way; RocksDB's own compactions give the space back later.
  void Stop();

 private:
  void Run();

  rocksdb::DB* const db_;
  rocksdb::ColumnFamilyHandle* const family_;
  rocksdb::ColumnFamilyHandle* const log_family_;
  absl::Mutex mutex_;
  std::deque<std::pair<std::string, std::string>> ranges_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace dtrpo::storage
