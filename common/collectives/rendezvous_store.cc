#include "common/collectives/rendezvous_store.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::collectives {
namespace {

constexpr int kBacklog = 256;

// A listening socket at exactly this address: left to itself, TCPStore listens on all of them.
absl::StatusOr<int> ListenOn(const HostAndPort& where, const std::string& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(where.host.c_str(), absl::StrCat(where.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat(address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> keep(found, freeaddrinfo);
  const int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(errno)));
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, kBacklog) != 0) {
    const int why = errno;
    close(fd);
    return absl::UnavailableError(
        absl::StrCat("can't listen on ", address, ": ", std::strerror(why)));
  }
  return fd;
}

absl::StatusOr<int> PortOf(int fd) {
  sockaddr_storage bound = {};
  socklen_t length = sizeof bound;
  char port[16];
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&bound), length, nullptr, 0, port, sizeof port,
                  NI_NUMERICSERV) != 0) {
    return absl::InternalError("the rendezvous socket has no port");
  }
  return std::atoi(port);
}

}  // namespace

absl::StatusOr<HostAndPort> ParseHostAndPort(const std::string& address) {
  HostAndPort parsed;
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &parsed.port) || parsed.port < 0 ||
      parsed.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", address, "' isn't host:port"));
  }
  parsed.host = address.substr(0, colon);
  if (parsed.host.size() > 2 && parsed.host.front() == '[' && parsed.host.back() == ']') {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  }
  return parsed;
}

struct RendezvousStore::Server {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

RendezvousStore::RendezvousStore(std::string address, std::unique_ptr<Server> server)
    : address_(std::move(address)), server_(std::move(server)) {}
RendezvousStore::~RendezvousStore() = default;

absl::StatusOr<std::unique_ptr<RendezvousStore>> RendezvousStore::Listen(
    const std::string& address) {
  DTRPO_ASSIGN_OR_RETURN(const HostAndPort where, ParseHostAndPort(address));
  DTRPO_ASSIGN_OR_RETURN(const int fd, ListenOn(where, address));
  DTRPO_ASSIGN_OR_RETURN(const int port, PortOf(fd));
  auto server = std::make_unique<Server>();
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port);
    options.isServer = true;
    options.waitWorkers = false;
    options.masterListenFd = fd;
    server->store = c10::make_intrusive<c10d::TCPStore>(where.host, options);
  }));
  const bool v6 = where.host.find(':') != std::string::npos;
  return std::unique_ptr<RendezvousStore>(new RendezvousStore(
      v6 ? absl::StrCat("[", where.host, "]:", port) : absl::StrCat(where.host, ":", port),
      std::move(server)));
}

}  // namespace dtrpo::collectives
