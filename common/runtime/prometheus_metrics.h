// Metrics that Prometheus scrapes at http://ADDRESS/metrics. Thread-safe.
#pragma once

#include <prometheus/exposer.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/metrics.h"
#include "common/rpc/address.h"
#include "common/rpc/tls_identity.h"

namespace dtrpo::runtime {

class PrometheusMetrics : public base::MetricsRegistry {
 public:
  // `listen` is host:port (port 0: a free one) or "off". An address that isn't loopback needs
  // `insecure`. FAILED_PRECONDITION "can't listen on host:port: ..." when the port is taken.
  // `role`: a label of every series; empty: none. With one come the process's own series, too
  // (process_metrics.h), with the expiry of the certificates in `tls`.
  static absl::StatusOr<std::unique_ptr<PrometheusMetrics>> Create(const std::string& listen,
                                                                   bool insecure,
                                                                   const std::string& role = "",
                                                                   const rpc::TlsFiles& tls = {});
  ~PrometheusMetrics() override;

  // With the bound port; empty when off.
  std::string address() const { return exposer_ == nullptr ? "" : address_.ToString(); }

  base::Counter* GetCounter(const std::string& name, const std::string& help,
                            const base::Labels& labels = {}) override;
  base::Gauge* GetGauge(const std::string& name, const std::string& help,
                        const base::Labels& labels = {}) override;
  base::Histogram* GetHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& buckets,
                                const base::Labels& labels = {}) override;
  void RemoveSeries(const std::string& name, const base::Labels& labels) override;

 private:
  // Of every series, beside its own labels.
  std::map<std::string, std::string> RoleLabel() const;

  // Name and sorted labels.
  using Key = std::pair<std::string, std::map<std::string, std::string>>;
  template <typename Metric>
  using Metrics = std::map<Key, std::unique_ptr<Metric>>;

  explicit PrometheusMetrics(std::string role)
      : role_(std::move(role)), registry_(std::make_shared<prometheus::Registry>()) {}

  const std::string role_;
  const std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<prometheus::Collectable> process_;  // null without a role
  std::unique_ptr<prometheus::Exposer> exposer_;      // null when off
  rpc::Address address_;                              // with the bound port
  absl::Mutex mutex_;
  Metrics<base::Counter> counters_ ABSL_GUARDED_BY(mutex_);
  Metrics<base::Gauge> gauges_ ABSL_GUARDED_BY(mutex_);
  Metrics<base::Histogram> histograms_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::runtime
