// Thread safety: pure functions.
//
// What a job did, in a few numbers and a few answers, from the status that
// `dtrpoctl --json get JOB --steps` prints.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/dtrpo/v1/coordinator.pb.h"

namespace dtrpo::tools {

// How one held-out prompt was answered at one weights version.
struct ShownAnswer {
  std::string text;
  bool correct = false;
  std::vector<std::string> frames;  // the response while it was denoised, equal neighbours merged
};

struct ShownPrompt {
  std::string prompt, expected;
  ShownAnswer before, after;
};

struct JobSummary {
  std::string job_id, state, reason;
  // Of the first and the last complete evaluation; unset when there are no two of them.
  std::optional<double> heldout_before, heldout_after;
  int64_t heldout_prompts = 0;  // judged by the last one
  // Held-out pairs with a positive margin, before and after; unset without two evaluations of them.
  std::optional<double> pairs_before, pairs_after;
  double pairs_margin = 0;  // mean, after
  int64_t heldout_pairs = 0;
  int64_t steps = 0;
  double seconds = 0;  // from the start to the end of the job
  int64_t tokens = 0;  // sampled for training
  std::string checkpoint;
  std::vector<ShownPrompt> shown;
};

// INVALID_ARGUMENT naming `file` when `json` isn't a job's status.
absl::StatusOr<v1::JobStatus> ParseJobStatus(absl::string_view json, const std::string& file);

JobSummary Summarise(const v1::JobStatus& status);

// "heldout_accuracy_before=0.5010 heldout_accuracy_after=0.8704 steps=100 seconds=61.2
// checkpoint=DIR"; accuracies that aren't known are "none".
std::string SummaryLine(const JobSummary& summary);
// The same and the answers, as a JSON object.
std::string SummaryJson(const JobSummary& summary);
// For people: several lines.
std::string SummaryText(const JobSummary& summary);

}  // namespace dtrpo::tools
