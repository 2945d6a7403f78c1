#include "common/rpc/fault_injector.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/philox.h"
#include "common/rpc/metadata.h"

namespace dtrpo::rpc {

FaultInjector::FaultInjector(FaultOptions options) : options_(std::move(options)) {}

Fault FaultInjector::Next(absl::string_view full_method) {
  if (options_.lost_request_probability + options_.lost_reply_probability <= 0 ||
      !IsOwnMethod(full_method)) {
    return Fault::kNone;
  }
  auto ends_method = [full_method](const std::string& name) {
    return absl::EndsWith(full_method, absl::StrCat(".", name));
  };
  if (!options_.methods.empty() &&
      std::none_of(options_.methods.begin(), options_.methods.end(), ends_method)) {
    return Fault::kNone;
  }
  uint64_t call = 0;
  {
    absl::MutexLock lock(&mutex_);
    call = calls_[std::string(full_method)]++;
  }
  const base::CounterRng rng(options_.seed, base::StableHash(full_method));
  const double fate = rng.Uniform01At(call);
  if (fate < options_.lost_request_probability) return Fault::kLostRequest;
  if (fate < options_.lost_request_probability + options_.lost_reply_probability) {
    return Fault::kLostReply;
  }
  return Fault::kNone;
}

}  // namespace dtrpo::rpc
