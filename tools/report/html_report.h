// Thread safety: a pure function. A job as one page of HTML that needs no other file: numbers,
// curves, and fixed held-out prompts answered before and after.
#pragma once

#include <string>

#include "proto/dtrpo/v1/coordinator.pb.h"
#include "tools/report/job_summary.h"

namespace dtrpo::tools {

// `summary` is Summarise(status).
std::string HtmlReport(const v1::JobStatus& status, const JobSummary& summary);

}  // namespace dtrpo::tools
