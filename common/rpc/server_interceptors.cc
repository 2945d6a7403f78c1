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
  CallInterceptor(const CallMetrics* metrics, base::Gauge* running, CallLimiter* limiter,
                  ServerRpcInfo* info)
      : metrics_(metrics), running_(running), limiter_(limiter), info_(info), start_(absl::Now()) {
    running_->Add(1);
  }
  ~CallInterceptor() override {
    running_->Add(-1);
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
      metrics_->Record(info_->method(), status.error_code(), absl::Now() - start_);
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

  const CallMetrics* const metrics_;
  base::Gauge* const running_;
  CallLimiter* const limiter_;
  ServerRpcInfo* const info_;
  const absl::Time start_;
  absl::Status limit_;  // not OK: the call is refused
  std::string peer_;    // whose call is counted as running; empty: none is
};

class CallInterceptorFactory : public ServerInterceptorFactoryInterface {
 public:
  CallInterceptorFactory(const CallMetrics* metrics, base::Gauge* running, CallLimiter* limiter)
      : metrics_(metrics), running_(running), limiter_(limiter) {}
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallInterceptor(metrics_, running_, limiter_, info);
  }

 private:
  const CallMetrics* const metrics_;
  base::Gauge* const running_;
  CallLimiter* const limiter_;
};

}  // namespace

std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> MakeServerInterceptors(
    const CallMetrics* metrics, base::Gauge* running, CallLimiter* limiter) {
  std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<CallInterceptorFactory>(metrics, running, limiter));
  return factories;
}

}  // namespace dtrpo::rpc
