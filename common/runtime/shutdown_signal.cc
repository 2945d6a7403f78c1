#include "common/runtime/shutdown_signal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "common/base/check.h"

namespace dtrpo::runtime {
namespace {

std::atomic<int> g_event_fd{-1};
struct sigaction g_old_term, g_old_int, g_old_pipe;

void WriteEvent() {
  const int saved_errno = errno;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(g_event_fd.load(), &one, sizeof(one));
  errno = saved_errno;
}

void HandleSignal(int) { WriteEvent(); }

}  // namespace

ShutdownSignal::ShutdownSignal() {
  DTRPO_CHECK_EQ(g_event_fd.load(), -1) << "there is another ShutdownSignal";
  g_event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  DTRPO_CHECK_GE(g_event_fd.load(), 0);
  struct sigaction action {};
  action.sa_handler = HandleSignal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGTERM, &action, &g_old_term);
  ::sigaction(SIGINT, &action, &g_old_int);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, &g_old_pipe);
}

ShutdownSignal::~ShutdownSignal() {
  ::sigaction(SIGTERM, &g_old_term, nullptr);
  ::sigaction(SIGINT, &g_old_int, nullptr);
  ::sigaction(SIGPIPE, &g_old_pipe, nullptr);
  ::close(g_event_fd.exchange(-1));
}

void ShutdownSignal::Raise() { WriteEvent(); }

bool ShutdownSignal::WaitFor(absl::Duration timeout) {
  pollfd event = {.fd = g_event_fd.load(), .events = POLLIN, .revents = 0};
  const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, 3'600'000);
  return ::poll(&event, 1, static_cast<int>(ms)) > 0;  // the event is never read: it stays
}

}  // namespace dtrpo::runtime
