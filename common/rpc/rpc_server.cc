#include "common/rpc/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rpc/access_table.h"
#include "common/rpc/call_authorizer.h"
#include "common/rpc/server_interceptors.h"

namespace dtrpo::rpc {
namespace {

constexpr char kLive[] = "live";
constexpr char kReady[] = "ready";

// Both are switches of the whole process that the next ServerBuilder looks at.
void EnableHealthAndReflection() {
  static absl::once_flag once;
  absl::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void SetArguments(const ServerOptions& options, grpc::ServerBuilder* builder) {
  const ServerLimits& limits = options.limits;
  const auto set = [builder](const char* name, int64_t value) {
    builder->AddChannelArgument(name, static_cast<int>(std::min<int64_t>(value, INT_MAX)));
  };
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
  // Fits the keepalive of channel_factory.cc: pings every 20 s, also without calls. Who pings much
  // oftener is sent away.
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A caller that vanished without closing, or that reads nothing, is noticed within a minute.
  set(GRPC_ARG_KEEPALIVE_TIME_MS, 40'000);
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  set(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, absl::ToInt64Milliseconds(limits.handshake_timeout));
  set(GRPC_ARG_MAX_CONNECTION_IDLE_MS, absl::ToInt64Milliseconds(limits.idle_timeout));
  set(GRPC_ARG_MAX_CONNECTION_AGE_MS, absl::ToInt64Milliseconds(limits.connection_age));
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.calls_per_connection);
  // One thread waits for work, so the handlers get all but one.
  grpc::ResourceQuota quota("dtrpo_server");
  quota.SetMaxThreads(options.max_threads + 1);
  quota.Resize(static_cast<size_t>(limits.memory_bytes));
  builder->SetResourceQuota(quota);
  // gRPC would end every thread that finds two others waiting: making them anew for the next calls,
  // with all that the thread's libraries keep for each, costs more than a call.
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, options.max_threads);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const ServerOptions& options, const std::vector<grpc::Service*>& services) {
  DTRPO_ASSIGN_OR_RETURN(const Address address, ParseAddress(options.listen));
  if (options.tls == nullptr) {
    DTRPO_RETURN_IF_ERROR(CheckInsecureAllowed(address, options.insecure));
  }
  auto result = std::unique_ptr<RpcServer>(new RpcServer(options));
  DTRPO_ASSIGN_OR_RETURN(result->acceptor_,
                         ConnectionAcceptor::Listen(address, options.limits.connections));

  EnableHealthAndReflection();
  grpc::ServerBuilder builder;
  SetArguments(options, &builder);
  builder.experimental().SetInterceptorCreators(
      MakeServerInterceptors(&result->metrics_, RunningCalls(*options.metrics), &result->limiter_));
  MaxRunningCalls(*options.metrics)->Set(options.max_threads);
  const std::shared_ptr<grpc::ServerCredentials> credentials =
      options.tls == nullptr
          ? grpc::InsecureServerCredentials()
          : options.tls->ServerCredentials(std::make_shared<CallAuthorizer>(&result->metrics_));
  std::shared_ptr<grpc::experimental::ExternalConnectionAcceptor> connections =
      builder.experimental().AddExternalConnectionAcceptor(
          grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials);
  for (grpc::Service* service : services) builder.RegisterService(service);
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("can't serve on ", options.listen));
  }
  if (!options.health_listen.empty()) {
    DTRPO_RETURN_IF_ERROR(result->StartHealth(options.health_listen));
  }
  result->SetServing(kLive, true);
  result->SetReady(false);
  result->acceptor_->Run([connections](int listener, int connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = listener;
    parameters.fd = connection;
    connections->HandleNewConnection(&parameters);
  });
  return result;
}

RpcServer::RpcServer(const ServerOptions& options)
    : metrics_(options.metrics, CallSide::kServer,
               options.role.has_value() ? MethodsServedBy(*options.role)
                                        : std::vector<absl::string_view>()),
      limiter_(options.limits.calls_per_second, options.limits.calls_per_peer) {}

RpcServer::~RpcServer() { Shutdown(absl::InfinitePast()); }

absl::Status RpcServer::StartHealth(const std::string& listen) {
  DTRPO_ASSIGN_OR_RETURN(Address address, ParseAddress(listen));
  DTRPO_RETURN_IF_ERROR(CheckCanListen(address));  // gRPC itself doesn't say why it can't
  grpc::ServerBuilder builder;
  // Linux would let two servers share a port, and each would get some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, 60'000);
  grpc::ResourceQuota quota("dtrpo_health");
  quota.SetMaxThreads(3);
  quota.Resize(16 << 20);
  builder.SetResourceQuota(quota);
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &address.port);
  health_ = builder.BuildAndStart();
  if (health_ == nullptr || address.port == 0) {
    return absl::FailedPreconditionError(absl::StrCat("can't listen on ", listen));
  }
  health_address_ = std::move(address);
  return absl::OkStatus();
}

void RpcServer::SetServing(const std::string& name, bool serving) {
  for (grpc::Server* server : {server_.get(), health_.get()}) {
    if (server != nullptr) server->GetHealthCheckService()->SetServingStatus(name, serving);
  }
}

void RpcServer::SetReady(bool ready) {
  SetServing(kReady, ready);
  SetServing("", ready);
}

void RpcServer::Shutdown(absl::Time deadline) {
  if (server_ == nullptr) return;
  acceptor_->Stop();
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
  if (health_ == nullptr) return;
  health_->Shutdown(absl::ToChronoTime(deadline));
  health_->Wait();
}

}  // namespace dtrpo::rpc
