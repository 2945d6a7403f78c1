#include "common/storage/store_repair.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/base/atomic_file.h"
#include "common/base/status_macros.h"
#include "common/storage/store_folder.h"
#include "common/storage/wal_scan.h"

namespace dtrpo::storage {
namespace {

// The log files by number.
absl::StatusOr<std::vector<std::string>> LogFiles(base::FileSystem* files,
                                                  const std::string& directory) {
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(directory));
  std::vector<std::pair<uint64_t, std::string>> numbered;
  for (const std::string& name : names) {
    absl::string_view number = name;
    uint64_t value = 0;
    if (absl::ConsumeSuffix(&number, ".log") && absl::SimpleAtoi(number, &value)) {
      numbered.emplace_back(value, base::JoinPath(directory, name));
    }
  }
  std::sort(numbered.begin(), numbered.end());
  std::vector<std::string> paths;
  for (auto& [number, path] : numbered) paths.push_back(std::move(path));
  return paths;
}

}  // namespace

absl::StatusOr<RepairReport> RepairLog(base::FileSystem* files, const std::string& folder,
                                       bool dry_run) {
  if (!files->Exists(base::JoinPath(folder, "FORMAT"))) {
    return absl::NotFoundError(absl::StrCat(folder, " isn't a store: it has no FORMAT file"));
  }
  DTRPO_ASSIGN_OR_RETURN(const StoreFolder locked, StoreFolder::Open(files, folder));
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> logs, LogFiles(files, locked.database()));
  const std::string aside = base::JoinPath(folder, "damaged");
  RepairReport report;
  bool cut = false;
  for (const std::string& path : logs) {
    DTRPO_ASSIGN_OR_RETURN(const std::string content, files->Read(path));
    const WalScan scan = ScanWal(content);
    if (cut) {
      report.lost_records += scan.whole_records + scan.records_after_damage;
      report.lines.push_back(absl::StrCat(path, ": follows the damage, ", scan.whole_records,
                                          " records, moved to ", aside));
    } else if (!scan.damage.empty()) {
      cut = true;
      report.lost_records += scan.records_after_damage;
      report.lines.push_back(absl::StrCat(path, ": ", scan.damage, "; cut at offset ",
                                          scan.whole_bytes, " after ", scan.whole_records,
                                          " whole records; the original moved to ", aside));
    } else {
      continue;
    }
    if (dry_run) continue;
    DTRPO_RETURN_IF_ERROR(files->MakeDirectories(aside));
    DTRPO_RETURN_IF_ERROR(
        base::WriteFileAtomically(files, base::JoinPath(aside, base::BaseName(path)), content));
    if (report.lines.size() == 1) {
      DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(
          files, path, absl::string_view(content).substr(0, scan.whole_bytes)));
    } else {
      DTRPO_RETURN_IF_ERROR(files->RemoveFile(path));
    }
  }
  DTRPO_RETURN_IF_ERROR(files->SyncDirectory(locked.database()));
  return report;
}

}  // namespace dtrpo::storage
