// Thread safety: one thread at a time.
//
// The whole system on one machine: five kinds of services as child processes, one log each.
//
//   <dir>/config/<name>.yaml   what each was started with
//   <dir>/logs/<name>.log      its output, appended to over restarts
//   <dir>/ports/<name>.json    the ports it bound
//   <dir>/store/               of the replay stores and the coordinator; jobs in it go on
//   <dir>/cluster.json         names, pids and addresses, rewritten at each change
//
// A service that dies is started again with back-off, on the same port, and the log says so.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tools/local_cluster/child_process.h"

namespace dtrpo::tools {

struct LocalClusterOptions {
  std::string dir = {};      // made when missing
  std::string bin_dir = {};  // where dtrpo-coordinator and the others are
  int rollouts = 1;
  int replay_shards = 1;        // more: "replay-0", "replay-1", ...; jobs are spread over them
  bool fresh = false;           // forget the jobs of a cluster before
  int learners = 1;             // more: "learner-0", "learner-1", ...; for jobs with training.ranks
  int cores = 0;                // divided among the services; 0: all of the machine's
  int coordinator_port = 7070;  // 0: a free one
  std::string log_level = "info";
  // Certificates of each kind of service (tools/certs); empty: plain text.
  std::string tls_dir = {};
  absl::Duration start_timeout = absl::Seconds(60);
  absl::Duration stop_patience = absl::Seconds(15);
  absl::Duration first_backoff = absl::Seconds(1);
  absl::Duration max_backoff = absl::Seconds(30);
  // Extra YAML by service kind ("coordinator", "replay", "reference", "learner", "rollout"), for
  // tests. It continues the section `server`: lines with an indent of 2 are its fields, and lines
  // without one begin fields of the service's own.
  std::function<std::string(const std::string& kind)> extra_config = {};
};

class LocalCluster {
 public:
  struct Member {
    std::string name;  // "rollout-0"
    std::string kind;
    std::string address;          // gRPC, host:port
    std::string metrics_address;  // empty when off
    pid_t pid = 0;
    bool running = false;
    int restarts = 0;
  };

  // Starts everything and waits until each service has bound its port. On failure nothing is left
  // running and the error holds the end of the failed service's log.
  static absl::StatusOr<std::unique_ptr<LocalCluster>> Start(const LocalClusterOptions& options);
  ~LocalCluster();

  // Looks after the children: notices deaths, restarts what is due. Call it every ~100 ms. Events
  // ("rollout-0 (pid 12) was killed by signal 9; restarting in 1s") go to `report`.
  void Tend(const std::function<void(const std::string&)>& report);

  // SIGTERM to all, workers first, the coordinator last.
  void Stop();

  std::vector<Member> members() const;
  std::string coordinator_address() const;
  const std::string& dir() const { return options_.dir; }

 private:
  struct Service;
  explicit LocalCluster(LocalClusterOptions options);
  absl::Status StartAll();
  absl::Status StartService(Service& service);
  bool ReadPorts(Service& service) const;  // false: not bound yet
  absl::Status AwaitPorts(Service& service) const;
  std::string ConfigOf(const Service& service) const;
  std::string ReplayFolder(const Service& service) const;
  absl::Status PrepareStores() const;
  std::string CoordinatorFolder() const;
  int ThreadsOf(const std::string& kind) const;
  absl::Status WriteClusterFile() const;
  Service* Find(const std::string& kind) const;

  const LocalClusterOptions options_;
  std::vector<std::unique_ptr<Service>> services_;
};

}  // namespace dtrpo::tools
