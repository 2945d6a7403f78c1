// dtrpo-store: looks after the folder of a store (of dtrpo-replay or dtrpo-coordinator) that no
// process has open.
#include <iostream>
#include <string>

#include "CLI/CLI.hpp"
#include "common/base/file_system.h"
#include "common/storage/rocksdb_engine.h"
#include "common/storage/store_repair.h"

namespace dtrpo::tools {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "dtrpo-store: " << status.message() << "\n";
  return 1;
}

int Show(const std::string& folder) {
  auto engine = storage::OpenRocksDb(
      {.folder = folder, .progress = [](const std::string& what) { std::cerr << what << "\n"; }});
  if (!engine.ok()) return Fail(engine.status());
  const auto logs = (*engine)->Logs();
  if (!logs.ok()) return Fail(logs.status());
  for (const std::string& log : *logs) {
    const auto size = (*engine)->SizeOf(log);
    if (!size.ok()) return Fail(size.status());
    std::cout << log << ": records " << size->first << " to " << size->last << ", "
              << size->record_bytes << " bytes; snapshot " << size->snapshot_bytes << " bytes\n";
  }
  const absl::Status closed = (*engine)->Close();
  return closed.ok() ? 0 : Fail(closed);
}

int Repair(const std::string& folder, bool dry_run) {
  const auto report = storage::RepairLog(base::PosixFileSystem(), folder, dry_run);
  if (!report.ok()) return Fail(report.status());
  for (const std::string& line : report->lines) std::cout << line << "\n";
  if (report->lines.empty()) {
    std::cout << "the log is whole\n";
  } else {
    std::cout << report->lost_records << " whole records " << (dry_run ? "would be" : "are")
              << " lost\n";
  }
  return 0;
}

}  // namespace
}  // namespace dtrpo::tools

int main(int argc, char** argv) {
  CLI::App app("Looks after the folder of a store that no process has open.", "dtrpo-store");
  app.require_subcommand(1);
  std::string folder;
  bool dry_run = false;
  CLI::App* show =
      app.add_subcommand("show", "opens the store and lists its logs with their sizes");
  CLI::App* repair = app.add_subcommand(
      "repair",
      "cuts a log that is damaged in the middle at its last whole record; what is cut off moves to "
      "FOLDER/damaged. Tables (*.sst, *.blob) can't be mended: bring them back from a copy");
  for (CLI::App* command : {show, repair}) {
    command->add_option("FOLDER", folder, "the store's folder (`path` in the configuration)")
        ->required();
  }
  repair->add_flag("--dry-run", dry_run, "only say what would be done");
  CLI11_PARSE(app, argc, argv);
  if (show->parsed()) return dtrpo::tools::Show(folder);
  return dtrpo::tools::Repair(folder, dry_run);
}
