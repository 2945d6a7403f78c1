#include "services/coordinator/prompt_ledger.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "services/coordinator/prompt_order.h"

namespace dtrpo::coordinator {

PromptLedger::PromptLedger(const Options& options)
    : options_(options), pass_rates_(options.pass_rates) {
  DTRPO_CHECK_GE(options.prompts, 0);
  DTRPO_CHECK_GE(options.epochs, 1);
  MakeOrder();
}

std::vector<TrainLease> PromptLedger::Lease(absl::Time now, absl::string_view worker_id, int max,
                                            int64_t admitted_pairs) {
  std::vector<TrainLease> leases;
  while (!closed_ && !cancelled_ && static_cast<int>(leases.size()) < max &&
         UsedPairs() < admitted_pairs) {
    PromptKey key;
    if (!waiting_.empty()) {
      key = waiting_.front();
      waiting_.pop_front();
    } else if (NextFromCursor(key)) {
      ++counts_.issued;
      ++counts_.waiting;
      live_.emplace(key, Entry{});
    } else {
      break;
    }
    Entry& entry = live_.at(key);
    entry.leased_before_loss = false;
    SetState(entry, State::kLeased);
    entry.lease_id = absl::StrCat("t", next_lease_++);
    entry.worker_id = std::string(worker_id);
    entry.expires = now + options_.lease;
    leases.push_back({entry.lease_id, key, entry.attempt, entry.expires});
  }
  CheckSum();
  return leases;
}

void PromptLedger::ReportStored(const PromptKey& key, int32_t attempt) {
  auto it = Find(key, attempt);
  if (it == live_.end() || it->second.state == State::kStored) return;
  if (it->second.leased_before_loss) {
    if (it->second.state == State::kLeased) Wait(it);
    return;
  }
  Store(it, options_.max_pairs_per_prompt);
}

void PromptLedger::ReportNoPair(const PromptKey& key, int32_t attempt) { OnNoPair(key, attempt); }

void PromptLedger::ReportFailed(const PromptKey& key, absl::string_view lease_id) {
  auto it = FindLease(key, lease_id);
  if (it == live_.end()) return;
  if (++it->second.failures < options_.max_failures) {
    Wait(it);
    return;
  }
  ++prompts_without_pair_;
  Finish(it, counts_.failed);
}

void PromptLedger::ReportReturned(const PromptKey& key, absl::string_view lease_id) {
  auto it = FindLease(key, lease_id);
  if (it != live_.end()) Wait(it);
}

void PromptLedger::OnStored(const PromptKey& key, int32_t attempt, int64_t pairs) {
  auto it = Find(key, attempt);
  if (it != live_.end()) Store(it, pairs);
}

void PromptLedger::OnNoPair(const PromptKey& key, int32_t attempt) {
  auto it = Find(key, attempt);
  if (it == live_.end() || it->second.state == State::kStored) return;
  ++prompts_without_pair_;
  Finish(it, counts_.no_pair);
}

void PromptLedger::OnConsumed(const PromptKey& key, int32_t attempt, int64_t pairs) {
  auto it = Find(key, attempt);
  if (it == live_.end()) return;
  if (it->second.state != State::kStored) Store(it, pairs);
  consumed_pairs_ += pairs > 0 ? pairs : it->second.pairs;
  Finish(it, counts_.consumed);
}

void PromptLedger::OnEvicted(const PromptKey& key, int32_t attempt) {
  auto it = Find(key, attempt);
  if (it == live_.end()) return;
  ++counts_.evictions;
  if (it->second.state == State::kStored) evicted_by_event_pairs_ += it->second.pairs;
  if (closed_) {
    Finish(it, counts_.cancelled);
    return;
  }
  ++it->second.attempt;
  it->second.failures = 0;
  Wait(it);
}

void PromptLedger::OnStoreLost(int64_t checkpoint_pairs) {
  consumed_pairs_ -= std::min(consumed_pairs_, SilentlyEvictedPairs());
  consumed_pairs_ = std::min(consumed_pairs_, checkpoint_pairs);
  evicted_pairs_ = evicted_by_event_pairs_ = 0;  // the new store counts from zero
  closed_ = false;
  for (auto it = live_.begin(); it != live_.end(); ++it) {
    it->second.leased_before_loss = it->second.state == State::kLeased;
    if (it->second.state == State::kStored) Wait(it);
  }
}

int PromptLedger::Expire(absl::Time now) {
  int expired = 0;
  for (auto it = live_.begin(); it != live_.end(); ++it) {
    if (it->second.state != State::kLeased || it->second.expires > now) continue;
    Wait(it);
    ++expired;
  }
  return expired;
}

void PromptLedger::RenewLeases(absl::Time now) {
  for (auto& [key, entry] : live_) {
    if (entry.state == State::kLeased) entry.expires = now + options_.lease;
  }
}

int PromptLedger::ReleaseWorker(absl::string_view worker_id) {
  int released = 0;
  for (auto it = live_.begin(); it != live_.end(); ++it) {
    if (it->second.state != State::kLeased || it->second.worker_id != worker_id) continue;
    Wait(it);
    ++released;
  }
  return released;
}

int64_t PromptLedger::SilentlyEvictedPairs() const {
  const int64_t pairs = std::max<int64_t>(0, evicted_pairs_ - evicted_by_event_pairs_);
  return std::min(pairs, counts_.stored_pairs + consumed_pairs_);
}

int64_t PromptLedger::UsedPairs() const {
  return counts_.leased * options_.max_pairs_per_prompt + counts_.stored_pairs + consumed_pairs_ -
         SilentlyEvictedPairs();
}

bool PromptLedger::Exhausted() const {
  const bool at_end = cursor_ == static_cast<int64_t>(order_.size()) &&
                      (epoch_ + 1 == options_.epochs || order_.empty());
  return at_end && counts_.leased == 0 && counts_.waiting == 0;
}

void PromptLedger::CancelRest() {
  cancelled_ = true;
  waiting_.clear();
  while (!live_.empty()) Finish(live_.begin(), counts_.cancelled);
}

LedgerCounts PromptLedger::counts() const { return counts_; }

PromptLedger::Entries::iterator PromptLedger::Find(const PromptKey& key, int32_t attempt) {
  auto it = live_.find(key);
  return it != live_.end() && it->second.attempt == attempt ? it : live_.end();
}

PromptLedger::Entries::iterator PromptLedger::FindLease(const PromptKey& key,
                                                        absl::string_view lease_id) {
  auto it = live_.find(key);
  const bool runs =
      it != live_.end() && it->second.state == State::kLeased && it->second.lease_id == lease_id;
  return runs ? it : live_.end();
}

// The one place that moves an entry between live states, so that the counts follow.
void PromptLedger::SetState(Entry& entry, State to) {
  auto count_of = [this](State state) -> int64_t& {
    switch (state) {
      case State::kLeased:
        return counts_.leased;
      case State::kStored:
        return counts_.stored;
      case State::kWaiting:
        break;
    }
    return counts_.waiting;
  };
  if (entry.state == State::kStored) {
    counts_.stored_pairs -= entry.pairs;
    entry.pairs = 0;
  }
  --count_of(entry.state);
  entry.state = to;
  ++count_of(to);
}

void PromptLedger::Wait(Entries::iterator it) {
  if (it->second.state == State::kWaiting) return;
  SetState(it->second, State::kWaiting);
  waiting_.push_back(it->first);
  CheckSum();
}

void PromptLedger::Store(Entries::iterator it, int64_t pairs) {
  if (it->second.state == State::kWaiting) std::erase(waiting_, it->first);
  SetState(it->second, State::kStored);
  it->second.pairs = pairs;
  counts_.stored_pairs += pairs;
  prompts_without_pair_ = 0;
  CheckSum();
}

void PromptLedger::Finish(Entries::iterator it, int64_t& final_count) {
  if (it->second.state == State::kWaiting) {
    std::erase(waiting_, it->first);
  } else {
    SetState(it->second, State::kWaiting);
  }
  --counts_.waiting;
  live_.erase(it);
  ++final_count;
  CheckSum();
}

bool PromptLedger::NextFromCursor(PromptKey& key) {
  if (cursor_ == static_cast<int64_t>(order_.size())) {
    if (epoch_ + 1 >= options_.epochs || order_.empty()) return false;
    ++epoch_;
    left_out_ = pass_rates_.LeftOut(options_.prompts, epoch_);
    counts_.left_out += static_cast<int64_t>(left_out_.size());
    MakeOrder();
    cursor_ = 0;
    if (order_.empty()) return false;
  }
  key = {epoch_, order_[cursor_++]};
  return true;
}

void PromptLedger::MakeOrder() {
  order_ = PromptOrder(options_.prompts, options_.shuffle, options_.seed, epoch_);
  std::erase_if(order_, [this](int64_t prompt) { return left_out_.contains(prompt); });
}

void PromptLedger::CheckSum() const {
  const int64_t live = counts_.leased + counts_.stored + counts_.waiting;
  const int64_t ended = counts_.consumed + counts_.no_pair + counts_.failed + counts_.cancelled;
  DTRPO_CHECK_EQ(live, static_cast<int64_t>(live_.size()));
  DTRPO_CHECK_EQ(live + ended, counts_.issued);
  const int64_t ahead = static_cast<int64_t>(order_.size()) - cursor_;
  DTRPO_CHECK_EQ((epoch_ + 1) * options_.prompts - ahead, counts_.issued + counts_.left_out);
}

}  // namespace dtrpo::coordinator
