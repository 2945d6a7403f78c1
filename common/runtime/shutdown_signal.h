// SIGTERM and SIGINT as something to wait for. Thread-safe. One object per process at a time.
// The signal handler only writes to an eventfd: nothing else is safe inside a handler.
#pragma once

#include "absl/time/time.h"

namespace dtrpo::runtime {

class ShutdownSignal {
 public:
  // Installs the handlers, and ignores SIGPIPE (a peer that went away is an error of write()).
  ShutdownSignal();
  // Restores what was installed before.
  ~ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;

  // The same as a signal, from inside.
  void Raise();
  // True once a signal has come, for ever; waits for it at most `timeout`.
  bool WaitFor(absl::Duration timeout);
};

}  // namespace dtrpo::runtime
