#include "common/runtime/drain_watchdog.h"

#include <unistd.h>

#include "absl/time/clock.h"
#include "common/base/logging.h"

namespace dtrpo::runtime {

DrainWatchdog::DrainWatchdog(absl::Duration limit, const base::WaitStateRegistry* waits,
                             int exit_code)
    : thread_([this, limit, waits, exit_code] {
        if (done_.WaitForNotificationWithTimeout(limit)) return;
        for (const base::WaitState& wait : waits->Snapshot()) {
          base::LogError("still waiting", {{"what", wait.what},
                                           {"on", wait.on_whom},
                                           {"for", absl::Now() - wait.since},
                                           {"thread", wait.thread}});
        }
        base::LogError("drain ran past its deadline, exiting", {{"limit", limit}});
        ::_exit(exit_code);
      }) {}

DrainWatchdog::~DrainWatchdog() {
  done_.Notify();
  thread_.join();
}

}  // namespace dtrpo::runtime
