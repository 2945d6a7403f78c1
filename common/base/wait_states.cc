#include "common/base/wait_states.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace dtrpo::base {

namespace {

constexpr char kOther[] = "other";

}  // namespace

WaitStateRegistry::WaitStateRegistry(Clock* clock, MetricsRegistry* metrics) : clock_(clock) {
  for (const char* on :
       {"coordinator", "replay", "reference", "rollout", "learner", "disk", kOther}) {
    totals_[on] = {
        metrics->GetCounter("dtrpo_wait_seconds_total",
                            "Time in waits that have ended, by who was waited for.", {{"on", on}}),
        metrics->GetGauge("dtrpo_waiting_count", "Waits under way.", {{"on", on}})};
  }
}

// "replay 127.0.0.1:4003", "replay-0" and "rollouts" stand for their roles.
const WaitStateRegistry::Totals& WaitStateRegistry::TotalsOf(const std::string& on_whom) const {
  size_t end = 0;
  while (end < on_whom.size() && absl::ascii_islower(on_whom[end])) ++end;
  absl::string_view word(on_whom.data(), end);
  absl::ConsumeSuffix(&word, "s");
  const auto found = totals_.find(word);
  return found == totals_.end() ? totals_.find(kOther)->second : found->second;
}

std::vector<WaitState> WaitStateRegistry::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  std::vector<WaitState> waits;
  for (const auto& [id, wait] : waits_) waits.push_back(wait);
  return waits;
}

namespace {

std::string ThreadName() {
  char name[16] = "";  // the kernel's limit
  pthread_getname_np(pthread_self(), name, sizeof(name));
  return name;
}

}  // namespace

uint64_t WaitStateRegistry::Begin(std::string what, std::string on_whom) {
  const absl::Time since = clock_->Now();
  TotalsOf(on_whom).waiting->Add(1);
  absl::MutexLock lock(&mutex_);
  waits_[next_id_] = {std::move(what), std::move(on_whom), since, ThreadName()};
  return next_id_++;
}

void WaitStateRegistry::End(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  const auto ended = waits_.find(id);
  const Totals& totals = TotalsOf(ended->second.on_whom);
  totals.waiting->Add(-1);
  // A clock that was set back must not stop the process.
  totals.seconds->Increment(
      std::max(0.0, absl::ToDoubleSeconds(clock_->Now() - ended->second.since)));
  waits_.erase(ended);
}

ScopedWait::ScopedWait(WaitStateRegistry* registry, std::string what, std::string on_whom)
    : registry_(registry) {
  if (registry_ != nullptr) id_ = registry_->Begin(std::move(what), std::move(on_whom));
}

ScopedWait::~ScopedWait() {
  if (registry_ != nullptr) registry_->End(id_);
}

}  // namespace dtrpo::base
