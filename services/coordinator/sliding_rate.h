// Not thread-safe. Time comes in as an argument.
#pragma once

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/time/time.h"

namespace dtrpo::coordinator {

// Amount per second over the last `window`. Before a whole window has passed, over the time since
// the first amount.
class SlidingRate {
 public:
  explicit SlidingRate(absl::Duration window) : window_(window) {}

  void Add(absl::Time now, double amount) {
    if (amounts_.empty() && total_ == 0) begin_ = now;
    amounts_.emplace_back(now, amount);
    total_ += amount;
    Forget(now);
  }

  double PerSecond(absl::Time now) {
    Forget(now);
    if (amounts_.empty()) return 0;
    const absl::Duration span = std::min(window_, now - begin_);
    // The amounts of less than a second say little about a rate.
    return total_ / absl::ToDoubleSeconds(std::max(span, absl::Seconds(1)));
  }

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(begin_, amounts_, total_);
  }

 private:
  void Forget(absl::Time now) {
    while (!amounts_.empty() && amounts_.front().first <= now - window_) {
      total_ -= amounts_.front().second;
      amounts_.pop_front();
    }
    if (amounts_.empty()) total_ = 0;
  }

  const absl::Duration window_;
  absl::Time begin_;
  std::deque<std::pair<absl::Time, double>> amounts_;
  double total_ = 0;
};

}  // namespace dtrpo::coordinator
