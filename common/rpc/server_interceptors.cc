#include "common/rpc/server_interceptors.h"

#include <grpcpp/server_context.h>

#include "absl/time/clock.h"
#include "common/base/retry_after.h"
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

class CallInterceptor : public Interceptor {
 public:
  CallInterceptor(base::MetricsRegistry* metrics, ServerRpcInfo* info)
      : metrics_(metrics), info_(info), start_(absl::Now()) {}

  void Intercept(InterceptorBatchMethods* methods) override {
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
  ServerRpcInfo* const info_;
  const absl::Time start_;
};

class CallInterceptorFactory : public ServerInterceptorFactoryInterface {
 public:
  explicit CallInterceptorFactory(base::MetricsRegistry* metrics) : metrics_(metrics) {}
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallInterceptor(metrics_, info);
  }

 private:
  base::MetricsRegistry* const metrics_;
};

}  // namespace

std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> MakeServerInterceptors(
    base::MetricsRegistry* metrics) {
  std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<CallInterceptorFactory>(metrics));
  return factories;
}

}  // namespace dtrpo::rpc
