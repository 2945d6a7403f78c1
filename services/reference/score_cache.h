// Thread safety: all methods may be called from any thread.
//
// Reference scores by (trajectory, plan): a pair that is used again, or a batch that is asked for
// again after a lost reply, costs no forward. Least recently used entries go first.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace dtrpo::reference {

class ScoreCache {
 public:
  explicit ScoreCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // True and `scores` filled when the key is held.
  bool Find(const std::string& key, std::vector<float>* scores) ABSL_LOCKS_EXCLUDED(mutex_);
  void Insert(const std::string& key, const std::vector<float>& scores) ABSL_LOCKS_EXCLUDED(mutex_);
  void Clear() ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t size_bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    std::string key;
    std::vector<float> scores;
  };
  static int64_t Bytes(const Entry& entry) {
    return static_cast<int64_t>(sizeof(Entry) + 2 * entry.key.size() +
                                entry.scores.size() * sizeof(float));
  }
  void EvictTo(int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_bytes_;
  mutable absl::Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace dtrpo::reference
