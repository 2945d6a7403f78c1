#include "common/rpc/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
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
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  builder->SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
  // Linux would let two servers share a port, and each would get some of the calls.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Fits the keepalive of channel_factory.cc: pings every 20 s, also without calls.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // One thread waits for work, so the handlers get all but one.
  grpc::ResourceQuota quota("dtrpo_server");
  quota.SetMaxThreads(options.max_threads + 1);
  builder->SetResourceQuota(quota);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const ServerOptions& options, const std::vector<grpc::Service*>& services) {
  DTRPO_ASSIGN_OR_RETURN(Address address, ParseAddress(options.listen));
  DTRPO_RETURN_IF_ERROR(CheckInsecureAllowed(address, options.insecure));
  DTRPO_RETURN_IF_ERROR(CheckCanListen(address));  // gRPC itself doesn't say why it can't

  EnableHealthAndReflection();
  grpc::ServerBuilder builder;
  SetArguments(options, &builder);
  builder.experimental().SetInterceptorCreators(MakeServerInterceptors(options.metrics));
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::FailedPreconditionError(absl::StrCat("can't listen on ", options.listen));
  }
  address.port = port;
  auto result = std::unique_ptr<RpcServer>(new RpcServer(std::move(server), std::move(address)));
  result->SetReady(false);
  return result;
}

RpcServer::RpcServer(std::unique_ptr<grpc::Server> server, Address address)
    : server_(std::move(server)), address_(std::move(address)) {
  server_->GetHealthCheckService()->SetServingStatus(kLive, true);
}

RpcServer::~RpcServer() { Shutdown(absl::InfinitePast()); }

void RpcServer::SetReady(bool ready) {
  server_->GetHealthCheckService()->SetServingStatus(kReady, ready);
  server_->GetHealthCheckService()->SetServingStatus("", ready);
}

void RpcServer::Shutdown(absl::Time deadline) {
  server_->Shutdown(absl::ToChronoTime(deadline));
  server_->Wait();
}

}  // namespace dtrpo::rpc
