// Thread-safe.
//
// What every process tells of itself, read when Prometheus asks:
//   dtrpo_build_info{version,git} = 1
//   dtrpo_tls_certificate_expiry_timestamp_seconds{certificate}: when the first certificate of the
//   file ends; own, ca
//   process_start_time_seconds, process_cpu_seconds_total, process_resident_memory_bytes,
//   process_open_fds, process_max_fds: the names that Prometheus' client libraries use
#pragma once

#include <prometheus/collectable.h>

#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/rpc/tls_identity.h"

namespace dtrpo::runtime {

class ProcessMetrics : public prometheus::Collectable {
 public:
  // `labels`: of every series. `tls`: the files that the process reads again when they change.
  ProcessMetrics(std::map<std::string, std::string> labels, rpc::TlsFiles tls);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  // Of what the file held last that could be read.
  void ReadExpiry(const std::string& certificate, const std::string& path) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::map<std::string, std::string> labels_;
  const rpc::TlsFiles tls_;
  const double start_time_seconds_;
  mutable absl::Mutex mutex_;
  mutable std::map<std::string, double> expiry_ ABSL_GUARDED_BY(mutex_);  // by certificate
};

}  // namespace dtrpo::runtime
