#include "services/replay/prompt_ledger.h"

#include <algorithm>

#include "common/base/check.h"

namespace dtrpo::replay {
namespace {

std::pair<int64_t, int64_t> IdOf(const PromptKey& key) { return {key.epoch, key.prompt_index}; }

}  // namespace

PromptLedger::Verdict PromptLedger::Judge(const PromptKey& key) const {
  auto it = prompts_.find(IdOf(key));
  if (it == prompts_.end()) {
    return key.epoch < forgotten_below_epoch_ ? Verdict::kDuplicate : Verdict::kNew;
  }
  const PromptRecord& prompt = it->second;
  if (key.attempt <= prompt.attempt) return Verdict::kDuplicate;
  return prompt.state == PromptRecord::State::kEvicted && key.attempt == prompt.attempt + 1
             ? Verdict::kNew
             : Verdict::kNotEvicted;
}

void PromptLedger::Store(const PromptKey& key, int32_t pairs) {
  DTRPO_CHECK(Judge(key) == Verdict::kNew) << "prompt " << key.epoch << "/" << key.prompt_index;
  prompts_[IdOf(key)] = {
      .state = PromptRecord::State::kLive, .attempt = key.attempt, .pairs = pairs, .left = pairs};
  AddEvent(PromptEvent::Kind::kStored, key, pairs);
}

void PromptLedger::NoPair(const PromptKey& key) {
  DTRPO_CHECK(Judge(key) == Verdict::kNew) << "prompt " << key.epoch << "/" << key.prompt_index;
  prompts_[IdOf(key)] = {.state = PromptRecord::State::kNoPair, .attempt = key.attempt};
  AddEvent(PromptEvent::Kind::kNoPair, key, 0);
}

PromptRecord& PromptLedger::Live(const PromptKey& key) {
  auto it = prompts_.find(IdOf(key));
  DTRPO_CHECK(it != prompts_.end() && it->second.state == PromptRecord::State::kLive &&
              it->second.attempt == key.attempt)
      << "prompt " << key.epoch << "/" << key.prompt_index << "/" << key.attempt << " isn't live";
  return it->second;
}

void PromptLedger::ItemUsed(const PromptKey& key) { Live(key).used = true; }

void PromptLedger::ItemGone(const PromptKey& key) {
  PromptRecord& prompt = Live(key);
  DTRPO_CHECK_GE(prompt.left, 1);
  if (--prompt.left > 0) return;
  prompt.state = prompt.used ? PromptRecord::State::kConsumed : PromptRecord::State::kEvicted;
  AddEvent(prompt.used ? PromptEvent::Kind::kConsumed : PromptEvent::Kind::kEvicted, key,
           prompt.pairs);
  if (prompt.used && key.epoch < forgotten_below_epoch_) prompts_.erase(IdOf(key));
}

void PromptLedger::ForgetEpochsBelow(int64_t epoch) {
  forgotten_below_epoch_ = std::max(forgotten_below_epoch_, epoch);
  auto it = prompts_.begin();
  while (it != prompts_.end() && it->first.first < forgotten_below_epoch_) {
    // Live and evicted ones stay: they have an end to come.
    bool final = it->second.state == PromptRecord::State::kNoPair ||
                 it->second.state == PromptRecord::State::kConsumed;
    it = final ? prompts_.erase(it) : std::next(it);
  }
}

std::vector<PromptEvent> PromptLedger::EventsAfter(int64_t position, int64_t limit) const {
  int64_t skipped =
      std::clamp<int64_t>(position - dropped_position(), 0, static_cast<int64_t>(events_.size()));
  auto begin = events_.begin() + skipped;
  return {begin, begin + std::clamp<int64_t>(limit, 0, events_.end() - begin)};
}

void PromptLedger::DropEvents(int64_t up_to_position) {
  while (!events_.empty() && events_.front().position <= up_to_position) events_.pop_front();
}

void PromptLedger::AddEvent(PromptEvent::Kind kind, const PromptKey& key, int32_t pairs) {
  events_.push_back({.position = ++last_position_, .kind = kind, .prompt = key, .pairs = pairs});
}

void PromptLedger::Restore(PromptMap prompts, std::deque<PromptEvent> events, int64_t last_position,
                           int64_t forgotten_below_epoch) {
  prompts_ = std::move(prompts);
  events_ = std::move(events);
  last_position_ = last_position;
  forgotten_below_epoch_ = forgotten_below_epoch;
}

}  // namespace dtrpo::replay
