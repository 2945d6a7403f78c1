#include "services/replay/store_engine.h"

#include <string>

#include "common/base/logging.h"
#include "common/storage/memory_engine.h"
#include "common/storage/postgres_engine.h"
#include "common/storage/rocksdb_engine.h"

namespace dtrpo::replay {

std::vector<runtime::FieldProblem> CheckEngineConfig(const v1::ReplayConfig& config) {
  std::vector<runtime::FieldProblem> problems;
  if (config.engine() != "memory" && config.engine() != "rocksdb" &&
      config.engine() != "postgres") {
    problems.push_back({"engine", "must be \"memory\", \"rocksdb\" or \"postgres\""});
  }
  if (config.engine() == "postgres" && config.postgres().empty()) {
    problems.push_back({"postgres", "is required for engine postgres: a connection string"});
  }
  if (config.engine() == "rocksdb" && config.path().empty()) {
    problems.push_back({"path", "is required for engine rocksdb: the store's folder"});
  }
  if (config.write_buffer_bytes() < 0) problems.push_back({"write_buffer_bytes", "is negative"});
  return problems;
}

absl::StatusOr<std::unique_ptr<storage::StorageEngine>> OpenEngine(const v1::ReplayConfig& config) {
  if (config.engine() == "memory") return std::make_unique<storage::MemoryEngine>();
  if (config.engine() == "postgres") {
    storage::PostgresOptions options;
    options.connection = config.postgres();
    options.shard = config.shard().empty() ? "replay-0" : config.shard();
    options.schema = "dtrpo_replay";
    return storage::OpenPostgres(options);
  }
  storage::RocksDbOptions options;
  options.folder = config.path();
  options.write_buffer_bytes = config.write_buffer_bytes();
  options.progress = [&config](const std::string& what) {
    base::LogInfo("store", {{"path", config.path()}, {"what", what}});
  };
  return storage::OpenRocksDb(options);
}

}  // namespace dtrpo::replay
