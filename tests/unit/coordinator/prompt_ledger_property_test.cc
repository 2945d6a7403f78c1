// Random operations against a small model of the replay store: whatever the order of leases,
// expiries, lost workers, late and repeated reports, evictions and consumptions, each (epoch,
// prompt) is in exactly one state (invariant 13; the ledger checks its own sum after every
// operation), and no attempt of a prompt is leased twice at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "common/base/philox.h"
#include "services/coordinator/prompt_ledger.h"

namespace dtrpo::coordinator {
namespace {

constexpr int kOperations = 20000;

class World {
 public:
  explicit World(uint64_t seed)
      : rng_(seed, 0),
        ledger_({.prompts = 7,
                 .epochs = 100000,
                 .shuffle = true,
                 .seed = seed,
                 .max_pairs_per_prompt = 2,
                 .lease = absl::Seconds(5),
                 .max_failures = 2,
                 .pass_rates = {.max_rate = 0.9, .focus = static_cast<int32_t>(seed % 3)}}) {}

  void Step() {
    admitted_ += static_cast<int64_t>(Pick(2));  // as versions are published
    switch (Pick(9)) {
      case 0:
      case 1:
        Lease();
        break;
      case 2:
        now_ += absl::Seconds(static_cast<int64_t>(Pick(4)));
        ledger_.Expire(now_);
        std::erase_if(running_, [this](const auto& r) { return r.second.expires <= now_; });
        break;
      case 3:
        Finish(/*with_pairs=*/true);
        break;
      case 4:
        Finish(/*with_pairs=*/false);
        break;
      case 5:
        FailOrReturn();
        break;
      case 6:
        Evict();
        break;
      case 7:
        Consume();
        break;
      case 8:
        if (Pick(10) == 0) LoseWorker();
        break;
    }
    if (const TrainLease* lease = AnyLease(); lease != nullptr) {
      ledger_.CountAnswers(lease->key, static_cast<int64_t>(Pick(3)), 2);
    }
    DeliverEvents();
    const LedgerCounts counts = ledger_.counts();
    ASSERT_EQ(counts.leased + counts.stored + counts.waiting + counts.consumed + counts.no_pair +
                  counts.failed + counts.cancelled,
              counts.issued);
    ASSERT_GE(ledger_.UsedPairs(), 0);
  }

  void End() {
    while (!events_.empty()) DeliverOne();
    const LedgerCounts before = ledger_.counts();
    // What replay says is the truth for every prompt that the ledger didn't give up.
    EXPECT_LE(before.no_pair + before.consumed, static_cast<int64_t>(final_in_replay_.size()));
    EXPECT_GE(before.no_pair + before.consumed + before.failed,
              static_cast<int64_t>(final_in_replay_.size()));
    ledger_.CancelRest();
    const LedgerCounts counts = ledger_.counts();
    EXPECT_EQ(counts.leased + counts.stored + counts.waiting, 0);
    EXPECT_EQ(counts.consumed + counts.no_pair + counts.failed + counts.cancelled, counts.issued);
    EXPECT_GT(counts.consumed, 0);
    EXPECT_GT(counts.no_pair, 0);
    EXPECT_GT(counts.failed, 0);
    EXPECT_GT(counts.evictions, 0);
  }

 private:
  struct Event {
    enum { kStored, kNoPair, kConsumed, kEvicted } kind;
    PromptKey key;
    int32_t attempt;
  };

  struct Running {
    std::string lease_id;
    std::string worker;
    int32_t attempt;
    absl::Time expires;
  };

  uint64_t Pick(uint64_t n) { return rng_.UniformInt(n); }
  std::string Worker() { return Pick(2) == 0 ? "rollout-1" : "rollout-2"; }

  void Lease() {
    const std::string worker = Worker();
    for (const TrainLease& lease :
         ledger_.Lease(now_, worker, 1 + static_cast<int>(Pick(3)), admitted_)) {
      auto running = running_.find(lease.key);
      if (running != running_.end()) {
        ASSERT_LT(running->second.attempt, lease.attempt)
            << "prompt " << lease.key.prompt << " leased twice at once";
      }
      ASSERT_LE(lease.attempt, next_attempt_[lease.key]) << "no eviction raised the attempt";
      running_[lease.key] = {lease.lease_id, worker, lease.attempt, lease.expires};
      given_.push_back(lease);
    }
  }

  void LoseWorker() {
    const std::string worker = Worker();
    ledger_.ReleaseWorker(worker);
    std::erase_if(running_, [&](const auto& r) { return r.second.worker == worker; });
  }

  // Any lease ever given may end so, however late: workers don't know that theirs ran out.
  // Mostly one of the last, so that a good part is still running.
  const TrainLease* AnyLease() {
    if (given_.empty()) return nullptr;
    const size_t recent = std::min<size_t>(given_.size(), Pick(4) == 0 ? given_.size() : 6);
    return &given_[given_.size() - 1 - Pick(recent)];
  }

  void Finish(bool with_pairs) {
    const TrainLease* lease = AnyLease();
    if (lease == nullptr) return;
    const PromptKey key = lease->key;
    // Replay's idempotency: only a new attempt of a prompt that isn't there and isn't final is
    // taken.
    const bool duplicate = stored_.count(key) > 0 || final_in_replay_.count(key) > 0 ||
                           lease->attempt < next_attempt_[key];
    if (!duplicate) {
      if (with_pairs) {
        stored_[key] = lease->attempt;
        events_.push_back({Event::kStored, key, lease->attempt});
      } else {
        final_in_replay_.insert(key);
        events_.push_back({Event::kNoPair, key, lease->attempt});
      }
    }
    // The worker only reports what replay confirmed, and sometimes its report is lost.
    const bool truthful =
        with_pairs ? stored_.count(key) > 0 && stored_[key] == lease->attempt : !duplicate;
    if (!truthful || Pick(4) == 0) return;
    if (with_pairs) {
      ledger_.ReportStored(key, lease->attempt);
    } else {
      ledger_.ReportNoPair(key, lease->attempt);
    }
  }

  void FailOrReturn() {
    const TrainLease* lease = AnyLease();
    if (lease == nullptr) return;
    auto running = running_.find(lease->key);
    if (running != running_.end() && running->second.lease_id == lease->lease_id) {
      running_.erase(running);
    }
    if (Pick(3) == 0) {
      ledger_.ReportReturned(lease->key, lease->lease_id);
    } else {
      ledger_.ReportFailed(lease->key, lease->lease_id);
    }
  }

  void Evict() {
    if (stored_.empty()) return;
    auto it = std::next(stored_.begin(), static_cast<int64_t>(Pick(stored_.size())));
    events_.push_back({Event::kEvicted, it->first, it->second});
    next_attempt_[it->first] = it->second + 1;
    stored_.erase(it);
  }

  void Consume() {
    if (stored_.empty()) return;
    auto it = std::next(stored_.begin(), static_cast<int64_t>(Pick(stored_.size())));
    events_.push_back({Event::kConsumed, it->first, it->second});
    final_in_replay_.insert(it->first);
    stored_.erase(it);
  }

  void DeliverEvents() {
    while (!events_.empty() && Pick(3) != 0) DeliverOne();
  }

  void DeliverOne() {
    const Event event = events_.front();
    events_.pop_front();
    switch (event.kind) {
      case Event::kStored:
        ledger_.OnStored(event.key, event.attempt, 1 + static_cast<int64_t>(Pick(2)));
        break;
      case Event::kNoPair:
        ledger_.OnNoPair(event.key, event.attempt);
        break;
      case Event::kConsumed:
        ledger_.OnConsumed(event.key, event.attempt, 0);
        break;
      case Event::kEvicted:
        ledger_.OnEvicted(event.key, event.attempt);
        break;
    }
  }

  base::CounterRng rng_;
  PromptLedger ledger_;
  absl::Time now_ = absl::FromUnixSeconds(0);
  int64_t admitted_ = 40;
  std::vector<TrainLease> given_;
  std::map<PromptKey, Running> running_;  // leases that nothing has ended yet
  std::deque<Event> events_;
  std::map<PromptKey, int32_t> stored_;        // in replay now -> attempt
  std::map<PromptKey, int32_t> next_attempt_;  // lowest one that replay takes
  std::set<PromptKey> final_in_replay_;
};

class PromptLedgerPropertyTest : public testing::TestWithParam<uint64_t> {};

TEST_P(PromptLedgerPropertyTest, EachPromptIsInExactlyOneStateWhateverHappens) {
  World world(GetParam());
  for (int i = 0; i < kOperations && !HasFatalFailure(); ++i) world.Step();
  world.End();
}

INSTANTIATE_TEST_SUITE_P(Seeds, PromptLedgerPropertyTest, testing::Range<uint64_t>(1, 9));

}  // namespace
}  // namespace dtrpo::coordinator
