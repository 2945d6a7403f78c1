// Thread safety: pure functions. Runs of `dtrpo eval`, and two of them compared, as one page of
// HTML each that needs no other file.
#pragma once

#include <string>

#include "common/evaluation/comparison.h"
#include "common/evaluation/run_folder.h"

namespace dtrpo::tools {

// Accuracy with intervals, what generating took, the plot of both, categories, examples.
std::string EvaluationReport(const evaluation::Run& run);

// Differences with intervals, the questions that flipped, answers side by side with their denoising
// order.
std::string ComparisonReport(const evaluation::RunComparison& comparison);

}  // namespace dtrpo::tools
