#include "common/base/run_gauges.h"

#include <utility>

#include "common/base/check.h"

namespace dtrpo::base {

void RunGauges::Set(const std::string& run, const std::string& name, double value,
                    const Labels& labels) {
  const auto help = helps_.find(name);
  DTRPO_CHECK(help != helps_.end()) << name;
  Series series{name, labels};
  series.labels.emplace_back("run", run);

  absl::MutexLock lock(&mutex_);
  if (!gauges_.contains(run)) {
    if (runs_.size() == kMaxRuns) {
      for (const auto& [old, gauge] : gauges_[runs_.front()]) {
        registry_->RemoveSeries(old.name, old.labels);
      }
      gauges_.erase(runs_.front());
      runs_.pop_front();
    }
    runs_.push_back(run);
  }
  Gauge*& gauge = gauges_[run][series];
  if (gauge == nullptr) gauge = registry_->GetGauge(name, help->second, series.labels);
  gauge->Set(value);
}

}  // namespace dtrpo::base
