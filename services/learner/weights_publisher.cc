#include "services/learner/weights_publisher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/logging.h"

namespace dtrpo::learner {
namespace {

constexpr absl::Duration kFirstBackoff = absl::Milliseconds(200);
constexpr absl::Duration kMaxBackoff = absl::Seconds(5);
// Back-offs end without a notification.
constexpr absl::Duration kLookAgain = absl::Milliseconds(200);
// A rollout that says so long after a delivery that it serves older weights has lost them.
constexpr absl::Duration kReportDelay = absl::Seconds(5);

}  // namespace

WeightsPublisher::WeightsPublisher(PushFunction push, base::Clock* clock,
                                   base::WaitStateRegistry* waits, const LearnerMetrics* metrics)
    : push_(std::move(push)), clock_(clock), waits_(waits), metrics_(metrics), thread_([this] {
        Run();
      }) {}

WeightsPublisher::~WeightsPublisher() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

void WeightsPublisher::SetNewest(std::shared_ptr<const weights::Image> image) {
  absl::MutexLock lock(&mutex_);
  newest_ = std::move(image);
  for (auto& [worker, delivery] : deliveries_) delivery.not_before = absl::InfinitePast();
  changed_ = true;
}

void WeightsPublisher::SetRollouts(std::vector<RolloutTarget> rollouts) {
  absl::MutexLock lock(&mutex_);
  rollouts_ = std::move(rollouts);
  std::erase_if(deliveries_, [this](const auto& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::none_of(rollouts_.begin(), rollouts_.end(), [&](const RolloutTarget& target) {
      return target.worker_id == entry.first;
    });
  });
  changed_ = true;
}

// Version 0 every rollout loads by itself.
bool WeightsPublisher::Lags(const RolloutTarget& target) const {
  if (newest_ == nullptr || newest_->manifest().version == 0) return false;
  const auto it = deliveries_.find(target.worker_id);
  if (it == deliveries_.end()) return true;
  const Delivery& delivery = it->second;
  const absl::Time now = clock_->Now();
  if (now < delivery.not_before) return false;
  const weights::Manifest& newest = newest_->manifest();
  const bool delivered =
      delivery.version == newest.version && delivery.generation == newest.generation;
  return !delivered || (target.version < newest.version && now >= delivery.report_due);
}

std::optional<WeightsPublisher::Due> WeightsPublisher::AwaitDue() {
  absl::MutexLock lock(&mutex_);
  const auto something_changed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || changed_;
  };
  while (!stop_) {
    for (const RolloutTarget& target : rollouts_) {
      if (Lags(target)) return Due{target, newest_};
    }
    changed_ = false;
    clock_->AwaitUntil(&mutex_, absl::Condition(&something_changed), clock_->Now() + kLookAgain);
  }
  return std::nullopt;
}

void WeightsPublisher::Run() {
  while (const std::optional<Due> due = AwaitDue()) Deliver(*due);
}

void WeightsPublisher::Deliver(const Due& due) {
  const int64_t version = due.image->manifest().version;
  base::ScopedWait wait(waits_, absl::StrCat("push of version ", version), due.target.worker_id);
  const absl::Time started = clock_->Now();
  const absl::StatusOr<int64_t> serving = push_(due.target.address, *due.image);
  absl::MutexLock lock(&mutex_);
  Delivery& delivery = deliveries_[due.target.worker_id];
  if (serving.ok()) {
    delivery = {.version = version,
                .generation = due.image->manifest().generation,
                .report_due = clock_->Now() + kReportDelay,
                .not_before = absl::InfinitePast(),
                .backoff = absl::ZeroDuration()};
    metrics_->push_seconds->Observe(absl::ToDoubleSeconds(clock_->Now() - started));
    metrics_->pushed_bytes->Increment(static_cast<double>(due.image->manifest().size_bytes));
    return;
  }
  metrics_->push_failures->Increment();
  delivery.backoff = std::clamp(delivery.backoff * 2, kFirstBackoff, kMaxBackoff);
  delivery.not_before = clock_->Now() + delivery.backoff;
  base::LogWarning(
      "push of weights failed",
      {{"version", version}, {"rollout", due.target.worker_id}, {"error", serving.status()}});
}

}  // namespace dtrpo::learner
