// What can be done about a RocksDB store that refuses to open because its log is damaged in the
// middle. Not thread-safe; nobody else may have the store open.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"

namespace dtrpo::storage {

struct RepairReport {
  // What was found and done, in words, one line each; empty: the log is whole.
  std::vector<std::string> lines;
  int64_t lost_records = 0;  // steps behind the damage, which can't be kept: they build on what is
                             // gone
};

// Cuts the log at its last whole record before the damage. What is cut off isn't deleted but moved
// to <folder>/damaged. With `dry_run` only says what it would do.
absl::StatusOr<RepairReport> RepairLog(base::FileSystem* files, const std::string& folder,
                                       bool dry_run);

}  // namespace dtrpo::storage
