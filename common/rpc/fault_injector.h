// Decides which calls lose their request or their reply. Thread-safe.
// The two are different: after a lost request the server has done nothing, after a lost reply it
// has acted and the caller can't know. The second is what finds missing idempotency.
//
// Deterministic: the fate of the i-th call of a method is a pure function of (seed, method, i).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace dtrpo::rpc {

struct FaultOptions {
  double lost_request_probability = 0;  // per call; the sum of both is at most 1
  double lost_reply_probability = 0;
  uint64_t seed = 0;
  std::vector<std::string> methods = {};  // "ReplayService/Insert"; empty: every method
};

enum class Fault { kNone, kLostRequest, kLostReply };

class FaultInjector {
 public:
  explicit FaultInjector(FaultOptions options);

  // The fate of the next call of `full_method` ("/dtrpo.v1.ReplayService/Insert").
  Fault Next(absl::string_view full_method) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const FaultOptions options_;
  absl::Mutex mutex_;
  std::map<std::string, uint64_t> calls_ ABSL_GUARDED_BY(mutex_);  // per method, so far
};

}  // namespace dtrpo::rpc
