#include "common/rpc/server_interceptors.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/retry_after.h"
#include "common/rpc/call_authorizer.h"
#include "common/rpc/call_metrics.h"
#include "common/rpc/metadata.h"
#include "common/rpc/serve.h"
#include "common/rpc/status_translation.h"

namespace dtrpo::rpc {
namespace {

using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;
using Hook = grpc::experimental::InterceptionHookPoints;

constexpr absl::Duration kBusyRetryAfter = absl::Milliseconds(100);

// "rollout@ipv4:10.0.0.7", in plain text "ipv4:10.0.0.7": no port, that is another one each time.
std::string PeerOf(const grpc::ServerContextBase& context) {
  std::string peer = context.peer();
  peer.resize(std::min(peer.size(), peer.rfind(':')));
  const std::optional<Role> role = PeerRole(*context.auth_context());
  return role.has_value() ? absl::StrCat(RoleName(*role), "@", peer) : peer;
}

class CallInterceptor : public Interceptor {
 public:
  CallInterceptor(base::MetricsRegistry* metrics, CallLimiter* limiter, ServerRpcInfo* info)
      : metrics_(metrics), limiter_(limiter), info_(info), start_(absl::Now()) {
    RunningCalls(*metrics_)->Add(1);
  }
  ~CallInterceptor() override {
    RunningCalls(*metrics_)->Add(-1);
    if (!peer_.empty()) limiter_->End(peer_);
  }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(Hook::POST_RECV_INITIAL_METADATA) &&
        IsOwnMethod(info_->method())) {
      std::string peer = PeerOf(*info_->server_context());
      limit_ = limiter_->Begin(peer, start_);
      if (limit_.ok()) {
        peer_ = std::move(peer);
      } else {
        methods->GetRecvInitialMetadata()->emplace(kRefusedKey, "");
      }
    }
    if (methods->QueryInterceptionHookPoint(Hook::PRE_SEND_STATUS)) {
      const grpc::Status status = FinalStatus(methods->GetSendStatus());
      if (!status.error_details().empty()) {
        methods->GetSendTrailingMetadata()->emplace(kErrorDetailKey, status.error_details());
      }
      methods->ModifySendStatus(grpc::Status(status.error_code(), status.error_message()));
      RecordCall(*metrics_, CallSide::kServer, info_->method(), status.error_code(),
                 absl::Now() - start_);
    }
    methods->Proceed();
  }

 private:
  grpc::Status FinalStatus(const grpc::Status& status) const {
    if (!IsOwnMethod(info_->method())) return status;
    if (!limit_.ok()) return ToGrpcStatus(limit_);
    // Every RESOURCE_EXHAUSTED of ours has details (status_translation.cc), gRPC's own has none.
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
        status.error_details().empty()) {
      return ToGrpcStatus(
          base::BackPressureError("all server threads are busy", "server_busy", kBusyRetryAfter));
    }
    if (status.ok() && !HasDeadline(*info_->server_context())) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, kNoDeadlineMessage);
    }
    return status;
  }

  base::MetricsRegistry* const metrics_;
  CallLimiter* const limiter_;
  ServerRpcInfo* const info_;
  const absl::Time start_;
  absl::Status limit_;  // not OK: the call is refused
  std::string peer_;    // whose call is counted as running; empty: none is
};

class CallInterceptorFactory : public ServerInterceptorFactoryInterface {
 public:
  CallInterceptorFactory(base::MetricsRegistry* metrics, CallLimiter* limiter)
      : metrics_(metrics), limiter_(limiter) {}
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallInterceptor(metrics_, limiter_, info);
  }

 private:
  base::MetricsRegistry* const metrics_;
  CallLimiter* const limiter_;
};

}  // namespace

std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> MakeServerInterceptors(
    base::MetricsRegistry* metrics, CallLimiter* limiter) {
  std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<CallInterceptorFactory>(metrics, limiter));
  return factories;
}

}  // namespace dtrpo::rpc
