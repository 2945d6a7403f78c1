#include "common/base/per_run.h"

namespace dtrpo::base {

RunRegistry::~RunRegistry() {
  for (const auto& [name, labels] : series_) registry_->RemoveSeries(name, labels);
}

Labels RunRegistry::OfRun(Labels labels) const {
  labels.emplace_back("run", run_);
  return labels;
}

const Labels& RunRegistry::Keep(const std::string& name, const Labels& labels) {
  return series_.emplace_back(name, OfRun(labels)).second;
}

Counter* RunRegistry::GetCounter(const std::string& name, const std::string& help,
                                 const Labels& labels) {
  return registry_->GetCounter(name, help, Keep(name, labels));
}

Gauge* RunRegistry::GetGauge(const std::string& name, const std::string& help,
                             const Labels& labels) {
  return registry_->GetGauge(name, help, Keep(name, labels));
}

Histogram* RunRegistry::GetHistogram(const std::string& name, const std::string& help,
                                     const std::vector<double>& buckets, const Labels& labels) {
  return registry_->GetHistogram(name, help, buckets, Keep(name, labels));
}

void RunRegistry::RemoveSeries(const std::string& name, const Labels& labels) {
  registry_->RemoveSeries(name, OfRun(labels));
}

}  // namespace dtrpo::base
