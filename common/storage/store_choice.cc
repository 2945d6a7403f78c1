#include "common/storage/store_choice.h"

#include "common/base/logging.h"
#include "common/storage/memory_engine.h"
#include "common/storage/postgres_engine.h"
#include "common/storage/rocksdb_engine.h"

namespace dtrpo::storage {

std::vector<std::pair<std::string, std::string>> CheckStoreChoice(const StoreChoice& choice) {
  std::vector<std::pair<std::string, std::string>> problems;
  if (choice.engine != "memory" && choice.engine != "rocksdb" && choice.engine != "postgres") {
    problems.emplace_back("engine", "must be \"memory\", \"rocksdb\" or \"postgres\"");
  }
  if (choice.engine == "postgres" && choice.postgres.empty()) {
    problems.emplace_back("postgres", "is required for engine postgres: a connection string");
  }
  if (choice.engine == "rocksdb" && choice.path.empty()) {
    problems.emplace_back("path", "is required for engine rocksdb: the store's folder");
  }
  if (choice.write_buffer_bytes < 0) problems.emplace_back("write_buffer_bytes", "is negative");
  return problems;
}

absl::StatusOr<std::unique_ptr<StorageEngine>> OpenStore(const StoreChoice& choice) {
  if (choice.engine == "memory") return std::make_unique<MemoryEngine>();
  if (choice.engine == "postgres") {
    return OpenPostgres({.connection = choice.postgres,
                         .shard = choice.shard,
                         .schema = choice.schema,
                         .on_sync = choice.on_sync});
  }
  RocksDbOptions options;
  options.folder = choice.path;
  options.write_buffer_bytes = choice.write_buffer_bytes;
  options.on_sync = choice.on_sync;
  options.progress = [&choice](const std::string& what) {
    base::LogInfo("store", {{"path", choice.path}, {"what", what}});
  };
  return OpenRocksDb(options);
}

}  // namespace dtrpo::storage
