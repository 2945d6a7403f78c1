// A gRPC server with blocking handlers, health checks and reflection. Thread-safe.
// Services are built first and handed in; they outlive the server.
// Over TLS each call is checked against access_table.h before its handler runs.
//
// Health (grpc.health.v1): "live" is SERVING from the start, "ready" and "" follow SetReady().
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/support/server_interceptor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/metrics.h"
#include "common/rpc/address.h"
#include "common/rpc/call_limiter.h"
#include "common/rpc/call_metrics.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/connection_acceptor.h"
#include "common/rpc/tls_identity.h"

namespace dtrpo::rpc {

// What a server takes from its callers; see ServerLimits in config.proto, which explains the
// fields.
struct ServerLimits {
  int32_t calls_per_second = 20'000;
  int32_t calls_per_peer = 1024;
  int32_t calls_per_connection = 1024;
  int32_t connections = 4096;
  absl::Duration handshake_timeout = absl::Seconds(10);
  absl::Duration idle_timeout = absl::Minutes(10);
  absl::Duration connection_age = absl::Hours(1);
  int64_t memory_bytes = int64_t{2} << 30;
};

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // port 0: a free one
  bool insecure = false;               // allows plain text on an address that isn't loopback
  std::shared_ptr<const TlsIdentity> tls = {};  // null: plain text
  // A second port that answers health alone, in plain text, whatever its address; empty: none.
  std::string health_listen = {};
  ServerLimits limits = {};
  // Handlers that run at the same time; a call beyond is refused as "server_busy", with a
  // retry-after. A handler that waits holds its thread.
  int max_threads = 32;
  int64_t max_message_bytes = kDefaultMaxMessageBytes;
  base::MetricsRegistry* metrics = base::NullMetrics();  // outlives the server
  std::optional<Role> role = {};  // whose calls have their series from the start; none: nobody's
};

class RpcServer {
 public:
  // FAILED_PRECONDITION "can't listen on host:port: ..." when the port is taken.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const ServerOptions& options, const std::vector<grpc::Service*>& services);
  ~RpcServer();  // Shutdown() without patience, when it wasn't called

  // With the port that is really bound.
  const Address& address() const { return acceptor_->address(); }
  // Of the health port; null when there is none.
  const Address* health_address() const {
    return health_address_.has_value() ? &*health_address_ : nullptr;
  }
  void SetReady(bool ready);

  // Takes no new calls and waits for the running ones; those that remain at `deadline` look like
  // UNAVAILABLE to their callers. Returns once every handler has returned.
  void Shutdown(absl::Time deadline);

 private:
  explicit RpcServer(const ServerOptions& options);
  absl::Status StartHealth(const std::string& listen);
  void SetServing(const std::string& name, bool serving);

  const CallMetrics metrics_;
  CallLimiter limiter_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> health_;  // may be null
  std::optional<Address> health_address_;
};

}  // namespace dtrpo::rpc
