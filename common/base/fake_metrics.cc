#include "common/base/fake_metrics.h"

#include <algorithm>
#include <utility>

namespace dtrpo::base {

// All three kinds at once: a fake need not tell them apart.
class FakeMetrics::Metric {
 public:
  class AsCounter : public Counter {
   public:
    explicit AsCounter(Metric* metric) : metric_(metric) {}
    void Increment(double by) override { metric_->Add(by); }

   private:
    Metric* const metric_;
  };
  class AsGauge : public Gauge {
   public:
    explicit AsGauge(Metric* metric) : metric_(metric) {}
    void Set(double value) override { metric_->Set(value); }
    void Add(double by) override { metric_->Add(by); }

   private:
    Metric* const metric_;
  };
  class AsHistogram : public Histogram {
   public:
    explicit AsHistogram(Metric* metric) : metric_(metric) {}
    void Observe(double value) override { metric_->Observe(value); }

   private:
    Metric* const metric_;
  };

  void Add(double by) {
    absl::MutexLock lock(&mutex_);
    value_ += by;
  }
  void Set(double value) {
    absl::MutexLock lock(&mutex_);
    value_ = value;
  }
  void Observe(double value) {
    absl::MutexLock lock(&mutex_);
    observations_.push_back(value);
  }
  double value() const {
    absl::MutexLock lock(&mutex_);
    return value_;
  }
  std::vector<double> observations() const {
    absl::MutexLock lock(&mutex_);
    return observations_;
  }

  AsCounter counter{this};
  AsGauge gauge{this};
  AsHistogram histogram{this};

 private:
  mutable absl::Mutex mutex_;
  double value_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<double> observations_ ABSL_GUARDED_BY(mutex_);
};

FakeMetrics::FakeMetrics() = default;
FakeMetrics::~FakeMetrics() = default;

FakeMetrics::Key FakeMetrics::MakeKey(const std::string& name, Labels labels) {
  std::sort(labels.begin(), labels.end());
  return {name, std::move(labels)};
}

FakeMetrics::Metric* FakeMetrics::Get(const std::string& name, const Labels& labels) {
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<Metric>& metric = metrics_[MakeKey(name, labels)];
  if (metric == nullptr) metric = std::make_unique<Metric>();
  return metric.get();
}

Counter* FakeMetrics::GetCounter(const std::string& name, const std::string&,
                                 const Labels& labels) {
  CheckMetricName(name, /*is_counter=*/true);
  return &Get(name, labels)->counter;
}

Gauge* FakeMetrics::GetGauge(const std::string& name, const std::string&, const Labels& labels) {
  CheckMetricName(name, /*is_counter=*/false);
  return &Get(name, labels)->gauge;
}

Histogram* FakeMetrics::GetHistogram(const std::string& name, const std::string&,
                                     const std::vector<double>&, const Labels& labels) {
  CheckMetricName(name, /*is_counter=*/false);
  return &Get(name, labels)->histogram;
}

void FakeMetrics::RemoveSeries(const std::string& name, const Labels& labels) {
  absl::MutexLock lock(&mutex_);
  metrics_.erase(MakeKey(name, labels));
}

double FakeMetrics::Value(const std::string& name, const Labels& labels) const {
  absl::MutexLock lock(&mutex_);
  auto found = metrics_.find(MakeKey(name, labels));
  return found == metrics_.end() ? 0 : found->second->value();
}

bool FakeMetrics::Has(const std::string& name, const Labels& labels) const {
  absl::MutexLock lock(&mutex_);
  return metrics_.find(MakeKey(name, labels)) != metrics_.end();
}

double FakeMetrics::Sum(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  double sum = 0;
  for (const auto& [key, metric] : metrics_) {
    if (key.name == name) sum += metric->value();
  }
  return sum;
}

std::vector<double> FakeMetrics::Observations(const std::string& name, const Labels& labels) const {
  absl::MutexLock lock(&mutex_);
  auto found = metrics_.find(MakeKey(name, labels));
  return found == metrics_.end() ? std::vector<double>() : found->second->observations();
}

std::vector<std::string> FakeMetrics::Names() const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& [key, metric] : metrics_) {
    if (names.empty() || names.back() != key.name) names.push_back(key.name);
  }
  return names;
}

}  // namespace dtrpo::base
