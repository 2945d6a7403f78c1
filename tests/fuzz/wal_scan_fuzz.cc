// A write-ahead log of any bytes: what the scan keeps is whole by itself, and it never reads beyond
// the end (the sanitizer would say so).
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "common/storage/wal_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view file(reinterpret_cast<const char*>(data), size);
  const dtrpo::storage::WalScan scan = dtrpo::storage::ScanWal(file);
  if (scan.whole_bytes < 0 || static_cast<size_t>(scan.whole_bytes) > size) std::abort();
  const dtrpo::storage::WalScan kept = dtrpo::storage::ScanWal(file.substr(0, scan.whole_bytes));
  if (!kept.damage.empty() || kept.whole_records != scan.whole_records) std::abort();
  if (scan.damage.empty() && scan.records_after_damage != 0) std::abort();
  return 0;
}
