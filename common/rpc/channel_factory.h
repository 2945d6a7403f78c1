// Makes the channels of a process: over TLS where it has an identity, else in plain text, and then
// only to loopback unless told otherwise.
// Thread-safe. One channel per target is enough; stubs share it. The factory outlives its channels.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/metrics.h"
#include "common/rpc/client_interceptors.h"
#include "common/rpc/fault_injector.h"
#include "common/rpc/tls_identity.h"

namespace dtrpo::rpc {

inline constexpr int64_t kDefaultMaxMessageBytes = 64 << 20;

struct ChannelOptions {
  ClientIdentity identity;  // the series of the calls that its role makes exist from the start
  bool insecure = false;    // allows plain text to targets that aren't loopback
  std::shared_ptr<const TlsIdentity> tls = {};  // null: plain text
  int64_t max_message_bytes = kDefaultMaxMessageBytes;
  FaultOptions faults;
  base::MetricsRegistry* metrics = base::NullMetrics();
};

class ChannelFactory {
 public:
  explicit ChannelFactory(ChannelOptions options);

  // Doesn't wait: the connection is made by the first call. INVALID_ARGUMENT for a bad target.
  // Over TLS the target must be of one of the roles `servers`.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Create(const std::string& target,
                                                        RoleSet servers = kServerRoles);
  // In the order of `targets`; shards of a service.
  absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> CreateAll(
      const std::vector<std::string>& targets, RoleSet servers = kServerRoles);

 private:
  const ChannelOptions options_;
  const CallMetrics metrics_;
  FaultInjector faults_;
};

}  // namespace dtrpo::rpc
