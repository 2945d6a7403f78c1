#include "tools/dtrpo/compare/comparison_file.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

using nlohmann::ordered_json;

// The numbers of a record under their names in the file.
std::vector<std::pair<const char*, double RunRecord::*>> Numbers() {
  return {{"plain_forwards_per_pair", &RunRecord::plain_forwards_per_pair},
          {"forwards_per_pair", &RunRecord::forwards_per_pair},
          {"rows_per_pair", &RunRecord::rows_per_pair},
          {"seconds_per_pair", &RunRecord::seconds_per_pair},
          {"estimator_variance", &RunRecord::variance},
          {"relative_sd", &RunRecord::relative_sd},
          {"total_seconds", &RunRecord::total_seconds}};
}

RunRecord FromJson(const ordered_json& line) {
  RunRecord run;
  line.at("objective").get_to(run.key.objective);
  line.at("staleness").get_to(run.key.staleness);
  line.at("correction").get_to(run.key.correction);
  line.at("seed").get_to(run.key.seed);
  run.settings = line.at("settings").dump();
  line.at("accuracy").get_to(run.accuracy);
  line.at("pairs").get_to(run.pairs);
  for (const auto& [name, field] : Numbers()) line.at(name).get_to(run.*field);
  return run;
}

double Mean(const std::vector<RunRecord>& runs, double RunRecord::*field) {
  double sum = 0;
  for (const RunRecord& run : runs) sum += run.*field;
  return sum / static_cast<double>(runs.size());
}

double MeanAccuracy(const std::vector<RunRecord>& runs) {
  double sum = 0;
  for (const RunRecord& run : runs) sum += run.FinalAccuracy();
  return sum / static_cast<double>(runs.size());
}

// In the order in which objectives first appear.
std::vector<std::string> Objectives(const std::vector<RunRecord>& runs) {
  std::vector<std::string> names;
  for (const RunRecord& run : runs) {
    if (std::find(names.begin(), names.end(), run.key.objective) == names.end()) {
      names.push_back(run.key.objective);
    }
  }
  return names;
}

}  // namespace

std::string ToJsonLine(const RunRecord& run) {
  ordered_json line = {{"objective", run.key.objective},
                       {"staleness", run.key.staleness},
                       {"correction", run.key.correction},
                       {"seed", run.key.seed},
                       {"settings", ordered_json::parse(run.settings)},
                       {"accuracy", run.accuracy},
                       {"pairs", run.pairs}};
  for (const auto& [name, field] : Numbers()) line[name] = run.*field;
  return line.dump();
}

absl::StatusOr<std::vector<RunRecord>> ReadRuns(const std::string& path) {
  std::vector<RunRecord> runs;
  if (!base::PosixFileSystem()->Exists(path)) return runs;
  DTRPO_ASSIGN_OR_RETURN(const std::string content, base::PosixFileSystem()->Read(path));
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    try {
      runs.push_back(FromJson(ordered_json::parse(line)));
    } catch (const nlohmann::json::exception& error) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", number, ": not a run of a comparison: ", error.what()));
    }
  }
  return runs;
}

absl::Status WriteRuns(const std::string& path, const std::vector<RunRecord>& runs) {
  std::string lines;
  for (const RunRecord& run : runs) absl::StrAppend(&lines, ToJsonLine(run), "\n");
  return base::WriteFileAtomically(base::PosixFileSystem(), path, lines);
}

std::string ObjectiveTable(const std::vector<RunRecord>& runs) {
  std::string table =
      "| objective | seeds | held-out accuracy | forwards a pair, plain | forwards a pair | rows a "
      "pair | ms a pair | variance of R | sd / size of R |\n"
      "|---|---|---|---|---|---|---|---|---|\n";
  for (const std::string& objective : Objectives(runs)) {
    std::vector<RunRecord> fresh;
    for (const bool correction : {true, false}) {
      if (!fresh.empty()) break;
      std::copy_if(runs.begin(), runs.end(), std::back_inserter(fresh), [&](const RunRecord& run) {
        return run.key.objective == objective && run.key.staleness == 1 &&
               run.key.correction == correction;
      });
    }
    if (fresh.empty()) continue;
    absl::StrAppendFormat(
        &table, "| %s | %d | %.3f | %.1f | %.1f | %.0f | %.2f | %.3g | %.2f |\n", objective,
        fresh.size(), MeanAccuracy(fresh), Mean(fresh, &RunRecord::plain_forwards_per_pair),
        Mean(fresh, &RunRecord::forwards_per_pair), Mean(fresh, &RunRecord::rows_per_pair),
        1000 * Mean(fresh, &RunRecord::seconds_per_pair), Mean(fresh, &RunRecord::variance),
        Mean(fresh, &RunRecord::relative_sd));
  }
  return table;
}

std::string StalenessTable(const std::vector<RunRecord>& runs) {
  std::set<uint64_t> seeds;
  bool stale = false;
  for (const RunRecord& run : runs) {
    seeds.insert(run.key.seed);
    stale = stale || run.key.staleness != 1;
  }
  if (!stale) return "";
  std::string table = "| objective | staleness | correction |";
  for (const uint64_t seed : seeds) absl::StrAppend(&table, " seed ", seed, " |");
  absl::StrAppend(&table, " mean |\n|---|---|---|");
  for (size_t i = 0; i < seeds.size() + 1; ++i) absl::StrAppend(&table, "---|");
  absl::StrAppend(&table, "\n");
  for (const std::string& objective : Objectives(runs)) {
    std::map<std::pair<int64_t, bool>, std::map<uint64_t, RunRecord>> rows;
    for (const RunRecord& run : runs) {
      if (run.key.objective != objective) continue;
      rows[{run.key.staleness, !run.key.correction}].emplace(run.key.seed, run);
    }
    for (const auto& [row, by_seed] : rows) {
      absl::StrAppend(&table, "| ", objective, " | ", row.first, " | ",
                      row.second ? "none" : "rejected_ratio", " |");
      std::vector<RunRecord> all;
      for (const uint64_t seed : seeds) {
        const auto run = by_seed.find(seed);
        if (run == by_seed.end()) {
          absl::StrAppend(&table, "  |");
          continue;
        }
        all.push_back(run->second);
        absl::StrAppendFormat(&table, " %.3f |", run->second.FinalAccuracy());
      }
      absl::StrAppendFormat(&table, " %.3f |\n", MeanAccuracy(all));
    }
  }
  return table;
}

}  // namespace dtrpo::tools
