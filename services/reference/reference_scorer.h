// Thread safety: all methods may be called from any thread; forwards run one at a time.
//
// The frozen reference model of one job (version 0) and the scores it gives. Knows no RPC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/base/clock.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"
#include "services/reference/reference_metrics.h"
#include "services/reference/score_cache.h"

namespace dtrpo::reference {

struct ScoreItem {
  trajectory::Trajectory trajectory;
  int32_t use_index = 0;
};

struct ReferenceScores {
  std::string sha256;  // of the weights that answered
  // Per item: log-probabilities of its plan's targets, in plan order.
  std::vector<std::vector<float>> targets;
};

class ReferenceScorer {
 public:
  struct Options {
    int32_t batch_trajectories = 64;  // per forward
    int64_t cache_bytes = int64_t{256} << 20;
  };
  ReferenceScorer(const Options& options, base::Clock* clock, const ReferenceMetrics* metrics);

  // Loads the base checkpoint of `job_id`, unless it is loaded already. Lets go of the job before
  // it first.
  absl::Status Load(const std::string& job_id, const job::ModelSpec& spec)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Unload() ABSL_LOCKS_EXCLUDED(mutex_);

  // UNAVAILABLE, reason "reference_loading", while another job or none is loaded.
  // FAILED_PRECONDITION when `sha256` isn't empty and isn't the checksum of the loaded weights.
  // INVALID_ARGUMENT naming trajectory and field, also for tokens outside the model's vocabulary.
  absl::StatusOr<ReferenceScores> Score(const std::string& job_id, const std::string& sha256,
                                        const trajectory::MaskPlanOptions& options,
                                        absl::Span<const ScoreItem> items)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const Options options_;
  base::Clock* const clock_;
  const ReferenceMetrics* const metrics_;
  ScoreCache cache_;
  absl::Mutex mutex_;
  std::string job_id_ ABSL_GUARDED_BY(mutex_);
  std::string sha256_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<model::Transformer> model_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::reference
