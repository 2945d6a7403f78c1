#include "common/runtime/process_metrics.h"

#include <dirent.h>
#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/file_system.h"
#include "common/runtime/build_info.h"

namespace dtrpo::runtime {
namespace {

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  double pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenFiles() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  double count = 0;
  while (const dirent* const entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count - 1;  // the folder itself
}

double MaxFiles() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

prometheus::MetricFamily Family(const std::string& name, const std::string& help,
                                prometheus::MetricType type, double value,
                                const std::map<std::string, std::string>& labels) {
  prometheus::ClientMetric metric;
  for (const auto& [label, text] : labels) metric.label.push_back({label, text});
  metric.gauge.value = metric.counter.value = value;
  return {name, help, type, {std::move(metric)}};
}

}  // namespace

ProcessMetrics::ProcessMetrics(std::map<std::string, std::string> labels, rpc::TlsFiles tls)
    : labels_(std::move(labels)),
      tls_(std::move(tls)),
      start_time_seconds_(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch())) {}

void ProcessMetrics::ReadExpiry(const std::string& certificate, const std::string& path) const {
  const absl::StatusOr<std::string> pem = base::PosixFileSystem()->Read(path);
  if (!pem.ok()) return;
  const absl::StatusOr<absl::Time> expiry = rpc::FirstExpiry(*pem);
  if (expiry.ok()) expiry_[certificate] = absl::ToDoubleSeconds(*expiry - absl::UnixEpoch());
}

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  const auto gauge = prometheus::MetricType::Gauge;
  std::map<std::string, std::string> build = labels_;
  build["version"] = kVersion;
  build["git"] = GitCommit();
  std::vector<prometheus::MetricFamily> families = {
      Family("dtrpo_build_info", "Always 1; version and commit of the binary.", gauge, 1, build),
      Family("process_start_time_seconds", "Unix time at which the process started.", gauge,
             start_time_seconds_, labels_),
      Family("process_cpu_seconds_total", "User and system time of the process.",
             prometheus::MetricType::Counter, CpuSeconds(), labels_),
      Family("process_resident_memory_bytes", "Memory of the process that is in RAM.", gauge,
             ResidentBytes(), labels_),
      Family("process_open_fds", "Open files and connections.", gauge, OpenFiles(), labels_),
      Family("process_max_fds", "Most files and connections that may be open.", gauge, MaxFiles(),
             labels_),
  };
  if (!tls_.any()) return families;
  absl::MutexLock lock(&mutex_);
  ReadExpiry("own", tls_.certificate);
  ReadExpiry("ca", tls_.ca);
  prometheus::MetricFamily certificates{"dtrpo_tls_certificate_expiry_timestamp_seconds",
                                        "When the first certificate of the file ends.",
                                        gauge,
                                        {}};
  for (const auto& [certificate, expiry] : expiry_) {
    std::map<std::string, std::string> labels = labels_;
    labels["certificate"] = certificate;
    prometheus::MetricFamily one =
        Family(certificates.name, certificates.help, gauge, expiry, labels);
    certificates.metric.push_back(std::move(one.metric.front()));
  }
  families.push_back(std::move(certificates));
  return families;
}

}  // namespace dtrpo::runtime
