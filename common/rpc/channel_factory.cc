#include "common/rpc/channel_factory.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "common/rpc/access_table.h"
#include "common/rpc/address.h"

namespace dtrpo::rpc {
namespace {

grpc::ChannelArguments Arguments(int64_t max_message_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(max_message_bytes));
  arguments.SetMaxSendMessageSize(static_cast<int>(max_message_bytes));
  // A peer that vanished without closing is noticed within half a minute.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A service that restarts is found again soon: gRPC's own maximum is two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Retrying is base::Retry's business alone, and proxies are for foreign networks.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

std::vector<absl::string_view> CallsOf(const std::string& role_name) {
  const std::optional<Role> role = ParseRole(role_name);
  return role.has_value() ? MethodsCalledBy(*role) : std::vector<absl::string_view>();
}

}  // namespace

ChannelFactory::ChannelFactory(ChannelOptions options)
    : options_(std::move(options)),
      metrics_(options_.metrics, CallSide::kClient, CallsOf(options_.identity.role)),
      faults_(options_.faults) {}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelFactory::Create(const std::string& target,
                                                                      RoleSet servers) {
  DTRPO_ASSIGN_OR_RETURN(Address address, ParseAddress(target));
  const std::shared_ptr<const TlsIdentity>& tls = options_.tls;
  if (tls == nullptr) DTRPO_RETURN_IF_ERROR(CheckInsecureAllowed(address, options_.insecure));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      target,
      tls == nullptr ? grpc::InsecureChannelCredentials() : tls->ChannelCredentials(servers),
      Arguments(options_.max_message_bytes),
      MakeClientInterceptors(options_.identity, &metrics_, &faults_));
}

absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> ChannelFactory::CreateAll(
    const std::vector<std::string>& targets, RoleSet servers) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (const std::string& target : targets) {
    DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, Create(target, servers));
    channels.push_back(std::move(channel));
  }
  return channels;
}

}  // namespace dtrpo::rpc
