#include "services/reference/score_cache.h"

namespace dtrpo::reference {

bool ScoreCache::Find(const std::string& key, std::vector<float>* scores) {
  absl::MutexLock lock(&mutex_);
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return false;
  entries_.splice(entries_.begin(), entries_, it->second);
  *scores = it->second->scores;
  return true;
}

void ScoreCache::Insert(const std::string& key, const std::vector<float>& scores) {
  Entry entry{key, scores};
  const int64_t bytes = Bytes(entry);
  absl::MutexLock lock(&mutex_);
  if (bytes > max_bytes_ || by_key_.contains(key)) return;
  EvictTo(max_bytes_ - bytes);
  entries_.push_front(std::move(entry));
  by_key_[key] = entries_.begin();
  bytes_ += bytes;
}

void ScoreCache::EvictTo(int64_t bytes) {
  while (bytes_ > bytes) {
    bytes_ -= Bytes(entries_.back());
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

void ScoreCache::Clear() {
  absl::MutexLock lock(&mutex_);
  by_key_.clear();
  entries_.clear();
  bytes_ = 0;
}

int64_t ScoreCache::size_bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace dtrpo::reference
