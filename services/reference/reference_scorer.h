// Thread safety: all methods may be called from any thread; forwards run one at a time.
//
// The frozen reference model of one job (version 0) and the scores it gives. Knows no RPC.
//
// What is asked while a forward runs waits, and the next forward takes all of it that fits, whoever
// asked: learners that ask at once share forwards. No thread of its own: of the callers that wait
// one runs the forward.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <deque>
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
    torch::Device device = torch::kCPU;  // where the model is
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
  // Never changed, and alive as long as somebody scores with it.
  struct Loaded {
    std::string job_id;
    std::string sha256;
    std::unique_ptr<model::Transformer> model;
  };
  // A trajectory that isn't in the cache. Lives with its caller, who waits until it is done.
  struct Work {
    std::shared_ptr<const Loaded> loaded;
    const void* request;  // which call it is of
    const ScoreItem* item;
    const trajectory::MaskPlanOptions* options;
    std::string key;
    bool done = false;
    absl::Status status;
    std::vector<float> scores;
  };

  absl::StatusOr<std::shared_ptr<const Loaded>> Find(const std::string& job_id,
                                                     const std::string& sha256) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs forwards, or waits for others that do, until all of `works` are done.
  void Await(std::deque<Work>& works) ABSL_LOCKS_EXCLUDED(mutex_);
  // The first that wait, as many as fit into a forward together.
  std::vector<Work*> TakeBatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forward(absl::Span<Work* const> batch) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ForwardOnce(absl::Span<Work* const> batch) ABSL_LOCKS_EXCLUDED(mutex_);

  const Options options_;
  base::Clock* const clock_;
  const ReferenceMetrics* const metrics_;
  ScoreCache cache_;
  absl::Mutex mutex_;
  std::shared_ptr<const Loaded> loaded_ ABSL_GUARDED_BY(mutex_);
  std::deque<Work*> waiting_ ABSL_GUARDED_BY(mutex_);
  bool forward_runs_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace dtrpo::reference
