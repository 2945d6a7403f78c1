// Ends the process when a drain runs past its deadline. Thread-safe.
#pragma once

#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "common/base/wait_states.h"

namespace dtrpo::runtime {

// From construction until `limit` has passed; destroying it in time calls it off. Measures real
// time, whatever clock the process uses: it is the last resort.
class DrainWatchdog {
 public:
  // `waits` outlives the watchdog; what is in it is logged before the exit.
  DrainWatchdog(absl::Duration limit, const base::WaitStateRegistry* waits, int exit_code);
  ~DrainWatchdog();
  DrainWatchdog(const DrainWatchdog&) = delete;
  DrainWatchdog& operator=(const DrainWatchdog&) = delete;

 private:
  absl::Notification done_;
  std::thread thread_;
};

}  // namespace dtrpo::runtime
