#include "common/runtime/service_host.h"

#include <grpc/support/log.h>
#include <sys/resource.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/atomic_file.h"
#include "common/base/check.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/runtime/drain_watchdog.h"
#include "common/runtime/server_config.h"

namespace dtrpo::runtime {
namespace {

// Between the drain's deadline and the watchdog's.
constexpr absl::Duration kDrainGrace = absl::Seconds(2);

// gRPC's own messages join the log. It calls "error" much that the caller handles as a status.
void LogFromGrpc(gpr_log_func_args* args) {
  base::Log(
      args->severity == GPR_LOG_SEVERITY_ERROR ? base::LogLevel::kWarning : base::LogLevel::kDebug,
      "grpc", {{"text", args->message}});
}

// A connection is a file descriptor, and the system's usual 1024 are few.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

rpc::TlsFiles TlsFilesOf(const v1::ServerConfig& server) {
  const v1::TlsConfig& tls = server.tls();
  return {.certificate = tls.certificate(), .key = tls.key(), .ca = tls.ca()};
}

// Null without `tls`. The certificate must be of the role that the process has.
absl::StatusOr<std::shared_ptr<const rpc::TlsIdentity>> LoadIdentity(const HostOptions& options) {
  const rpc::TlsFiles files = TlsFilesOf(options.server);
  if (!files.any()) return nullptr;
  DTRPO_ASSIGN_OR_RETURN(auto identity, rpc::TlsIdentity::Load(files, options.files));
  if (rpc::RoleName(identity->role()) == options.role) return identity;
  return absl::InvalidArgumentError(absl::StrCat("tls.certificate: ", files.certificate,
                                                 ": is of role ", rpc::RoleName(identity->role()),
                                                 ", this process is a ", options.role));
}

rpc::ServerLimits ToLimits(const v1::ServerLimits& limits) {
  return {.calls_per_second = limits.calls_per_second(),
          .calls_per_peer = limits.calls_per_peer(),
          .calls_per_connection = limits.calls_per_connection(),
          .connections = limits.connections(),
          .handshake_timeout = absl::Milliseconds(limits.handshake_timeout_ms()),
          .idle_timeout = absl::Milliseconds(limits.idle_timeout_ms()),
          .connection_age = absl::Milliseconds(limits.connection_age_ms()),
          .memory_bytes = limits.memory_bytes()};
}

rpc::ChannelOptions MakeChannelOptions(const HostOptions& options,
                                       std::shared_ptr<const rpc::TlsIdentity> tls,
                                       base::MetricsRegistry* metrics) {
  const v1::FaultInjection& faults = options.server.faults();
  rpc::ChannelOptions channel;
  channel.identity = {.role = options.role, .worker_id = options.name};
  channel.insecure = options.server.insecure();
  channel.tls = std::move(tls);
  channel.max_message_bytes = options.server.max_message_bytes();
  channel.metrics = metrics;
  channel.faults.lost_request_probability = faults.lost_request_probability();
  channel.faults.lost_reply_probability = faults.lost_reply_probability();
  channel.faults.seed = faults.seed();
  return channel;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ServiceHost>> ServiceHost::Create(HostOptions options) {
  if (options.name.empty()) options.name = options.role;
  DTRPO_ASSIGN_OR_RETURN(base::LogLevel level, base::ParseLogLevel(options.server.log_level()));
  base::ConfigureLogging(options.name, level);
  gpr_set_log_function(LogFromGrpc);
  const v1::FaultInjection& faults = options.server.faults();
  DTRPO_RETURN_IF_ERROR(base::ArmFaultPoints({faults.points().begin(), faults.points().end()}));
  DTRPO_RETURN_IF_ERROR(base::ArmFaultPointsFromEnvironment());
  RaiseDescriptorLimit();
  DTRPO_ASSIGN_OR_RETURN(auto tls, LoadIdentity(options));
  DTRPO_ASSIGN_OR_RETURN(
      std::unique_ptr<PrometheusMetrics> metrics,
      PrometheusMetrics::Create(options.server.metrics_listen(),
                                options.server.insecure() || options.server.insecure_metrics(),
                                options.role, TlsFilesOf(options.server)));
  return std::unique_ptr<ServiceHost>(
      new ServiceHost(std::move(options), std::move(tls), std::move(metrics)));
}

ServiceHost::ServiceHost(HostOptions options, std::shared_ptr<const rpc::TlsIdentity> tls,
                         std::unique_ptr<PrometheusMetrics> metrics)
    : options_(std::move(options)),
      tls_(std::move(tls)),
      metrics_(std::move(metrics)),
      wait_states_(options_.clock, metrics_.get()),
      channels_(MakeChannelOptions(options_, tls_, metrics_.get())),
      introspection_(options_.role, &wait_states_) {}

ServiceHost::~ServiceHost() = default;

absl::Status ServiceHost::Start(const std::vector<grpc::Service*>& services) {
  DTRPO_CHECK(server_ == nullptr) << "Start() was called before";
  rpc::ServerOptions server;
  server.listen = options_.server.listen();
  server.insecure = options_.server.insecure();
  server.tls = tls_;
  server.health_listen = options_.server.health_listen();
  // Those of a configuration that nobody filled in are the defaults.
  v1::ServerConfig filled = DefaultServerConfig();
  filled.MergeFrom(options_.server);
  server.limits = ToLimits(filled.limits());
  server.max_threads = options_.server.max_threads();
  server.max_message_bytes = options_.server.max_message_bytes();
  server.metrics = metrics_.get();
  server.role = rpc::ParseRole(options_.role);
  std::vector<grpc::Service*> all = services;
  all.push_back(&introspection_);
  DTRPO_ASSIGN_OR_RETURN(server_, rpc::RpcServer::Start(server, all));
  DTRPO_RETURN_IF_ERROR(WritePortFile());
  base::LogInfo("listening", {{"grpc", address()}, {"metrics", metrics_->address()}});
  return absl::OkStatus();
}

absl::Status ServiceHost::WritePortFile() const {
  const std::string& path = options_.server.port_file();
  if (path.empty()) return absl::OkStatus();
  nlohmann::ordered_json ports = {{"role", options_.role},
                                  {"name", options_.name},
                                  {"pid", ::getpid()},
                                  {"grpc", address()},
                                  {"metrics", metrics_->address()}};
  if (server_->health_address() != nullptr) ports["health"] = server_->health_address()->ToString();
  return base::WriteFileAtomically(options_.files, path, ports.dump() + "\n");
}

void ServiceHost::RequestShutdown(absl::Status reason) {
  absl::MutexLock lock(&mutex_);
  if (shutdown_requested_) return;
  shutdown_requested_ = true;
  shutdown_reason_ = std::move(reason);
  signal_.Raise();
}

absl::Status ServiceHost::RunUntilStopped(const std::function<void(absl::Time deadline)>& drain) {
  DTRPO_CHECK(server_ != nullptr) << "Start() comes first";
  while (!signal_.WaitFor(absl::Minutes(1))) {
  }
  Drain(drain);
  absl::MutexLock lock(&mutex_);
  return shutdown_reason_;
}

void ServiceHost::Drain(const std::function<void(absl::Time deadline)>& drain) {
  const absl::Duration limit = absl::Milliseconds(options_.server.drain_timeout_ms());
  base::LogInfo("draining", {{"limit", limit}});
  // Real time: gRPC knows no other.
  const absl::Time server_deadline = absl::Now() + limit;
  DrainWatchdog watchdog(limit + kDrainGrace, &wait_states_, kDrainOverrunExitCode);
  SetReady(false);
  stop_.Stop();
  if (drain != nullptr) drain(options_.clock->Now() + limit);
  server_->Shutdown(server_deadline);
  base::LogInfo("drained");
}

}  // namespace dtrpo::runtime
