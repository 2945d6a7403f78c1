#include "common/storage/wal_scan.h"

#include <algorithm>

#include "absl/base/internal/endian.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/crc32c.h"
#include "common/base/status_macros.h"

namespace dtrpo::storage {
namespace {

constexpr size_t kBlock = 32768;
constexpr size_t kHeader = 7;
constexpr size_t kTypeOffset = 6;
enum Type : uint8_t { kZero = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8U;
  return (rotated >> 17) | (rotated << 15);
}

struct Fragment {
  Type type = kZero;
  size_t end = 0;      // where the next one begins
  const char* damage;  // null: none
  bool ends_early = false;
};

// The fragment at `at`, which is inside the file and not in a block's padding.
Fragment ReadFragment(absl::string_view file, size_t at) {
  Fragment fragment = {.damage = nullptr};
  const size_t block_end = (at / kBlock + 1) * kBlock;
  if (at + kHeader > file.size()) {
    fragment.damage = "the file ends in a header";
    fragment.ends_early = true;
    return fragment;
  }
  const char* header = file.data() + at;
  const size_t length = absl::little_endian::Load16(header + 4);
  fragment.type = static_cast<Type>(static_cast<uint8_t>(header[kTypeOffset]));
  fragment.end = at + kHeader + length;
  if (fragment.end > block_end) {
    fragment.damage = "a length that runs over the end of its block";
  } else if (fragment.end > file.size()) {
    fragment.damage = "the file ends in a record";
    fragment.ends_early = true;
  } else if (fragment.type < kFull || fragment.type > kLast) {
    fragment.damage = fragment.type == kZero && length == 0 ? "zeros" : "an unknown record type";
  } else if (base::Crc32c(file.substr(at + kTypeOffset, 1 + length)) !=
             Unmask(absl::little_endian::Load32(header))) {
    fragment.damage = "a checksum that doesn't fit";
  }
  return fragment;
}

size_t SkipPadding(size_t at) {
  const size_t left = kBlock - at % kBlock;
  return left < kHeader ? at + left : at;
}

bool OnlyZeros(absl::string_view bytes) {
  return bytes.find_first_not_of('\0') == absl::string_view::npos;
}

// Whole records that begin at or after the block boundary `at`.
int64_t RecordsFrom(absl::string_view file, size_t at) {
  int64_t records = 0;
  bool inside = false;
  while (at < file.size()) {
    at = SkipPadding(at);
    if (at >= file.size()) break;
    const Fragment fragment = ReadFragment(file, at);
    if (fragment.damage != nullptr) {
      inside = false;
      at = (at / kBlock + 1) * kBlock;
      continue;
    }
    if (fragment.type == kFull || (fragment.type == kLast && inside)) ++records;
    inside = fragment.type == kFirst || (fragment.type == kMiddle && inside);
    at = fragment.end;
  }
  return records;
}

// Behind a fragment whose length is believable but whose checksum isn't, the rest of the block can
// still be read; otherwise the next block is where reading goes on.
int64_t RecordsAfter(absl::string_view file, size_t at, const Fragment& bad) {
  if (bad.end > at && bad.end <= file.size() && bad.end <= (at / kBlock + 1) * kBlock) {
    return RecordsFrom(file, bad.end);
  }
  return RecordsFrom(file, (at / kBlock + 1) * kBlock);
}

absl::Status NotTheEnd(const std::string& path, absl::string_view damage, int64_t records,
                       const std::string& where) {
  return absl::DataLossError(absl::StrCat(path, ": ", damage, "; ", records,
                                          " whole records follow",
                                          where == path ? "" : absl::StrCat(" in ", where),
                                          ", so this isn't the end of an interrupted write"));
}

}  // namespace

WalScan ScanWal(absl::string_view file) {
  WalScan scan = {.size_bytes = static_cast<int64_t>(file.size())};
  size_t at = 0;
  size_t begun = 0;  // where the record that is being read begins
  bool inside = false;
  auto whole = [&](size_t end) {
    ++scan.whole_records;
    scan.whole_bytes = static_cast<int64_t>(end);
    inside = false;
  };
  for (;;) {
    const size_t next = SkipPadding(std::min(at, file.size()));
    if (next >= file.size()) {
      if (!inside && OnlyZeros(file.substr(std::min(at, file.size())))) return scan;
      scan.damage = absl::StrCat("the file ends in the record that begins at offset ", begun);
      scan.ends_early = true;
      return scan;
    }
    at = next;
    const Fragment fragment = ReadFragment(file, at);
    const bool fits = inside ? fragment.type == kMiddle || fragment.type == kLast
                             : fragment.type == kFull || fragment.type == kFirst;
    if (fragment.damage != nullptr || !fits) {
      scan.damage = absl::StrCat(
          fragment.damage != nullptr ? fragment.damage : "a record without its beginning or end",
          " at offset ", at);
      scan.ends_early = fragment.ends_early;
      scan.records_after_damage =
          fragment.damage != nullptr ? RecordsAfter(file, at, fragment) : RecordsFrom(file, at);
      return scan;
    }
    if (!inside) begun = at;
    inside = fragment.type == kFirst || fragment.type == kMiddle;
    at = fragment.end;
    if (!inside) whole(at);
  }
}

absl::StatusOr<WalCheck> CheckWals(base::FileSystem* files, const std::string& directory) {
  WalCheck check;
  absl::StatusOr<std::vector<std::string>> names = files->List(directory);
  if (absl::IsNotFound(names.status())) return check;
  DTRPO_RETURN_IF_ERROR(names.status());
  std::vector<std::pair<uint64_t, std::string>> logs;
  for (const std::string& name : *names) {
    absl::string_view number = name;
    uint64_t value = 0;
    if (absl::ConsumeSuffix(&number, ".log") && absl::SimpleAtoi(number, &value)) {
      logs.emplace_back(value, base::JoinPath(directory, name));
    }
  }
  std::sort(logs.begin(), logs.end());
  bool ends_early = false;
  for (const auto& [number, path] : logs) {
    DTRPO_ASSIGN_OR_RETURN(const std::string content, files->Read(path));
    const WalScan scan = ScanWal(content);
    ++check.files;
    check.bytes += scan.size_bytes;
    check.records += scan.whole_records;
    if (check.cut) {
      check.later.push_back(path);
      check.later_records += scan.whole_records + scan.records_after_damage;
      if (check.later_records > 0 && !ends_early) {
        return NotTheEnd(check.cut->path, check.cut->damage, check.later_records, path);
      }
    } else if (scan.records_after_damage > 0) {
      return NotTheEnd(path, scan.damage, scan.records_after_damage, path);
    } else if (!scan.damage.empty()) {
      ends_early = scan.ends_early;
      check.cut = WalCheck::Cut{.path = path,
                                .at_bytes = scan.whole_bytes,
                                .dropped_bytes = scan.size_bytes - scan.whole_bytes,
                                .damage = scan.damage};
    }
  }
  return check;
}

}  // namespace dtrpo::storage
