// A gRPC server with blocking handlers, health checks and reflection. Thread-safe.
// Services are built first and handed in; they outlive the server.
//
// Health (grpc.health.v1): "live" is SERVING from the start, "ready" and "" follow SetReady().
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/support/server_interceptor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/metrics.h"
#include "common/rpc/address.h"
#include "common/rpc/channel_factory.h"

namespace dtrpo::rpc {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // port 0: a free one
  bool insecure = false;               // allows an address that isn't loopback
  // Handlers that run at the same time; a call beyond is refused as "server_busy", with a
  // retry-after. A handler that waits holds its thread.
  int max_threads = 32;
  int64_t max_message_bytes = kDefaultMaxMessageBytes;
  base::MetricsRegistry* metrics = base::NullMetrics();  // outlives the server
};

class RpcServer {
 public:
  // FAILED_PRECONDITION "can't listen on host:port: ..." when the port is taken.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const ServerOptions& options, const std::vector<grpc::Service*>& services);
  ~RpcServer();  // Shutdown() without patience, when it wasn't called

  // With the port that is really bound.
  const Address& address() const { return address_; }
  void SetReady(bool ready);

  // Takes no new calls and waits for the running ones; those that remain at `deadline` look like
  // UNAVAILABLE to their callers. Returns once every handler has returned.
  void Shutdown(absl::Time deadline);

 private:
  RpcServer(std::unique_ptr<grpc::Server> server, Address address);

  const std::unique_ptr<grpc::Server> server_;
  const Address address_;
};

}  // namespace dtrpo::rpc
