// Not thread-safe: one thread runs it.
#pragma once

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/stop_signal.h"
#include "services/coordinator/coordinator.h"

namespace dtrpo::coordinator {

inline constexpr absl::Duration kTickInterval = absl::Milliseconds(100);

// Lets time pass for the coordinator until `stop`. Apart from the replay driver, so that a store
// that doesn't answer stops neither heartbeat timeouts nor leases.
inline void RunTickLoop(Coordinator& coordinator, base::Clock& clock, base::StopSignal& stop) {
  do {
    coordinator.Tick();
    // Whoever starts the process again finds what the log holds.
    if (coordinator.LogFailed()) stop.Stop();
  } while (!stop.SleepFor(clock, kTickInterval));
}

}  // namespace dtrpo::coordinator
