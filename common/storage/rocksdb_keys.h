// Keys of a RocksDB store, format 1 (store_folder.h). Thread-safe: no state. Numbers are 8 bytes,
// big-endian, so that keys sort as numbers do; `log` is the log's number.
//
//   family   key               value
//   default  "epoch"           how often the store was opened
//            "name" name       the log's number
//            "snap" log        position (8), then the state
//   log      log position      a record
//   bodies   log body-id       a body
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/internal/endian.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace dtrpo::storage::keys {

inline constexpr char kLogFamily[] = "log";
inline constexpr char kBodyFamily[] = "bodies";
inline constexpr char kEpoch[] = "epoch";
inline constexpr absl::string_view kName = "name";
inline constexpr absl::string_view kSnapshot = "snap";

inline std::string Number(uint64_t number) {
  char bytes[8];
  absl::big_endian::Store64(bytes, number);
  return std::string(bytes, sizeof(bytes));
}

inline std::optional<uint64_t> ReadNumber(absl::string_view bytes) {
  if (bytes.size() != 8) return std::nullopt;
  return absl::big_endian::Load64(bytes.data());
}

inline std::string Pair(uint64_t log, int64_t number) {
  return absl::StrCat(Number(log), Number(static_cast<uint64_t>(number)));
}

inline std::string Snapshot(uint64_t log) { return absl::StrCat(kSnapshot, Number(log)); }

// The number in a key that Pair() made for `log`; nullopt for any other key.
inline std::optional<int64_t> NumberOf(uint64_t log, absl::string_view key) {
  if (key.size() != 16 || key.substr(0, 8) != Number(log)) return std::nullopt;
  return static_cast<int64_t>(*ReadNumber(key.substr(8)));
}

}  // namespace dtrpo::storage::keys
