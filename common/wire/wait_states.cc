#include "common/wire/wait_states.h"

#include "common/base/status_macros.h"
#include "common/rpc/unary_call.h"
#include "proto/dtrpo/v1/common.grpc.pb.h"

namespace dtrpo::wire {

v1::WaitState ToProto(const base::WaitState& wait) {
  v1::WaitState state;
  state.set_what(wait.what);
  state.set_on_whom(wait.on_whom);
  state.set_since_unix_ms(absl::ToUnixMillis(wait.since));
  state.set_thread(wait.thread);
  return state;
}

absl::StatusOr<std::vector<v1::WaitState>> GetWaitStates(
    const std::shared_ptr<grpc::Channel>& channel, absl::Time deadline) {
  const auto stub = v1::IntrospectionService::NewStub(channel);
  DTRPO_ASSIGN_OR_RETURN(
      const v1::GetWaitStatesResponse response,
      rpc::UnaryCall(stub.get(), &v1::IntrospectionService::StubInterface::GetWaitStates,
                     v1::GetWaitStatesRequest(), {.deadline = deadline}));
  return std::vector<v1::WaitState>(response.waits().begin(), response.waits().end());
}

}  // namespace dtrpo::wire
