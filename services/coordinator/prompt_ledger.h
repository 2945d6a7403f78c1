// Not thread-safe: belongs to the coordinator's lock. Pure state: time comes in as an argument.
//
// What became of each (epoch, prompt) of a job's training data. Each one that was ever handed out
// is in exactly one of these states, and the sum over the states is checked after every operation
// (invariant 13):
//
//   (cursor) --> LEASED ---- replay: its pairs are stored ----> STORED -- CONSUMED --> [consumed]
//                ^    |                                           |
//   leased again |    |-- replay: no pair ------> [no_pair]       | replay: EVICTED
//                |    |-- max_failures failures -> [failed]       | (attempt + 1)
//                |    v expired, returned, failed                 |
//                WAITING <----------------------------------------+
//
//   anything live ---- the job ends, or it is evicted after the end of data ----> [cancelled]
//
// The attempt number of a prompt is part of replay's idempotency key. It rises only when replay has
// logged the eviction of the attempt before; a lease that ran out keeps it, so that two workers who
// both finish such a prompt store it once.
//
// Truth about storage is replay's event log; a worker's report of it only arrives earlier.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/coordinator/pass_rates.h"

namespace dtrpo::coordinator {

struct PromptKey {
  int64_t epoch = 0;
  int64_t prompt = 0;
  auto operator<=>(const PromptKey&) const = default;
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(epoch, prompt);
  }
};

struct TrainLease {
  std::string lease_id;
  PromptKey key;
  int32_t attempt = 0;
  absl::Time expires;
};

struct LedgerCounts {
  int64_t leased = 0;
  int64_t stored = 0;
  int64_t waiting = 0;
  int64_t consumed = 0;
  int64_t no_pair = 0;
  int64_t failed = 0;
  int64_t cancelled = 0;
  int64_t issued = 0;     // the sum of the above
  int64_t evictions = 0;  // times a prompt went back from STORED to WAITING
  int64_t stored_pairs = 0;
  int64_t left_out = 0;  // never issued, for their pass rate

  template <typename Archive>
  void Kept(Archive& archive) {
    archive(leased, stored, waiting, consumed, no_pair, failed, cancelled, issued, evictions,
            stored_pairs, left_out);
  }
};

class PromptLedger {
 public:
  struct Options {
    int64_t prompts = 0;  // of the data file
    int64_t epochs = 1;
    bool shuffle = true;
    uint64_t seed = 1;
    int32_t max_pairs_per_prompt = 1;
    absl::Duration lease = absl::Minutes(1);
    int32_t max_failures = 3;  // a prompt that fails so often is final
    PassRates::Options pass_rates = {};
  };
  explicit PromptLedger(const Options& options);

  // At most `max` prompts, those that wait first. Stops when the pairs in the system (see
  // UsedPairs) reach `admitted_pairs`: a prompt is admitted while there is room for one more pair.
  std::vector<TrainLease> Lease(absl::Time now, absl::string_view worker_id, int max,
                                int64_t admitted_pairs);

  // A worker's reports. Repeating one changes nothing, and so does a report about a prompt that is
  // final.
  void ReportStored(const PromptKey& key, int32_t attempt);
  void ReportNoPair(const PromptKey& key, int32_t attempt);
  // These two free a lease, so they count only for the one that is running.
  void ReportFailed(const PromptKey& key, absl::string_view lease_id);
  void ReportReturned(const PromptKey& key, absl::string_view lease_id);

  // Of one lease's answers, once. They decide what the next epochs leave out (see PassRates). Once
  // every prompt is outside of the wanted pass rates, there will be no more.
  void CountAnswers(const PromptKey& key, int64_t right, int64_t answers) {
    pass_rates_.Count(key.prompt, right, answers);
  }

  // Replay's events, in log order.
  void OnStored(const PromptKey& key, int32_t attempt, int64_t pairs);
  void OnNoPair(const PromptKey& key, int32_t attempt);
  void OnConsumed(const PromptKey& key, int32_t attempt, int64_t pairs);
  void OnEvicted(const PromptKey& key, int32_t attempt);
  // Pairs that replay evicted in all, of its statistics. Some leave without an EVICTED event,
  // because another pair of the same prompt was used; they must not count as used for ever, or
  // admission would starve the learner.
  void OnEvictedPairs(int64_t total) { evicted_pairs_ = total; }

  // The store came back empty: what was stored waits to be sampled again, under the same attempt.
  // The checkpoint that the job goes on from holds `checkpoint_pairs`: no more count as consumed,
  // however many were evicted since the last OnEvictedPairs().
  void OnStoreLost(int64_t checkpoint_pairs);

  // Leases that ran out go back to WAITING. Returns how many.
  int Expire(absl::Time now);
  // The coordinator was away and heard no report: running leases get a full new term.
  void RenewLeases(absl::Time now);
  // The worker is gone: all its leases run out at once.
  int ReleaseWorker(absl::string_view worker_id);

  // In flight (estimated at max_pairs_per_prompt each) + stored + consumed.
  int64_t UsedPairs() const;
  // Nothing left to hand out and nobody at work: what replay holds is all there will be.
  bool Exhausted() const;
  // From now on an eviction is final (cancelled): replay was told that no inserts will come.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }
  // The job ended: whatever is still live is cancelled, and nothing is leased any more.
  void CancelRest();

  LedgerCounts counts() const;
  // Prompts in a row that ended without a pair, up to now.
  int64_t prompts_without_pair() const { return prompts_without_pair_; }
  // Every prompt of an older epoch is final.
  int64_t OldestLiveEpoch() const { return live_.empty() ? epoch_ : live_.begin()->first.epoch; }

  // Not kept: order_, a function of the epoch and of what is left out.
  template <typename Archive>
  void Kept(Archive& archive) {
    archive(live_, waiting_, epoch_, cursor_, next_lease_, counts_, consumed_pairs_, evicted_pairs_,
            evicted_by_event_pairs_, prompts_without_pair_, closed_, cancelled_, pass_rates_,
            left_out_);
    if constexpr (Archive::kReads) MakeOrder();
  }

 private:
  enum class State { kLeased, kStored, kWaiting };
  struct Entry {
    State state = State::kWaiting;
    int32_t attempt = 0;
    int32_t failures = 0;
    std::string lease_id;   // while kLeased
    std::string worker_id;  // while kLeased
    absl::Time expires;     // while kLeased
    int64_t pairs = 0;      // while kStored; an estimate until replay's event
    // Leased before the store was lost: a report that it was stored may speak of the lost store, so
    // only the new store's own event is believed.
    bool leased_before_loss = false;

    template <typename Archive>
    void Kept(Archive& archive) {
      archive(state, attempt, failures, lease_id, worker_id, expires, pairs, leased_before_loss);
    }
  };
  using Entries = std::map<PromptKey, Entry>;

  // The live entry of that attempt; end() for a final, unknown or older one.
  Entries::iterator Find(const PromptKey& key, int32_t attempt);
  Entries::iterator FindLease(const PromptKey& key, absl::string_view lease_id);
  void SetState(Entry& entry, State to);
  void Wait(Entries::iterator it);
  void Store(Entries::iterator it, int64_t pairs);
  void Finish(Entries::iterator it, int64_t& final_count);
  bool NextFromCursor(PromptKey& key);
  void MakeOrder();
  int64_t SilentlyEvictedPairs() const;
  void CheckSum() const;

  const Options options_;
  Entries live_;
  std::deque<PromptKey>
      waiting_;  // exactly the keys of kWaiting entries, first to come first to go
  int64_t epoch_ = 0;
  std::vector<int64_t> order_;  // of epoch_, without left_out_
  PassRates pass_rates_;
  std::set<int64_t> left_out_;  // of epoch_
  int64_t cursor_ = 0;          // into order_
  uint64_t next_lease_ = 1;
  LedgerCounts counts_;
  int64_t consumed_pairs_ = 0;
  int64_t evicted_pairs_ = 0;           // as replay counts them
  int64_t evicted_by_event_pairs_ = 0;  // of those, the ones that an EVICTED event told
  int64_t prompts_without_pair_ = 0;
  bool closed_ = false;
  bool cancelled_ = false;
};

}  // namespace dtrpo::coordinator
