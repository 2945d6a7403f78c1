#include "common/rpc/client_interceptors.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/rpc/metadata.h"

namespace dtrpo::rpc {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::ClientRpcInfo;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using Hook = grpc::experimental::InterceptionHookPoints;

class MetricsInterceptor : public Interceptor {
 public:
  MetricsInterceptor(const CallMetrics* metrics, std::string method)
      : metrics_(metrics), method_(std::move(method)), start_(absl::Now()) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(Hook::POST_RECV_STATUS)) {
      metrics_->Record(method_, methods->GetRecvStatus()->error_code(), absl::Now() - start_);
    }
    methods->Proceed();
  }

 private:
  const CallMetrics* const metrics_;
  const std::string method_;
  const absl::Time start_;
};

class ErrorDetailInterceptor : public Interceptor {
 public:
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(Hook::POST_RECV_STATUS)) {
      grpc::Status* status = methods->GetRecvStatus();
      auto* metadata = methods->GetRecvTrailingMetadata();
      if (!status->ok() && metadata != nullptr) {
        auto detail = metadata->find(kErrorDetailKey);
        if (detail != metadata->end()) {
          *status = grpc::Status(status->error_code(), status->error_message(),
                                 std::string(detail->second.data(), detail->second.size()));
        }
      }
    }
    methods->Proceed();
  }
};

// Ends a call with `status` before anything is sent. Used by the interceptors below through
// Hijack(): gRPC then asks the same interceptor for everything that the server would have sent.
class Hijacker {
 public:
  void Start(InterceptorBatchMethods* methods, grpc::Status status) {
    status_ = std::move(status);
    methods->Hijack();
  }
  void Answer(InterceptorBatchMethods* methods) {
    if (methods->QueryInterceptionHookPoint(Hook::PRE_RECV_MESSAGE)) {
      methods->FailHijackedRecvMessage();
    }
    if (methods->QueryInterceptionHookPoint(Hook::PRE_RECV_STATUS)) {
      *methods->GetRecvStatus() = status_;
    }
  }

 private:
  grpc::Status status_;
};

class DeadlineAndIdentityInterceptor : public Interceptor {
 public:
  DeadlineAndIdentityInterceptor(const ClientIdentity* identity, ClientRpcInfo* info)
      : identity_(identity), info_(info) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
      if (IsOwnMethod(info_->method()) &&
          info_->client_context()->deadline() == std::chrono::system_clock::time_point::max()) {
        hijacker_.Start(methods,
                        grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                     absl::StrCat(info_->method(), ": called without a deadline")));
        return;
      }
      auto* metadata = methods->GetSendInitialMetadata();
      metadata->emplace(kProtocolKey, absl::StrCat(kProtocolVersion));
      metadata->emplace(kRoleKey, identity_->role);
      if (!identity_->worker_id.empty()) metadata->emplace(kWorkerKey, identity_->worker_id);
    }
    hijacker_.Answer(methods);
    methods->Proceed();
  }

 private:
  const ClientIdentity* const identity_;
  ClientRpcInfo* const info_;
  Hijacker hijacker_;
};

class FaultInterceptor : public Interceptor {
 public:
  FaultInterceptor(Fault fault, std::string method) : fault_(fault), method_(std::move(method)) {}

  void Intercept(InterceptorBatchMethods* methods) override {
    if (fault_ == Fault::kLostRequest) {
      if (methods->QueryInterceptionHookPoint(Hook::PRE_SEND_INITIAL_METADATA)) {
        hijacker_.Start(methods, Lost("request"));
        return;
      }
      hijacker_.Answer(methods);
    } else if (methods->QueryInterceptionHookPoint(Hook::POST_RECV_STATUS)) {
      *methods->GetRecvStatus() = Lost("reply");
    }
    methods->Proceed();
  }

 private:
  grpc::Status Lost(absl::string_view what) const {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE,
                        absl::StrCat("injected fault: lost ", what, " of ", method_));
  }

  const Fault fault_;
  const std::string method_;
  Hijacker hijacker_;
};

// Adapts a lambda that makes an interceptor (or null: none for this call).
template <typename Make>
class Factory : public ClientInterceptorFactoryInterface {
 public:
  explicit Factory(Make make) : make_(std::move(make)) {}
  Interceptor* CreateClientInterceptor(ClientRpcInfo* info) override { return make_(info); }

 private:
  Make make_;
};

template <typename Make>
std::unique_ptr<ClientInterceptorFactoryInterface> MakeFactory(Make make) {
  return std::make_unique<Factory<Make>>(std::move(make));
}

}  // namespace

std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> MakeClientInterceptors(
    const ClientIdentity& identity, const CallMetrics* metrics, FaultInjector* faults) {
  std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> factories;
  factories.push_back(MakeFactory([metrics](ClientRpcInfo* info) -> Interceptor* {
    return new MetricsInterceptor(metrics, info->method());
  }));
  factories.push_back(
      MakeFactory([](ClientRpcInfo*) -> Interceptor* { return new ErrorDetailInterceptor(); }));
  factories.push_back(MakeFactory([identity](ClientRpcInfo* info) -> Interceptor* {
    return new DeadlineAndIdentityInterceptor(&identity, info);
  }));
  factories.push_back(MakeFactory([faults](ClientRpcInfo* info) -> Interceptor* {
    const Fault fault = faults->Next(info->method());
    return fault == Fault::kNone ? nullptr : new FaultInterceptor(fault, info->method());
  }));
  return factories;
}

}  // namespace dtrpo::rpc
