// Thread-safe.
//
// What every process tells of itself, read when Prometheus asks:
//   dtrpo_build_info{version,git} = 1
//   process_start_time_seconds, process_cpu_seconds_total, process_resident_memory_bytes,
//   process_open_fds, process_max_fds: the names that Prometheus' client libraries use
#pragma once

#include <prometheus/collectable.h>

#include <map>
#include <string>
#include <vector>

namespace dtrpo::runtime {

class ProcessMetrics : public prometheus::Collectable {
 public:
  // `labels`: of every series.
  explicit ProcessMetrics(std::map<std::string, std::string> labels);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::map<std::string, std::string> labels_;
  const double start_time_seconds_;
};

}  // namespace dtrpo::runtime
