// Thread safety: one thread at a time.
//
// One child process whose output goes to a log file. It gets SIGTERM when the parent thread that
// started it dies, so a launcher that is killed leaves nothing behind.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace dtrpo::tools {

struct ChildOptions {
  std::vector<std::string> arguments;    // arguments[0] is the program's path
  std::vector<std::string> environment;  // NAME=value, added to the parent's
  std::string log_path;                  // appended to
};

class ChildProcess {
 public:
  // Returns once the program was executed; NOT_FOUND or PERMISSION_DENIED naming the program when
  // that failed.
  static absl::StatusOr<ChildProcess> Start(const ChildOptions& options);

  pid_t pid() const { return pid_; }

  // How it ended, in words ("exited with 1", "was killed by signal 9"); nullopt while it runs.
  // Never blocks.
  std::optional<std::string> PollEnd();

  // What a shell would show in $?: the exit status, or 128 + the signal. REQUIRES: it has ended.
  int exit_code() const;

  void Signal(int signal) const;

  // SIGTERM, then SIGKILL once `patience` is over. Returns how it ended.
  std::string Stop(absl::Duration patience);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  int exit_code_ = 0;
  std::optional<std::string> end_;
};

}  // namespace dtrpo::tools
