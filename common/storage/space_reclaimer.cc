#include "common/storage/space_reclaimer.h"

#include <utility>

#include "common/base/logging.h"
#include "common/storage/rocksdb_status.h"

namespace dtrpo::storage {

SpaceReclaimer::SpaceReclaimer(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family,
                               rocksdb::ColumnFamilyHandle* log_family)
    : db_(db), family_(family), log_family_(log_family), thread_([this] { Run(); }) {}

void SpaceReclaimer::Reclaim(std::string first, std::string end) {
  absl::MutexLock lock(&mutex_);
  ranges_.emplace_back(std::move(first), std::move(end));
}

void SpaceReclaimer::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  db_->DisableManualCompaction();
  thread_.join();
}

void SpaceReclaimer::Run() {
  absl::MutexLock lock(&mutex_);
  for (;;) {
    auto wanted = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !ranges_.empty();
    };
    mutex_.Await(absl::Condition(&wanted));
    if (stopping_) return;
    const auto [first, end] = std::move(ranges_.front());
    ranges_.pop_front();
    mutex_.Unlock();
    rocksdb::CompactRangeOptions options;
    options.exclusive_manual_compaction = false;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    const rocksdb::Slice from = first;
    const rocksdb::Slice to = end;
    rocksdb::Status done = db_->CompactRange(options, family_, &from, &to);
    // Lets go of the files of the write-ahead log, which hold the bodies once more.
    if (done.ok())
      done =
          db_->Flush(rocksdb::FlushOptions(), {family_, log_family_, db_->DefaultColumnFamily()});
    // Nothing is wrong with the data: the space only comes back later.
    if (!done.ok() && !done.IsIncomplete()) {
      base::LogWarning("giving space back", {{"error", FromRocksDb(done, "compaction")}});
    }
    mutex_.Lock();
  }
}

}  // namespace dtrpo::storage
