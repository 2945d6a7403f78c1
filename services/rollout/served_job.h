// Thread safety: all methods may be called from any thread.
//
// What the job at hand is served with. The sampling loop loads it and puts it into the slot;
// Generate calls take it out, and whoever took it keeps it alive, weights included, until the call
// is over.
//
//   RolloutWorker --Put--> ServedJobSlot --Get--> TextGenerator
//                               |
//                               v (shared)
//                           ServedJob --> encoder, policies --> weights::Image (no copies)
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/job/job_spec.h"
#include "common/text/prompt_encoder.h"
#include "services/rollout/policy_cache.h"

namespace dtrpo::rollout {

struct ServedJob {
  std::string job_id;
  job::JobSpec spec;
  checkpoint::ModelDescriptor descriptor;
  std::shared_ptr<const text::PromptEncoder> encoder;
  std::shared_ptr<PolicyCache> policies;
};

class ServedJobSlot {
 public:
  void Put(std::shared_ptr<const ServedJob> job) ABSL_LOCKS_EXCLUDED(mutex_);
  // From now on there is none; `why` is what callers are told ("is loading job add-1").
  void Clear(std::string why) ABSL_LOCKS_EXCLUDED(mutex_);

  // FAILED_PRECONDITION with the words of Clear().
  absl::StatusOr<std::shared_ptr<const ServedJob>> Get() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const ServedJob> job_ ABSL_GUARDED_BY(mutex_);
  std::string why_ ABSL_GUARDED_BY(mutex_) = "works on no job";
};

}  // namespace dtrpo::rollout
