// Thread safety: thread-safe.
//
// Where the ranks of a group find each other: c10d's TCPStore as a server of this process. It lives
// as long as the process and serves any number of groups, one after the other; names keep them
// apart.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace dtrpo::collectives {

struct HostAndPort {
  std::string host;
  int port = 0;
};
// INVALID_ARGUMENT naming the address. "[::1]:80" has host "::1".
absl::StatusOr<HostAndPort> ParseHostAndPort(const std::string& address);

class RendezvousStore {
 public:
  // Listens on host:port; port 0 picks a free one. The host is an address or a name of this
  // machine.
  static absl::StatusOr<std::unique_ptr<RendezvousStore>> Listen(const std::string& address);
  ~RendezvousStore();

  // host:port as bound.
  const std::string& address() const { return address_; }

 private:
  struct Server;
  RendezvousStore(std::string address, std::unique_ptr<Server> server);
  const std::string address_;
  const std::unique_ptr<Server> server_;
};

}  // namespace dtrpo::collectives
