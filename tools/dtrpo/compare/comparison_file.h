// Thread safety: pure functions but for the file. No torch.
//
// The runs of a comparison as JSON lines, so that a comparison can be made in pieces, and the
// tables made of them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace dtrpo::tools {

// What tells one run from another under the same settings.
struct RunKey {
  std::string objective;
  int64_t staleness = 1;
  bool correction = true;
  uint64_t seed = 1;

  bool operator==(const RunKey&) const = default;
};

struct RunRecord {
  RunKey key;
  std::string settings;  // everything else that matters, as a JSON object
  std::vector<std::pair<int64_t, double>> accuracy;  // held out: after how many iterations, value
  int64_t pairs = 0;
  double plain_forwards_per_pair = 0;
  double forwards_per_pair = 0;
  double rows_per_pair = 0;
  double seconds_per_pair = 0;
  double variance = 0;
  double relative_sd = 0;
  double total_seconds = 0;

  double FinalAccuracy() const { return accuracy.empty() ? 0 : accuracy.back().second; }
};

// {"objective", "staleness", "correction", "seed", "settings", "accuracy": [[iteration, value]],
// ...}, without a line break.
std::string ToJsonLine(const RunRecord& run);

// The file's runs; none if it isn't there. INVALID_ARGUMENT naming file and line.
absl::StatusOr<std::vector<RunRecord>> ReadRuns(const std::string& path);
// Atomically.
absl::Status WriteRuns(const std::string& path, const std::vector<RunRecord>& runs);

// Markdown: a row for each objective, of the runs at staleness 1 with the correction (without, if
// there are only such); means over the seeds.
std::string ObjectiveTable(const std::vector<RunRecord>& runs);
// Markdown: a row for each objective, staleness and correction; a column for each seed. Empty when
// all runs have staleness 1.
std::string StalenessTable(const std::vector<RunRecord>& runs);

}  // namespace dtrpo::tools
