#include "absl/synchronization/mutex.h"
#include "tools/dtrpo/cli.h"

int main(int argc, char** argv) {
  // Debian builds Abseil without NDEBUG, and such a build checks the order of locks at every lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return dtrpo::tools::RunCli(argc, argv);
}
