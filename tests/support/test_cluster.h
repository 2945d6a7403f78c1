// Thread safety: one thread at a time.
//
// A LocalCluster for tests: all five services as child processes of the test, on free ports, in a
// folder of the test, and a client of the coordinator. Waiting for a job looks after the children,
// so that one the test killed is started again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/job_client.h"
#include "proto/dtrpo/v1/coordinator.pb.h"
#include "tools/local_cluster/local_cluster.h"

namespace dtrpo::support {

class TestCluster {
 public:
  // `options.dir`, `bin_dir` and `tls_dir` are the caller's; ports, cores and back-off are set for
  // tests.
  static absl::StatusOr<std::unique_ptr<TestCluster>> Start(tools::LocalClusterOptions options);

  absl::StatusOr<std::string> Submit(const v1::JobSpec& spec);
  absl::StatusOr<v1::JobStatus> Get(const std::string& job_id, bool steps = false);

  // Looks after the children until `wanted` is true of the job's status, and returns that. An error
  // with the job's status and what each worker waits for when it isn't by `timeout`, or can't be
  // any more because the job is over.
  using Wanted = std::function<bool(const v1::JobStatus&)>;
  absl::StatusOr<v1::JobStatus> Await(const std::string& job_id, const std::string& what,
                                      const Wanted& wanted,
                                      absl::Duration timeout = absl::Seconds(60));
  // The status in the job's final state, with all its steps.
  absl::StatusOr<v1::JobStatus> AwaitEnd(const std::string& job_id,
                                         absl::Duration timeout = absl::Seconds(90));
  // Looks after the children until `done`; false when it isn't by `timeout`.
  bool TendUntil(const std::function<bool()>& done, absl::Duration timeout = absl::Seconds(30));

  // To "rollout-0" or whoever. CHECK-fails for an unknown name.
  void Signal(const std::string& member, int signal);
  tools::LocalCluster::Member Member(const std::string& name) const;
  std::vector<tools::LocalCluster::Member> members() const { return cluster_->members(); }
  // A counter or gauge of a service, summed over its labels; see http_get.h.
  absl::StatusOr<double> Metric(const std::string& member, const std::string& name) const;

  wire::JobClient& client() { return *client_; }
  rpc::ChannelFactory& channels() { return channels_; }
  const std::string& coordinator() const { return address_; }
  // What Tend() reported: deaths and restarts.
  const std::vector<std::string>& events() const { return events_; }
  std::string LogTails() const;

 private:
  explicit TestCluster(rpc::ChannelOptions options);

  rpc::ChannelFactory channels_;
  std::unique_ptr<tools::LocalCluster> cluster_;
  std::string address_;
  std::unique_ptr<wire::JobClient> client_;
  std::vector<std::string> events_;
};

// SUCCEEDED, FAILED or CANCELLED.
bool IsOver(const v1::JobStatus& status);

}  // namespace dtrpo::support
