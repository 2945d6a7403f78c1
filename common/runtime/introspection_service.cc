#include "common/runtime/introspection_service.h"

#include "absl/strings/str_cat.h"
#include "common/base/retry_after.h"
#include "common/rpc/metadata.h"
#include "common/rpc/serve.h"
#include "common/runtime/build_info.h"

namespace dtrpo::runtime {

grpc::Status IntrospectionService::Handshake(grpc::ServerContext* context,
                                             const v1::HandshakeRequest* request,
                                             v1::HandshakeResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    if (request->protocol_version() != rpc::kProtocolVersion) {
      absl::Status status = absl::FailedPreconditionError(
          absl::StrCat("the caller (", request->role(), ") speaks protocol version ",
                       request->protocol_version(), ", this ", role_, " ", rpc::kProtocolVersion));
      base::SetReason(status, "protocol_version");
      return status;
    }
    response->set_protocol_version(rpc::kProtocolVersion);
    response->set_role(role_);
    response->set_build(absl::StrCat("dtrpo ", kVersion));
    return absl::OkStatus();
  });
}

grpc::Status IntrospectionService::GetWaitStates(grpc::ServerContext* context,
                                                 const v1::GetWaitStatesRequest*,
                                                 v1::GetWaitStatesResponse* response) {
  return rpc::Serve(*context, [&](const rpc::IncomingCall&) -> absl::Status {
    for (const base::WaitState& wait : waits_->Snapshot()) {
      v1::WaitState* out = response->add_waits();
      out->set_what(wait.what);
      out->set_on_whom(wait.on_whom);
      out->set_since_unix_ms(absl::ToUnixMillis(wait.since));
      out->set_thread(wait.thread);
    }
    return absl::OkStatus();
  });
}

}  // namespace dtrpo::runtime
