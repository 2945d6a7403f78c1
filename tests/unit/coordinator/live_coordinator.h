// Thread-safe as the coordinator is. A coordinator behind a real gRPC server on loopback, with
// files in memory and no replay store: jobs stay PENDING. For tests of what clients see.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/fake_metrics.h"
#include "common/base/memory_file_system.h"
#include "common/base/stop_signal.h"
#include "common/rpc/channel_factory.h"
#include "common/rpc/rpc_server.h"
#include "common/wire/job_client.h"
#include "common/wire/worker_client.h"
#include "services/coordinator/job_service.h"
#include "services/coordinator/tick_loop.h"
#include "services/coordinator/worker_service.h"

namespace dtrpo::coordinator {

class LiveCoordinator {
 public:
  static constexpr int kThreads = 8;

  LiveCoordinator()
      : metrics_(&registry_),
        coordinator_({},
                     {.files = &files_,
                      .metrics = &metrics_,
                      .prompt_check =
                          [](const job::JobSpec&) {
                            return PromptCheck([](absl::string_view) { return absl::OkStatus(); });
                          }}),
        job_service_(&coordinator_, base::RealClock(), &stop_, kThreads / 2),
        worker_service_(&coordinator_) {
    Write("/model/config.json", "{}");
    Write("/p.jsonl", "{\"id\": 1}\n");
    rpc::ServerOptions options;
    options.max_threads = kThreads;
    auto server = rpc::RpcServer::Start(options, {&job_service_, &worker_service_});
    DTRPO_CHECK_OK(server);
    server_ = *std::move(server);
    rpc::ChannelOptions channel_options;
    channel_options.identity.role = "client";
    channels_ = std::make_unique<rpc::ChannelFactory>(channel_options);
    const auto channel = channels_->Create(address());
    DTRPO_CHECK_OK(channel);
    wire::ClientOptions client_options;
    client_options.target = "coordinator";
    jobs_ = wire::MakeJobClient(*channel, client_options);
    workers_ = std::make_unique<wire::WorkerClient>(*channel);
    tick_thread_ = std::thread([this] { RunTickLoop(coordinator_, *base::RealClock(), stop_); });
  }

  ~LiveCoordinator() { Shutdown(); }

  void Shutdown() {
    if (server_ == nullptr) return;
    stop_.Stop();
    server_->Shutdown(absl::Now() + absl::Seconds(5));
    tick_thread_.join();
    server_ = nullptr;
  }

  void Write(const std::string& path, const std::string& content) {
    DTRPO_CHECK_OK(files_.MakeDirectories(base::ParentPath(path)));
    auto file = files_.Create(path);
    DTRPO_CHECK_OK(file);
    DTRPO_CHECK_OK((*file)->Append(content));
  }

  std::string address() const { return server_->address().ToString(); }
  wire::JobClient& jobs() { return *jobs_; }
  wire::WorkerClient& workers() { return *workers_; }

  v1::JobSpec Spec(const std::string& name) const {
    v1::JobSpec spec;
    spec.set_name(name);
    spec.mutable_model()->set_path("/model");
    spec.mutable_data()->set_prompts("/p.jsonl");
    spec.mutable_training()->set_steps(3);
    spec.set_output("/out");
    return spec;
  }

 private:
  base::MemoryFileSystem files_;
  base::FakeMetrics registry_;
  CoordinatorMetrics metrics_;
  base::StopSignal stop_;
  Coordinator coordinator_;
  JobService job_service_;
  WorkerService worker_service_;
  std::unique_ptr<rpc::RpcServer> server_;
  std::unique_ptr<rpc::ChannelFactory> channels_;
  std::unique_ptr<wire::JobClient> jobs_;
  std::unique_ptr<wire::WorkerClient> workers_;
  std::thread tick_thread_;
};

}  // namespace dtrpo::coordinator
