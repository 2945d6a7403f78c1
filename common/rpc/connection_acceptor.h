// Thread-safe. A listening socket whose connections are handed to a gRPC server, as long as no more
// than a limit are open; one beyond is closed at once. gRPC itself knows no such limit, and stops
// listening for ever once a process has no file descriptor left; here accepting goes on.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc/address.h"

namespace dtrpo::rpc {

class ConnectionAcceptor {
 public:
  // Gets an accepted socket and owns it from then on; `listener` is the listening one.
  using Take = std::function<void(int listener, int connection)>;

  // Binds; connections wait in the system's queue until Run(). FAILED_PRECONDITION
  // "can't listen on host:port: ..." with the system's reason.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Listen(const Address& address,
                                                                    int max_connections);
  ~ConnectionAcceptor();  // Stop()

  // With the port that is really bound.
  const Address& address() const { return address_; }

  // Starts the thread that accepts. Call once.
  void Run(Take take);
  // No connection is taken afterwards, and the port is free. Running ones are the server's.
  void Stop();

 private:
  struct Connection {
    int fd;
    ino_t inode;  // tells whether `fd` still is this connection
  };
  ConnectionAcceptor(int listener, int wakeup, Address address, int max_connections)
      : listener_(listener),
        wakeup_(wakeup),
        address_(std::move(address)),
        max_connections_(max_connections) {}
  void AcceptUntilStopped(const Take& take);
  void AcceptOne(const Take& take);
  bool HasRoom();

  int listener_;
  const int wakeup_;  // an eventfd
  const Address address_;
  const size_t max_connections_;
  std::thread thread_;
  std::vector<Connection> open_;  // of the thread: some may be closed by now
};

}  // namespace dtrpo::rpc
