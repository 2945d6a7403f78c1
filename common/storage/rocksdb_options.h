// How a store uses RocksDB, with the reasons for the numbers. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <vector>

#include "rocksdb/db.h"
#include "rocksdb/options.h"

namespace dtrpo::storage {

rocksdb::DBOptions DatabaseOptions();

// default, log, bodies (rocksdb_keys.h), in this order.
std::vector<rocksdb::ColumnFamilyDescriptor> ColumnFamilies(int64_t write_buffer_bytes);

}  // namespace dtrpo::storage
