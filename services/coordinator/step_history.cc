#include "services/coordinator/step_history.h"

#include <algorithm>
#include <utility>

namespace dtrpo::coordinator {
namespace {

constexpr size_t kStepsForEstimate = 20;

auto FirstAfter(const std::vector<v1::StepRecord>& records, int64_t step) {
  return std::upper_bound(
      records.begin(), records.end(), step,
      [](int64_t value, const v1::StepRecord& record) { return value < record.step(); });
}

}  // namespace

void StepHistory::Add(const v1::StepRecord& record) {
  records_.erase(FirstAfter(records_, record.step() - 1), records_.end());
  records_.push_back(record);
  if (records_.size() <= max_records_) return;
  std::vector<v1::StepRecord> thinned;
  for (size_t i = 0; i < records_.size(); ++i) {
    if (i >= records_.size() / 2 || i % 2 == 0) thinned.push_back(std::move(records_[i]));
  }
  records_ = std::move(thinned);
}

std::vector<v1::StepRecord> StepHistory::After(int64_t step) const {
  return {FirstAfter(records_, step), records_.end()};
}

double StepHistory::SecondsLeft(int64_t total_steps) const {
  const size_t count = std::min(records_.size(), kStepsForEstimate);
  if (count < 2) return 0;
  const v1::StepRecord& first = records_[records_.size() - count];
  const v1::StepRecord& last = records_.back();
  const int64_t steps = last.step() - first.step();
  if (steps <= 0) return 0;
  const double seconds_per_step =
      static_cast<double>(last.unix_ms() - first.unix_ms()) / 1000 / static_cast<double>(steps);
  return std::max(0.0, seconds_per_step * static_cast<double>(total_steps - last.step()));
}

}  // namespace dtrpo::coordinator
