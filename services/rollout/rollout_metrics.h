// Thread safety: metrics are thread-safe. Every series of the rollout service, in one place.
#pragma once

#include <cstdint>

#include "common/base/metrics.h"
#include "common/base/per_run.h"

namespace dtrpo::rollout {

// Of one job, with the label `run`.
struct RolloutRunMetrics {
  explicit RolloutRunMetrics(base::MetricsRegistry* registry);

  // A training prompt by how many of its answers are right.
  base::Counter* Answers(int64_t right, int64_t answers) const {
    return right == answers ? all_right_ : right == 0 ? all_wrong_ : mixed_;
  }
  // One judged sample. `forwards`: that it took part in, its steps and clean passes.
  void Judged(bool evaluate, bool correct, double reward, int64_t tokens, int64_t forwards) const;

  base::Counter* generated_tokens;
  base::Counter* samples;
  base::Counter* sequence_forwards;  // NFE
  base::Counter* forwards;
  base::Counter* pairs;
  base::Counter* prompts_stored;
  base::Counter* prompts_no_pair;
  base::Counter* prompts_evaluated;
  base::Counter* prompts_failed;
  base::Counter* prompts_returned;
  base::Histogram* sample_seconds;       // one round of leased prompts
  base::Histogram* insert_wait_seconds;  // until replay confirmed one prompt
  base::Histogram* batch_fill_ratio;     // sequences of a forward / batch_sequences
  base::Counter* failed_samples;         // put aside: their reward failed
  base::Counter* reward_failed_calls;    // calls of reward services
  base::Counter* judge_failures;         // prompts whose samples couldn't be judged
  base::Gauge* kv_cache_bytes;           // keys and values of the sequences under way

 private:
  base::Counter* all_right_;
  base::Counter* all_wrong_;
  base::Counter* mixed_;
  base::Counter* train_correct_;
  base::Counter* train_wrong_;
  base::Counter* evaluate_correct_;
  base::Counter* evaluate_wrong_;
  base::Histogram* sample_reward_;
  base::Histogram* sample_tokens_;
  base::Histogram* sample_forwards_;
  base::Histogram* sample_tokens_per_forward_;
};

// Of the process, whose weights are those of one job at a time.
struct RolloutMetrics {
  explicit RolloutMetrics(base::MetricsRegistry* registry);

  mutable base::PerRun<RolloutRunMetrics> of_run;
  base::Gauge* leased_prompts;  // in hand: sampled, judged, stored
  base::Gauge* kv_cache_limit_bytes;
  // A push: the chunks come in, the whole is checked, the pointer is exchanged.
  base::Histogram* weights_receive_seconds;
  base::Histogram* weights_check_seconds;
  base::Histogram* weights_install_seconds;
  base::Counter* weights_received_bytes;
  base::Counter* weights_refused;
  base::Gauge* weights_version;
  base::Gauge* weights_lag_versions;
  base::Gauge* weights_held_count;
  base::Counter* generate_answered;
  base::Counter* generate_refused;    // before the first block
  base::Counter* generate_cancelled;  // by the caller, its deadline, or a drain
  base::Counter* generate_failed;
  base::Counter* generate_tokens;
  base::Histogram* generate_seconds;  // those that were begun
  base::Gauge* generate_running;
  base::Gauge* generate_limit;
};

}  // namespace dtrpo::rollout
