#include "tools/local_cluster/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/check.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(20);

std::string DescribeEnd(int status) {
  if (WIFEXITED(status)) return absl::StrCat("exited with ", WEXITSTATUS(status));
  return absl::StrCat("was killed by signal ", WTERMSIG(status));
}

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<ChildProcess> ChildProcess::Start(const ChildOptions& options) {
  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> environment = options.environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  const std::vector<char*> argv = Pointers(arguments), envp = Pointers(environment);

  const int log = open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return absl::ErrnoToStatus(errno, absl::StrCat("log file ", options.log_path));
  // exec closes this pipe; when exec fails, its errno arrives here instead.
  int failure_pipe[2];
  if (pipe2(failure_pipe, O_CLOEXEC) != 0) {
    const absl::Status status = absl::ErrnoToStatus(errno, "pipe");
    close(log);
    return status;
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {  // only async-signal-safe calls from here to exec
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    // Ctrl-C in the terminal reaches the launcher only, which stops its children in order.
    setpgid(0, 0);
    execve(argv[0], argv.data(), envp.data());
    const int error = errno;
    if (write(failure_pipe[1], &error, sizeof(error)) < 0) _exit(126);
    _exit(127);
  }
  const int fork_errno = errno;
  close(log);
  close(failure_pipe[1]);
  int error = 0;
  const ssize_t got = pid < 0 ? 0 : read(failure_pipe[0], &error, sizeof(error));
  close(failure_pipe[0]);
  if (pid < 0) return absl::ErrnoToStatus(fork_errno, "fork");
  if (got > 0) {
    waitpid(pid, nullptr, 0);
    return absl::ErrnoToStatus(error, absl::StrCat("can't execute ", options.arguments[0]));
  }
  return ChildProcess(pid);
}

std::optional<std::string> ChildProcess::PollEnd() {
  if (end_.has_value()) return end_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) {
    end_ = DescribeEnd(status);
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return end_;
}

int ChildProcess::exit_code() const {
  DTRPO_CHECK(end_.has_value()) << "pid " << pid_ << " is still running";
  return exit_code_;
}

void ChildProcess::Signal(int signal) const {
  if (!end_.has_value()) kill(pid_, signal);
}

std::string ChildProcess::Stop(absl::Duration patience) {
  Signal(SIGTERM);
  const absl::Time deadline = absl::Now() + patience;
  bool killed = false;
  while (!PollEnd().has_value()) {
    if (!killed && absl::Now() > deadline) {
      Signal(SIGKILL);
      killed = true;
    }
    absl::SleepFor(kPollInterval);
  }
  return killed
             ? absl::StrCat("didn't stop within ", absl::FormatDuration(patience), " and ", *end_)
             : *end_;
}

}  // namespace dtrpo::tools
