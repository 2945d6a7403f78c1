// Makes the channels of a process: plain text for now, so loopback unless told otherwise.
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

namespace dtrpo::rpc {

inline constexpr int64_t kDefaultMaxMessageBytes = 64 << 20;

struct ChannelOptions {
  ClientIdentity identity;
  bool insecure = false;  // allows targets that aren't loopback
  int64_t max_message_bytes = kDefaultMaxMessageBytes;
  FaultOptions faults;
  base::MetricsRegistry* metrics = base::NullMetrics();
};

class ChannelFactory {
 public:
  explicit ChannelFactory(ChannelOptions options);

  // Doesn't wait: the connection is made by the first call. INVALID_ARGUMENT for a bad target.
  absl::StatusOr<std::shared_ptr<grpc::Channel>> Create(const std::string& target);
  // In the order of `targets`; shards of a service.
  absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> CreateAll(
      const std::vector<std::string>& targets);

 private:
  const ChannelOptions options_;
  FaultInjector faults_;
};

}  // namespace dtrpo::rpc
