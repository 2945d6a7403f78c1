// What each service process has around its domain objects: logs, metrics, health, the gRPC server,
// signals, the port file, the wait-state registry, fault points, and an orderly end. Thread-safe.
//
// Order of a process's life:
//   Create -> domain objects -> Start (server is live, port file is there) -> SetReady(true)
//   -> RunUntilStopped: SIGTERM, SIGINT or RequestShutdown
//   -> drain, all within drain_timeout: not ready; stop() fires; the caller's drain (finish or give
//      up work, join threads); the server takes no new calls and waits for the running ones.
// A drain that runs past its deadline is logged with what it waits for, and the process exits with
// kDrainOverrunExitCode: nothing waits for ever.
//
// Handlers and loops that wait look at stop(). Domain objects are destroyed after RunUntilStopped
// has returned and before the host.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/metrics.h"
#include "common/base/stop_signal.h"
#include "common/base/wait_states.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/runtime/introspection_service.h"
#include "common/runtime/prometheus_metrics.h"
#include "common/runtime/shutdown_signal.h"
#include "proto/dtrpo/v1/config.pb.h"

namespace dtrpo::runtime {

inline constexpr int kDrainOverrunExitCode = 70;

struct HostOptions {
  std::string role;         // "replay"; names the log lines and the calls
  std::string name = {};    // "replay-0"; empty: the role
  v1::ServerConfig server;  // checked by CheckServerConfig
  base::Clock* clock = base::RealClock();
  base::FileSystem* files = base::PosixFileSystem();
};

class ServiceHost {
 public:
  static absl::StatusOr<std::unique_ptr<ServiceHost>> Create(HostOptions options);
  ~ServiceHost();

  base::Clock* clock() const { return options_.clock; }
  base::FileSystem* files() const { return options_.files; }
  base::MetricsRegistry* metrics() const { return metrics_.get(); }
  base::WaitStateRegistry* wait_states() { return &wait_states_; }
  base::StopSignal* stop() { return &stop_; }
  rpc::ChannelFactory* channels() { return &channels_; }
  const std::string& name() const { return options_.name; }

  // Starts the server with `services` (which outlive the host's server, see above) and writes the
  // port file: {"role","name","pid","grpc":"host:port","metrics":"host:port"} and, with
  // server.health_listen, "health". Call once.
  absl::Status Start(const std::vector<grpc::Service*>& services);
  // host:port of the gRPC server. REQUIRES: Start() was OK.
  std::string address() const { return server_->address().ToString(); }
  // host:port of the Prometheus endpoint; empty when it is off.
  std::string metrics_address() const { return metrics_->address(); }
  void SetReady(bool ready) { server_->SetReady(ready); }

  // Ends RunUntilStopped, which then returns `reason`. The first reason counts.
  void RequestShutdown(absl::Status reason) ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks until a signal or RequestShutdown, then drains. `drain` (may be null) must return by its
  // deadline. OK after a signal, else RequestShutdown's reason.
  absl::Status RunUntilStopped(const std::function<void(absl::Time deadline)>& drain = nullptr);

 private:
  ServiceHost(HostOptions options, std::shared_ptr<const rpc::TlsIdentity> tls,
              std::unique_ptr<PrometheusMetrics> metrics);
  absl::Status WritePortFile() const;
  void Drain(const std::function<void(absl::Time deadline)>& drain);

  const HostOptions options_;
  const std::shared_ptr<const rpc::TlsIdentity> tls_;  // null: plain text
  const std::unique_ptr<PrometheusMetrics> metrics_;
  base::WaitStateRegistry wait_states_;
  base::StopSignal stop_;
  ShutdownSignal signal_;
  rpc::ChannelFactory channels_;
  IntrospectionService introspection_;
  std::unique_ptr<rpc::RpcServer> server_;
  absl::Mutex mutex_;
  absl::Status shutdown_reason_ ABSL_GUARDED_BY(mutex_);
  bool shutdown_requested_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::runtime
