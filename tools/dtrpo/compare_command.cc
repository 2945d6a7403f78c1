#include "tools/dtrpo/compare_command.h"

#include <iostream>

#include "absl/strings/str_format.h"
#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/evaluation/comparison.h"
#include "common/report/evaluation_report.h"

namespace dtrpo::tools {
namespace {

constexpr char kHelp[] =
    R"(RUN_A and RUN_B are folders of `dtrpo eval --run`, or outputs of jobs of kind eval. Each unmask
policy that both have is compared; of runs with one policy each, those two. Printed: the difference
of accuracy with its 95 % interval and p (paired bootstrap over questions), per category too, and how
many questions flipped. --output DIR gets comparison.html, one page with the flipped questions and
the answers side by side in their denoising order, and comparison.json. The last line:
  compare: questions=N gained=N lost=N difference=D low=L high=H p=P

Example: dtrpo compare runs/base runs/tuned --output runs/tuned-against-base)";

}  // namespace

void CompareCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  app->add_option("RUN_A", run_a_, "folder of a run")->required();
  app->add_option("RUN_B", run_b_, "folder of the run to compare with it")->required();
  app->add_option("--output", output_path_, "folder for comparison.html and comparison.json")
      ->type_name("DIR");
  app->add_option("--unmask-a", unmask_a_, "compare this policy of RUN_A ...")->type_name("POLICY");
  app->add_option("--unmask-b", unmask_b_, "... with this one of RUN_B")->type_name("POLICY");
  app->add_option("--seed", seed_, "of the bootstrap")->type_name("S")->capture_default_str();
}

absl::Status CompareCommand::CheckOptions() const {
  if (unmask_a_.empty() == unmask_b_.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("--unmask-a and --unmask-b go together");
}

absl::Status CompareCommand::Run() {
  base::FileSystem* const files = base::PosixFileSystem();
  DTRPO_ASSIGN_OR_RETURN(const evaluation::Run a, evaluation::ReadRun(files, run_a_));
  DTRPO_ASSIGN_OR_RETURN(const evaluation::Run b, evaluation::ReadRun(files, run_b_));
  DTRPO_ASSIGN_OR_RETURN(const evaluation::RunComparison comparison,
                         evaluation::CompareRuns(a, b, unmask_a_, unmask_b_, seed_));
  std::cout << evaluation::ComparisonText(comparison);
  if (!output_path_.empty()) {
    DTRPO_RETURN_IF_ERROR(files->MakeDirectories(output_path_));
    const std::string page = base::JoinPath(output_path_, "comparison.html");
    DTRPO_RETURN_IF_ERROR(
        base::WriteFileAtomically(files, page, report::ComparisonReport(comparison)));
    DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files,
                                                    base::JoinPath(output_path_, "comparison.json"),
                                                    evaluation::ComparisonJson(comparison)));
    std::cout << "Report: " << page << "\n";
  }
  const evaluation::PolicyComparison& policy = comparison.policies.front();
  const evaluation::PairedDifference& paired = policy.differences.front().paired;
  std::cout << absl::StrFormat(
                   "compare: questions=%d gained=%d lost=%d difference=%.4f low=%.4f high=%.4f "
                   "p=%.4f",
                   paired.questions, policy.gained, policy.lost, paired.difference, paired.low,
                   paired.high, paired.p_value)
            << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
