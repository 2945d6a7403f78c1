#include "common/rpc/connection_acceptor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/logging.h"

namespace dtrpo::rpc {
namespace {

// While the process has no file descriptor left: others may close theirs meanwhile.
constexpr absl::Duration kPauseWithoutDescriptors = absl::Milliseconds(100);

// 0: there is no such file.
ino_t InodeOf(int fd) {
  struct stat status;
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Listen(
    const Address& address, int max_connections) {
  Address bound = address;
  absl::StatusOr<int> listener = ListenOn(&bound);
  if (!listener.ok()) return listener.status();
  const int yes = 1;
  ::setsockopt(*listener, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));  // connections inherit it
  const int wakeup = ::eventfd(0, EFD_CLOEXEC);
  return std::unique_ptr<ConnectionAcceptor>(
      new ConnectionAcceptor(*listener, wakeup, std::move(bound), max_connections));
}

ConnectionAcceptor::~ConnectionAcceptor() {
  Stop();
  ::close(wakeup_);
}

void ConnectionAcceptor::Run(Take take) {
  thread_ = std::thread([this, take = std::move(take)] { AcceptUntilStopped(take); });
}

void ConnectionAcceptor::Stop() {
  if (listener_ < 0) return;
  const uint64_t one = 1;
  const ssize_t written = ::write(wakeup_, &one, sizeof(one));
  static_cast<void>(written);  // an eventfd has room for 2^64 - 2 of them
  if (thread_.joinable()) thread_.join();
  ::close(std::exchange(listener_, -1));
}

void ConnectionAcceptor::AcceptUntilStopped(const Take& take) {
  pollfd waits[] = {{.fd = listener_, .events = POLLIN, .revents = 0},
                    {.fd = wakeup_, .events = POLLIN, .revents = 0}};
  for (;;) {
    const int ready = ::poll(waits, 2, /*timeout_ms=*/-1);
    if (waits[1].revents != 0) return;
    if (ready > 0) AcceptOne(take);
  }
}

void ConnectionAcceptor::AcceptOne(const Take& take) {
  const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      base::LogWarning("no connection can be accepted for now",
                       {{"address", address_.ToString()}, {"errno", errno}});
      absl::SleepFor(kPauseWithoutDescriptors);
    }
    return;  // else the caller went away before it was accepted
  }
  if (!HasRoom()) {
    ::close(fd);
    return;
  }
  open_.push_back({fd, InodeOf(fd)});
  take(listener_, fd);
}

bool ConnectionAcceptor::HasRoom() {
  if (open_.size() < max_connections_) return true;
  // Closing is the server's business, and it doesn't tell; so look.
  std::erase_if(open_, [](const Connection& connection) {
    return InodeOf(connection.fd) != connection.inode;
  });
  return open_.size() < max_connections_;
}

}  // namespace dtrpo::rpc
