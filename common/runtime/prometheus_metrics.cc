#include "common/runtime/prometheus_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/status_macros.h"
#include "common/runtime/process_metrics.h"

namespace dtrpo::runtime {
namespace {

// A series of a family, as long as the object lives. REQUIRES: the family outlives it.
template <typename Metric>
class Series {
 public:
  template <typename... Arguments>
  explicit Series(prometheus::Family<Metric>& family, Arguments&&... arguments)
      : family_(family), metric_(&family.Add(std::forward<Arguments>(arguments)...)) {}
  ~Series() { family_.Remove(metric_); }
  Series(const Series&) = delete;
  Series& operator=(const Series&) = delete;
  Metric* operator->() const { return metric_; }

 private:
  prometheus::Family<Metric>& family_;
  Metric* const metric_;
};

class PrometheusCounter : public base::Counter {
 public:
  PrometheusCounter(prometheus::Family<prometheus::Counter>& family,
                    const std::map<std::string, std::string>& labels)
      : counter_(family, labels) {}
  void Increment(double by) override { counter_->Increment(by); }

 private:
  const Series<prometheus::Counter> counter_;
};

class PrometheusGauge : public base::Gauge {
 public:
  PrometheusGauge(prometheus::Family<prometheus::Gauge>& family,
                  const std::map<std::string, std::string>& labels)
      : gauge_(family, labels) {}
  void Set(double value) override { gauge_->Set(value); }
  void Add(double by) override { gauge_->Increment(by); }

 private:
  const Series<prometheus::Gauge> gauge_;
};

class PrometheusHistogram : public base::Histogram {
 public:
  PrometheusHistogram(prometheus::Family<prometheus::Histogram>& family,
                      const std::map<std::string, std::string>& labels,
                      const std::vector<double>& buckets)
      : histogram_(family, labels, buckets) {}
  void Observe(double value) override { histogram_->Observe(value); }

 private:
  const Series<prometheus::Histogram> histogram_;
};

std::map<std::string, std::string> SortedLabels(const base::Labels& labels) {
  return {labels.begin(), labels.end()};
}

}  // namespace

std::map<std::string, std::string> PrometheusMetrics::RoleLabel() const {
  if (role_.empty()) return {};
  return {{"role", role_}};
}

absl::StatusOr<std::unique_ptr<PrometheusMetrics>> PrometheusMetrics::Create(
    const std::string& listen, bool insecure, const std::string& role, const rpc::TlsFiles& tls) {
  auto metrics = std::unique_ptr<PrometheusMetrics>(new PrometheusMetrics(role));
  if (listen == "off") return metrics;
  DTRPO_ASSIGN_OR_RETURN(rpc::Address address, rpc::ParseAddress(listen));
  DTRPO_RETURN_IF_ERROR(rpc::CheckInsecureAllowed(address, insecure));
  DTRPO_RETURN_IF_ERROR(rpc::CheckCanListen(address));
  try {  // the exposer reports its failures by throwing
    metrics->exposer_ = std::make_unique<prometheus::Exposer>(listen);
    address.port = metrics->exposer_->GetListeningPorts().at(0);
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(
        absl::StrCat("can't listen on ", listen, ": ", error.what()));
  }
  metrics->exposer_->RegisterCollectable(metrics->registry_);
  if (!role.empty()) {
    metrics->process_ = std::make_shared<ProcessMetrics>(metrics->RoleLabel(), tls);
    metrics->exposer_->RegisterCollectable(metrics->process_);
  }
  metrics->address_ = std::move(address);
  return metrics;
}

PrometheusMetrics::~PrometheusMetrics() {
  if (exposer_ == nullptr) return;
  // The exposer's web server looks whether it should stop only every two seconds or when somebody
  // connects; so somebody does, until it has stopped.
  absl::Notification stopped;
  std::thread knocker([&] {
    do {
      rpc::TryConnect(address_);
    } while (!stopped.WaitForNotificationWithTimeout(absl::Milliseconds(10)));
  });
  exposer_.reset();
  stopped.Notify();
  knocker.join();
}

base::Counter* PrometheusMetrics::GetCounter(const std::string& name, const std::string& help,
                                             const base::Labels& labels) {
  base::CheckMetricName(name, /*is_counter=*/true);
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<base::Counter>& counter = counters_[{name, SortedLabels(labels)}];
  if (counter == nullptr) {
    prometheus::Family<prometheus::Counter>& family =
        prometheus::BuildCounter().Name(name).Help(help).Labels(RoleLabel()).Register(*registry_);
    counter = std::make_unique<PrometheusCounter>(family, SortedLabels(labels));
  }
  return counter.get();
}

base::Gauge* PrometheusMetrics::GetGauge(const std::string& name, const std::string& help,
                                         const base::Labels& labels) {
  base::CheckMetricName(name, /*is_counter=*/false);
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<base::Gauge>& gauge = gauges_[{name, SortedLabels(labels)}];
  if (gauge == nullptr) {
    prometheus::Family<prometheus::Gauge>& family =
        prometheus::BuildGauge().Name(name).Help(help).Labels(RoleLabel()).Register(*registry_);
    gauge = std::make_unique<PrometheusGauge>(family, SortedLabels(labels));
  }
  return gauge.get();
}

base::Histogram* PrometheusMetrics::GetHistogram(const std::string& name, const std::string& help,
                                                 const std::vector<double>& buckets,
                                                 const base::Labels& labels) {
  base::CheckMetricName(name, /*is_counter=*/false);
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<base::Histogram>& histogram = histograms_[{name, SortedLabels(labels)}];
  if (histogram == nullptr) {
    prometheus::Family<prometheus::Histogram>& family =
        prometheus::BuildHistogram().Name(name).Help(help).Labels(RoleLabel()).Register(*registry_);
    histogram = std::make_unique<PrometheusHistogram>(family, SortedLabels(labels), buckets);
  }
  return histogram.get();
}

void PrometheusMetrics::RemoveSeries(const std::string& name, const base::Labels& labels) {
  const Key key = {name, SortedLabels(labels)};
  absl::MutexLock lock(&mutex_);
  counters_.erase(key);
  gauges_.erase(key);
  histograms_.erase(key);
}

}  // namespace dtrpo::runtime
