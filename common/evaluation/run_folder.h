// Not thread-safe; one process writes a folder at a time.
//
// The folder of a run:
//   run.json       what was asked for: a run that goes on must ask for the same
//   results.jsonl  the answers (answer.h), appended as they come; a torn last line is cut
//   timing.jsonl   {"unmask", "tokens", "seconds"} of each batch: this machine's speed
//   summary.json   the numbers (run_summary.h), once the run is complete
//   report.html    the same for people
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/file_system.h"
#include "common/evaluation/answer.h"
#include "common/evaluation/run_summary.h"
#include "nlohmann/json.hpp"

namespace dtrpo::evaluation {

inline constexpr char kRunFile[] = "run.json";
inline constexpr char kResultsFile[] = "results.jsonl";
inline constexpr char kTimingFile[] = "timing.jsonl";
inline constexpr char kSummaryFile[] = "summary.json";
inline constexpr char kReportFile[] = "report.html";

struct Run {
  std::string folder;
  nlohmann::ordered_json settings;
  std::vector<JudgedAnswer> answers;
  std::map<std::string, Timing> timing;  // by unmask policy

  std::vector<int32_t> PassK() const;  // of the settings; {1} without
};

// NOT_FOUND without run.json; INVALID_ARGUMENT naming file, line and field. A torn last line of
// results.jsonl is left out.
absl::StatusOr<Run> ReadRun(base::FileSystem* files, const std::string& folder);

class RunFolder {
 public:
  // Begins a run, or goes on with the one that is there. FAILED_PRECONDITION naming the setting
  // when that one asked for something else. `files` outlives the object.
  static absl::StatusOr<std::unique_ptr<RunFolder>> Open(base::FileSystem* files,
                                                         const std::string& folder,
                                                         nlohmann::ordered_json settings);

  const Run& run() const { return run_; }
  bool Has(const std::string& unmask, const std::string& id, int32_t sample) const;
  // On disk when it returns OK.
  absl::Status Append(absl::Span<const JudgedAnswer> answers, const std::string& unmask,
                      const Timing& timing);
  // summary.json; the answers in any order give the same bytes but for "timing".
  absl::Status WriteSummary();

 private:
  RunFolder(base::FileSystem* files, Run run) : files_(files), run_(std::move(run)) {}
  void Know(const JudgedAnswer& answer) { known_.emplace(answer.unmask, answer.id, answer.sample); }

  base::FileSystem* const files_;
  Run run_;
  std::set<std::tuple<std::string, std::string, int32_t>> known_;
  std::unique_ptr<base::WritableFile> results_, timing_;
};

// What summary.json holds.
std::string SummaryJson(const Run& run);

}  // namespace dtrpo::evaluation
