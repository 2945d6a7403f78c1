#include "tools/dtrpo/report_command.h"

#include <iostream>

#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "tools/report/html_report.h"
#include "tools/report/job_summary.h"

namespace dtrpo::tools {
namespace {

constexpr char kHelp[] =
    R"(Writes DIR/report.html, one page that needs no other file, and DIR/summary.json.
Prints the summary; its last line is
  report: heldout_accuracy_before=X heldout_accuracy_after=Y steps=N seconds=S checkpoint=DIR
(accuracies are "none" when the job was not evaluated at least twice).

Example: dtrpoctl --json get add-1 --steps > job.json && dtrpo report --job job.json --output .)";

}  // namespace

void ReportCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  app->add_option("--job", job_path_, "what `dtrpoctl --json get JOB --steps` printed")
      ->required()
      ->type_name("FILE");
  app->add_option("--output", output_path_, "folder for report.html and summary.json")
      ->required()
      ->type_name("DIR");
}

absl::Status ReportCommand::Run() {
  base::FileSystem* const files = base::PosixFileSystem();
  DTRPO_ASSIGN_OR_RETURN(const std::string json, files->Read(job_path_));
  DTRPO_ASSIGN_OR_RETURN(const v1::JobStatus status, ParseJobStatus(json, job_path_));
  const JobSummary job = Summarise(status);
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(output_path_));
  const std::string page = base::JoinPath(output_path_, "report.html");
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, page, HtmlReport(status, job)));
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(
      files, base::JoinPath(output_path_, "summary.json"), SummaryJson(job)));
  std::cout << SummaryText(job) << "Curves: " << page << "\nreport: " << SummaryLine(job)
            << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
