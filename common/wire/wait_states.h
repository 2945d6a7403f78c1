// Thread-safe: no state. What a process waits for, as it is told to others.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/wait_states.h"
#include "proto/dtrpo/v1/common.pb.h"

namespace dtrpo::wire {

v1::WaitState ToProto(const base::WaitState& wait);

// What a service waits for, oldest first: one attempt at asking it.
absl::StatusOr<std::vector<v1::WaitState>> GetWaitStates(
    const std::shared_ptr<grpc::Channel>& channel, absl::Time deadline);

}  // namespace dtrpo::wire
