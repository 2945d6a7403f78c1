#include "common/rpc/address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace dtrpo::rpc {
namespace {

// What the system makes of an address.
struct AddressInfo {
  ~AddressInfo() {
    if (first != nullptr) ::freeaddrinfo(first);
  }
  // 0 or an error for gai_strerror. Call once.
  int Resolve(const Address& address) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    return ::getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &first);
  }

  addrinfo* first = nullptr;
};

}  // namespace

std::string Address::ToString() const {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", port)
                                      : absl::StrCat(host, ":", port);
}

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  Address address;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(text.substr(colon + 1), &address.port) || address.port < 0 ||
      address.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not host:port"));
  }
  absl::string_view host = text.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[") != absl::ConsumeSuffix(&host, "]")) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not host:port"));
  }
  address.host = std::string(host);
  return address;
}

bool IsLoopback(const Address& address) {
  // A name such as 127.evil.example is not an address.
  const bool numeric = address.host.find_first_not_of("0123456789.") == std::string::npos;
  return (numeric && absl::StartsWith(address.host, "127.")) || address.host == "::1" ||
         address.host == "localhost";
}

absl::Status CheckInsecureAllowed(const Address& address, bool insecure) {
  if (insecure || IsLoopback(address)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(address.ToString(),
                   " is not loopback, and traffic is not encrypted; give certificates (`tls`), or ",
                   "say `insecure: true` to use it all the same"));
}

absl::StatusOr<int> ListenOn(Address* address) {
  AddressInfo info;
  if (const int error = info.Resolve(*address); error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("can't listen on ", address->ToString(), ": ", ::gai_strerror(error)));
  }
  const int fd = ::socket(info.first->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (fd < 0 || ::bind(fd, info.first->ai_addr, info.first->ai_addrlen) != 0 ||
      ::listen(fd, SOMAXCONN) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const absl::Status status = absl::FailedPreconditionError(
        absl::StrCat("can't listen on ", address->ToString(), ": ", std::strerror(errno)));
    if (fd >= 0) ::close(fd);
    return status;
  }
  address->port =
      ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                        : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  return fd;
}

absl::Status CheckCanListen(const Address& address) {
  if (address.port == 0) return absl::OkStatus();
  Address copy = address;
  const absl::StatusOr<int> fd = ListenOn(&copy);
  if (fd.ok()) ::close(*fd);
  return fd.status();
}

bool TryConnect(const Address& address) {
  AddressInfo info;
  if (info.Resolve(address) != 0) return false;
  const int fd = ::socket(info.first->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool connected = ::connect(fd, info.first->ai_addr, info.first->ai_addrlen) == 0;
  ::close(fd);
  return connected;
}

}  // namespace dtrpo::rpc
