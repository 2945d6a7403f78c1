#include "common/rpc/call_limiter.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/retry_after.h"

namespace dtrpo::rpc {
namespace {

// A call ends when it does; nobody knows when.
constexpr absl::Duration kRetryAfterOfRunning = absl::Milliseconds(100);

}  // namespace

absl::Status CallLimiter::Begin(const std::string& peer, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  if (peers_.size() >= forget_at_) ForgetIdlePeers(now);
  const double burst = calls_per_second_;
  Peer& state = peers_.try_emplace(peer, Peer{.allowance = burst, .updated = now}).first->second;
  const double earned = std::max(0.0, absl::ToDoubleSeconds(now - state.updated)) * burst;
  state.allowance = std::min(burst, state.allowance + earned);
  state.updated = now;
  if (state.running >= calls_per_peer_) {
    return base::BackPressureError(
        absl::StrCat(peer, " has ", calls_per_peer_, " calls running (limits.calls_per_peer)"),
        "too_many_calls", kRetryAfterOfRunning);
  }
  if (state.allowance < 1) {
    return base::BackPressureError(absl::StrCat(peer, " calls more than ", calls_per_second_,
                                                " times a second (limits.calls_per_second)"),
                                   "rate_limited", absl::Seconds((1 - state.allowance) / burst));
  }
  state.allowance -= 1;
  ++state.running;
  return absl::OkStatus();
}

void CallLimiter::End(const std::string& peer) {
  absl::MutexLock lock(&mutex_);
  const auto found = peers_.find(peer);
  DTRPO_CHECK(found != peers_.end() && found->second.running > 0) << peer;
  --found->second.running;
}

int64_t CallLimiter::peers() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(peers_.size());
}

// One that has its whole allowance back is as one that never called.
void CallLimiter::ForgetIdlePeers(absl::Time now) {
  absl::erase_if(peers_, [&](const auto& entry) {
    return entry.second.running == 0 && now - entry.second.updated > absl::Seconds(1);
  });
  forget_at_ = std::max<size_t>(1024, 2 * peers_.size());
}

}  // namespace dtrpo::rpc
