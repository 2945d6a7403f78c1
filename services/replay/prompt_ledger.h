// What became of each prompt of a job, and the events that tell the coordinator. Not thread-safe: a
// part of a ReplayTable.
//
//              Store                   last item gone, one was in a batch
//   (unknown) ------> live -----------------------------------------------> consumed   (final)
//       |              |  ^
//       | NoPair       |  | Store, attempt + 1
//       v              v  |
//     no_pair        evicted     last item gone, none was ever in a batch
//     (final)
//
// A prompt is in one state with one attempt, so nothing is stored twice: an insert of that attempt
// or an older one is a duplicate, and a newer one is accepted in `evicted` only. A prompt of which
// one pair was used and another grew stale counts as consumed: to sample it anew would train on it
// twice.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "services/replay/log_record.h"

namespace dtrpo::replay {

struct PromptEvent {
  enum class Kind { kStored, kNoPair, kConsumed, kEvicted };

  int64_t position = 0;  // 1, 2, 3, ... in a job
  Kind kind = Kind::kStored;
  PromptKey prompt;
  int32_t pairs = 0;  // stored with this attempt

  bool operator==(const PromptEvent&) const = default;
};

struct PromptRecord {
  enum class State : uint8_t { kLive, kNoPair, kConsumed, kEvicted };

  State state = State::kLive;
  bool used = false;  // one of them has been in a batch
  int32_t attempt = 0;
  int32_t pairs = 0;  // stored with this attempt
  int32_t left = 0;   // of them, not deleted

  bool operator==(const PromptRecord&) const = default;
};

class PromptLedger {
 public:
  enum class Verdict { kNew, kDuplicate, kNotEvicted };

  // May an insert under `key` be stored?
  Verdict Judge(const PromptKey& key) const;

  // REQUIRES: Judge(key) == kNew.
  void Store(const PromptKey& key, int32_t pairs);
  void NoPair(const PromptKey& key);

  // One item of the prompt entered a batch, or was deleted. REQUIRES: the prompt is live.
  void ItemUsed(const PromptKey& key);
  void ItemGone(const PromptKey& key);

  // Forgets prompts of epochs below `epoch` as they become final, for ever: inserts of them are
  // duplicates from now on. Never goes back.
  void ForgetEpochsBelow(int64_t epoch);
  int64_t forgotten_below_epoch() const { return forgotten_below_epoch_; }

  // At most `limit` events after `position`, in order.
  std::vector<PromptEvent> EventsAfter(int64_t position, int64_t limit) const;
  void DropEvents(int64_t up_to_position);
  int64_t last_position() const { return last_position_; }
  int64_t dropped_position() const { return last_position_ - static_cast<int64_t>(events_.size()); }

  // Everything in it is state; so is a snapshot.
  using PromptMap =
      absl::btree_map<std::pair<int64_t, int64_t>, PromptRecord>;  // (epoch, prompt_index)
  const PromptMap& prompts() const { return prompts_; }
  const std::deque<PromptEvent>& events() const { return events_; }
  void Restore(PromptMap prompts, std::deque<PromptEvent> events, int64_t last_position,
               int64_t forgotten_below_epoch);

  bool operator==(const PromptLedger&) const = default;

 private:
  PromptRecord& Live(const PromptKey& key);
  void AddEvent(PromptEvent::Kind kind, const PromptKey& key, int32_t pairs);

  PromptMap prompts_;
  std::deque<PromptEvent> events_;  // those not dropped
  int64_t last_position_ = 0;
  int64_t forgotten_below_epoch_ = 0;
};

}  // namespace dtrpo::replay
