// Not thread-safe. Which storage engine a service's configuration names.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

struct StoreChoice {
  std::string engine = {};         // "memory", "rocksdb" or "postgres"
  std::string path = {};           // rocksdb: the folder
  std::string postgres = {};       // postgres: libpq's connection string
  std::string shard = {};          // postgres: the store's name among those of its schema
  std::string schema = {};         // postgres
  int64_t write_buffer_bytes = 0;  // rocksdb; 0: its default
  SyncObserver on_sync = {};       // not of memory
};

// (field of the configuration, what is wrong with it).
std::vector<std::pair<std::string, std::string>> CheckStoreChoice(const StoreChoice& choice);

// Opens the store; recovery says in the log how far it is. REQUIRES: nothing is wrong with it.
absl::StatusOr<std::unique_ptr<StorageEngine>> OpenStore(const StoreChoice& choice);

}  // namespace dtrpo::storage
