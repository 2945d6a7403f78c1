// What a replay store must hold, kept by the driver of the crash test: it is told what was tried,
// what was confirmed and what was served, and says what can't be true. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/wire/replay_client.h"
#include "gtest/gtest.h"

namespace dtrpo::faults {

struct ModelOptions {
  int32_t publish_every = 1;
  int32_t max_staleness = 0;
  int32_t max_uses = 1;
};

class ReplayModel {
 public:
  explicit ReplayModel(const ModelOptions& options) : options_(options) {}

  // ---- prompts

  // Before the first try: whatever becomes of it, the store may now hold it.
  void Tried(const wire::PromptOutcome& outcome) {
    absl::MutexLock lock(&mutex_);
    Prompt& prompt = prompts_[{outcome.prompt_index, outcome.prompt_attempt}];
    prompt.pairs = static_cast<int32_t>(outcome.pairs.size());
    for (const auto& pair : outcome.pairs) {
      versions_[pair.id] = pair.chosen.weights_version.at(0);
    }
  }
  void Confirmed(const wire::PromptOutcome& outcome, bool duplicate) {
    absl::MutexLock lock(&mutex_);
    Prompt& prompt = prompts_[{outcome.prompt_index, outcome.prompt_attempt}];
    EXPECT_TRUE(duplicate || !prompt.confirmed)
        << "prompt " << outcome.prompt_index << " was confirmed and then stored once more";
    prompt.confirmed = true;
  }

  void Event(const v1::PromptEvent& event) {
    absl::MutexLock lock(&mutex_);
    EXPECT_EQ(event.position(), ++events_) << "an event is missing or was made twice";
    const auto it = prompts_.find({event.prompt().prompt_index(), event.prompt().prompt_attempt()});
    ASSERT_TRUE(it != prompts_.end()) << "an event of a prompt that nobody inserted";
    Prompt& prompt = it->second;
    if (event.kind() == v1::PromptEvent::STORED || event.kind() == v1::PromptEvent::NO_PAIR) {
      EXPECT_EQ(prompt.state, v1::PromptEvent::KIND_UNSPECIFIED) << "stored twice";
      EXPECT_EQ(event.kind() == v1::PromptEvent::NO_PAIR, prompt.pairs == 0);
    } else {
      EXPECT_EQ(prompt.state, v1::PromptEvent::STORED) << "ended twice, or before it began";
    }
    EXPECT_EQ(event.pairs(), prompt.pairs);
    prompt.state = event.kind();
    if (event.kind() == v1::PromptEvent::EVICTED) {
      evicted_.push_back({event.prompt().prompt_index(), event.prompt().prompt_attempt() + 1});
    }
  }
  int64_t events() const {
    absl::MutexLock lock(&mutex_);
    return events_;
  }
  // (prompt, attempt) to be made anew; false: none.
  bool TakeEvicted(std::pair<int64_t, int32_t>* prompt) {
    absl::MutexLock lock(&mutex_);
    if (evicted_.empty()) return false;
    *prompt = evicted_.back();
    evicted_.pop_back();
    return true;
  }

  // ---- batches

  void Served(const wire::Batch& batch) {
    absl::MutexLock lock(&mutex_);
    std::vector<std::string> ids;
    for (const wire::BatchItem& item : batch.items) {
      ids.push_back(absl::StrCat(item.pair.id, " use ", item.use_index));
    }
    const auto [known, is_new] = batches_.emplace(batch.number, ids);
    EXPECT_EQ(known->second, ids) << "batch " << batch.number << " changed";
    if (!is_new) return;
    const int64_t policy = (batch.number - 1) / options_.publish_every;
    EXPECT_EQ(batch.policy_version, policy);
    std::set<std::string> distinct;
    for (const wire::BatchItem& item : batch.items) {
      EXPECT_TRUE(distinct.insert(item.pair.id).second) << item.pair.id << " is twice in a batch";
      const auto version = versions_.find(item.pair.id);
      ASSERT_TRUE(version != versions_.end()) << item.pair.id << " was never inserted";
      EXPECT_LE(policy - version->second, options_.max_staleness) << item.pair.id << " is stale";
      EXPECT_TRUE(uses_[item.pair.id].insert(item.use_index).second)
          << item.pair.id << " is consumed twice as use " << item.use_index;
      EXPECT_LT(item.use_index, options_.max_uses);
    }
  }
  bool Knows(int64_t batch) const {
    absl::MutexLock lock(&mutex_);
    return batches_.contains(batch);
  }
  int64_t distinct_pairs_served() const {
    absl::MutexLock lock(&mutex_);
    return static_cast<int64_t>(uses_.size());
  }

  // ---- at the end, when everything was taken and every event was read

  void CheckAllEnded() const {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, prompt] : prompts_) {
      if (!prompt.confirmed) continue;
      EXPECT_NE(prompt.state, v1::PromptEvent::KIND_UNSPECIFIED)
          << "prompt " << key.first << " attempt " << key.second << " was confirmed and is lost";
      EXPECT_NE(prompt.state, v1::PromptEvent::STORED)
          << "prompt " << key.first << " attempt " << key.second << " never ended";
    }
  }
  int64_t confirmed() const {
    absl::MutexLock lock(&mutex_);
    int64_t count = 0;
    for (const auto& [key, prompt] : prompts_) count += prompt.confirmed;
    return count;
  }
  int64_t batches() const {
    absl::MutexLock lock(&mutex_);
    return static_cast<int64_t>(batches_.size());
  }

 private:
  struct Prompt {
    int32_t pairs = 0;
    bool confirmed = false;
    v1::PromptEvent::Kind state = v1::PromptEvent::KIND_UNSPECIFIED;  // as the events tell
  };

  const ModelOptions options_;
  mutable absl::Mutex mutex_;
  std::map<std::pair<int64_t, int32_t>, Prompt> prompts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> versions_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<int64_t, int32_t>> evicted_ ABSL_GUARDED_BY(mutex_);
  int64_t events_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, std::vector<std::string>> batches_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::set<int32_t>> uses_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::faults
