#include <iostream>

#include "absl/synchronization/mutex.h"
#include "common/base/fault_points.h"
#include "tools/dtrpo/cli.h"

int main(int argc, char** argv) {
  // Debian builds Abseil without NDEBUG, and such a build checks the order of locks at every lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const absl::Status armed = dtrpo::base::ArmFaultPointsFromEnvironment();
  if (!armed.ok()) {
    std::cerr << "dtrpo: " << armed << std::endl;
    return dtrpo::tools::kExitUsage;
  }
  return dtrpo::tools::RunCli(argc, argv);
}
