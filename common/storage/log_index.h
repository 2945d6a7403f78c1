// What an engine keeps in memory of each log. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

struct LogIndex {
  uint64_t number = 0;  // stands for the name in keys
  Position first = 1;   // of the records that no snapshot has replaced
  Position last = 0;
  BodyId next_body = 0;  // ids below it are taken
};

using LogIndexes = std::map<std::string, LogIndex, std::less<>>;

}  // namespace dtrpo::storage
