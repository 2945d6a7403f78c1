// Network addresses as configuration gives them: "127.0.0.1:4003", "localhost:0", "[::1]:80".
// Thread-safe: pure functions.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::rpc {

struct Address {
  std::string host = {};  // without brackets
  int port = 0;

  std::string ToString() const;
};

// INVALID_ARGUMENT names the text.
absl::StatusOr<Address> ParseAddress(absl::string_view text);

// 127.0.0.0/8, ::1 or localhost.
bool IsLoopback(const Address& address);

// INVALID_ARGUMENT when plain text would leave this machine without `insecure` being said.
absl::Status CheckInsecureAllowed(const Address& address, bool insecure);

// A listening TCP socket, not blocking, on `address`, whose port 0 becomes the one that is bound;
// the caller closes it. FAILED_PRECONDITION "can't listen on host:port: " and the system's reason.
absl::StatusOr<int> ListenOn(Address* address);

// OK when a server could bind `address` now; else one line with host:port and the system's reason.
// Port 0 is always OK.
absl::Status CheckCanListen(const Address& address);

// Whether a TCP connection is accepted there now; it is closed at once. For loopback: elsewhere it
// may block for as long as the system tries.
bool TryConnect(const Address& address);

}  // namespace dtrpo::rpc
