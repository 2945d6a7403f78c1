// Thread safety: pure functions but for the disk, which is passed in. Runs of `dtrpo eval` and of
// jobs of kind eval, and two of them compared, as one page of HTML each that needs no other file.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/evaluation/comparison.h"
#include "common/evaluation/run_folder.h"

namespace dtrpo::report {

// Accuracy with intervals, what generating took, the plot of both, categories, examples.
std::string EvaluationReport(const evaluation::Run& run);
// As report.html of the run's folder; returns its path.
absl::StatusOr<std::string> WriteEvaluationReport(base::FileSystem* files,
                                                  const evaluation::Run& run);

// Differences with intervals, the questions that flipped, answers side by side with their denoising
// order.
std::string ComparisonReport(const evaluation::RunComparison& comparison);

}  // namespace dtrpo::report
