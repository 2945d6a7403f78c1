#include "tests/support/run_program.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "tools/local_cluster/child_process.h"

namespace dtrpo::support {

absl::StatusOr<ProgramResult> RunProgram(const std::vector<std::string>& arguments,
                                         const std::string& log_path, absl::Duration timeout) {
  base::FileSystem* files = base::PosixFileSystem();
  DTRPO_RETURN_IF_ERROR(files->Create(log_path).status());
  DTRPO_ASSIGN_OR_RETURN(
      tools::ChildProcess child,
      tools::ChildProcess::Start(
          {.arguments = arguments, .environment = {"OMP_NUM_THREADS=1"}, .log_path = log_path}));
  const absl::Time deadline = absl::Now() + timeout;
  while (!child.PollEnd().has_value() && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  const bool late = !child.PollEnd().has_value();
  if (late) child.Stop(absl::ZeroDuration());
  DTRPO_ASSIGN_OR_RETURN(std::string output, files->Read(log_path));
  if (late) {
    return absl::DeadlineExceededError(absl::StrCat(arguments[0], " still ran after ",
                                                    absl::FormatDuration(timeout), ":\n", output));
  }
  return ProgramResult{child.exit_code(), std::move(output)};
}

}  // namespace dtrpo::support
