// Reads RocksDB's write-ahead log files without RocksDB, to tell a torn end (the process was killed
// in a write, and nobody was told that it is there) from damage in the middle (what was confirmed
// is gone). RocksDB itself would either drop everything after damage or not open at all.
// Thread-safe: no state.
//
// Format (as LevelDB's doc/log_format.md): blocks of 32 KiB; a fragment is CRC-32C of type and data
// (masked, 4 bytes), length (2), type (1), data; types FULL, or FIRST MIDDLE.. LAST across blocks.
// Less than 7 bytes at the end of a block are zeros. Written with recycling and compression off.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"

namespace dtrpo::storage {

struct WalScan {
  int64_t size_bytes = 0;
  int64_t whole_records = 0;  // before the damage, if there is any
  int64_t whole_bytes = 0;    // where the last of them ends
  // What is wrong behind whole_bytes; empty: nothing, and whole_bytes == size_bytes up to zeros.
  std::string damage = {};
  bool ends_early = false;  // the damage is that the file stops inside a record
  // Whole records behind the damage: then it isn't a torn end.
  int64_t records_after_damage = 0;
};

WalScan ScanWal(absl::string_view file);

// What has to be done to the logs of a store before RocksDB may open it.
struct WalCheck {
  int64_t files = 0;
  int64_t bytes = 0;
  int64_t records = 0;
  // The file whose end is torn; nullopt: none.
  struct Cut {
    std::string path;
    int64_t at_bytes = 0;
    int64_t dropped_bytes = 0;
    std::string damage;
  };
  std::optional<Cut> cut;
  // Logs behind the cut, and the records in them. There are some only after power loss: an older
  // log that stops inside a record was never synced, hence neither was anything later (a sync takes
  // the logs in order, and RocksDB's manifest remembers the sizes of older ones that it synced and
  // refuses smaller ones).
  std::vector<std::string> later;
  int64_t later_records = 0;
};

// Checks the *.log files in `directory`, in order. DATA_LOSS names file and offset of damage that
// isn't at the end of everything. Changes nothing. An absent folder has no logs.
absl::StatusOr<WalCheck> CheckWals(base::FileSystem* files, const std::string& directory);

}  // namespace dtrpo::storage
