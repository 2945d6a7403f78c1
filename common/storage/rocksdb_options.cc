#include "common/storage/rocksdb_options.h"

#include "common/storage/rocksdb_keys.h"
#include "rocksdb/cache.h"
#include "rocksdb/table.h"

namespace dtrpo::storage {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// One small cache for all families: records are read once, at the start, and bodies are read from
// where they were written, mostly once.
constexpr size_t kBlockCacheBytes = 16 * kMiB;

rocksdb::ColumnFamilyOptions SmallValues(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 8 * kMiB;
  options.max_write_buffer_number = 4;
  options.compression = rocksdb::kLZ4Compression;
  // Records and keys are small: many young files don't make reading slow, so they needn't slow
  // writing down either (Write() refuses rather than waits).
  options.level0_slowdown_writes_trigger = 40;
  options.level0_stop_writes_trigger = 64;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Bodies are written once, read about once and deleted mostly in the order in which they came.
rocksdb::ColumnFamilyOptions Bodies(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options = SmallValues(cache);
  // 400 KiB bodies at full speed fill 16 MiB in some 40 ms: four buffers let a flush be late.
  options.write_buffer_size = 16 * kMiB;
  // Callers compress bodies themselves.
  options.compression = rocksdb::kNoCompression;

  // From 1 KiB on a body goes to a blob file when the buffer is flushed and isn't copied by
  // compactions, which then only move keys (about 40 bytes).
  options.enable_blob_files = true;
  options.min_blob_size = 1024;
  options.blob_compression_type = rocksdb::kNoCompression;
  // A file goes when nothing in it lives any more, so small files give space back early; 32 MiB is
  // 80 bodies of 400 KiB, or 5000 of 6 KiB.
  options.blob_file_size = 32 * kMiB;

  // Garbage collection copies what lives in old files. RocksDB 7.8 forces it only when the oldest
  // files together are garbage to `force_threshold` (later versions look at all of them), so the
  // cutoff decides how far it may reach. Bodies go in about the order they came, hence the oldest
  // quarter is nearly all garbage and copying it costs nearly nothing, while a cutoff of 1 would
  // copy files that the next batches empty anyway. With these two numbers a few long-lived bodies
  // (unlucky draws of a selector) keep at most about the oldest quarter at half use: space stays
  // under 1 / (3/4 + 1/4 * 1/2) = 1.15 of what lives, plus what compaction hasn't seen yet.
  options.enable_blob_garbage_collection = true;
  options.blob_garbage_collection_age_cutoff = 0.25;
  options.blob_garbage_collection_force_threshold = 0.5;
  // Garbage is only noticed when a compaction meets the deletion. Keys are small, so files of
  // 64 MiB would hold them for ever: small ones make compactions, and therefore collection, come
  // with every few thousand deletions.
  options.target_file_size_base = 2 * kMiB;
  options.max_bytes_for_level_base = 8 * kMiB;
  options.level0_file_num_compaction_trigger = 2;
  return options;
}

}  // namespace

rocksdb::DBOptions DatabaseOptions() {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;
  // The log is checked and its torn end cut before RocksDB sees it (wal_scan.h), so anything that
  // RocksDB still finds wrong is damage.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kAbsoluteConsistency;
  options.recycle_log_file_num = 0;
  // Sizes of synced older logs go to the manifest, so that one that shrank is noticed.
  options.track_and_verify_wals_in_manifest = true;
  // Write() fills a buffer, Confirm() writes or syncs it: that is the group commit.
  options.manual_wal_flush = true;
  // What a start has to read again at most: 0.1 s at 1 GB/s.
  options.max_total_wal_size = 128 * kMiB;
  options.max_background_jobs = 2;
  options.bytes_per_sync = kMiB;
  // RocksDB's own diary, for its developers: 2 files of 1 MiB.
  options.max_log_file_size = kMiB;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> ColumnFamilies(int64_t write_buffer_bytes) {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, SmallValues(cache)},
      {keys::kLogFamily, SmallValues(cache)},
      {keys::kBodyFamily, Bodies(cache)}};
  if (write_buffer_bytes <= 0) return families;
  for (rocksdb::ColumnFamilyDescriptor& family : families) {
    family.options.write_buffer_size = static_cast<size_t>(write_buffer_bytes);
  }
  return families;
}

}  // namespace dtrpo::storage
