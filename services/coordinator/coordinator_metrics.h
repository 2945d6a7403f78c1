// Thread-safe. Every metric of the coordinator, with its name and help, in one place. What is of
// one job has the label `run` and is shown for the jobs at the head of the queue last.
#pragma once

#include <memory>
#include <string>

#include "common/base/metrics.h"
#include "common/base/run_gauges.h"

namespace dtrpo::coordinator {

struct CoordinatorMetrics {
  // `registry` outlives the object.
  explicit CoordinatorMetrics(base::MetricsRegistry* registry);

  base::Gauge* Jobs(const std::string& state) const;    // state: "RUNNING", ...
  base::Gauge* Workers(const std::string& role) const;  // role: rollout, reference, learner
  base::Counter* WorkersLost(const std::string& role) const;
  base::Counter* Leases(const std::string& kind) const;          // kind: train, evaluate
  base::Counter* LeasesEnded(const std::string& outcome) const;  // stored, no_pair, ...

  // Of a job; each name is a constant below.
  void Set(const std::string& run, const char* name, double value) const;
  void SetPrompts(const std::string& run, const char* state, double value) const;
  static constexpr char kStep[] = "dtrpo_coordinator_job_step_number";
  static constexpr char kStepsWanted[] = "dtrpo_coordinator_job_steps_wanted";
  static constexpr char kAttempt[] = "dtrpo_coordinator_job_learner_attempt_number";
  static constexpr char kVersion[] = "dtrpo_coordinator_job_weights_version_number";
  static constexpr char kReward[] = "dtrpo_coordinator_job_reward_mean";
  static constexpr char kFailedAnswers[] = "dtrpo_coordinator_job_failed_answers_count";
  static constexpr char kNoPairShare[] = "dtrpo_coordinator_job_prompts_no_pair_ratio";
  static constexpr char kAllRightShare[] = "dtrpo_coordinator_job_prompts_all_right_ratio";
  static constexpr char kAllWrongShare[] = "dtrpo_coordinator_job_prompts_all_wrong_ratio";
  static constexpr char kTokenRate[] = "dtrpo_coordinator_job_rollout_tokens_per_second";
  static constexpr char kAccuracy[] = "dtrpo_coordinator_job_heldout_accuracy_ratio";
  static constexpr char kEvaluations[] = "dtrpo_coordinator_job_evaluations_count";

  base::Counter* const jobs_submitted;
  base::Counter* const replay_failures;
  base::Gauge* const replay_shards;
  base::Gauge* const replay_answering;
  base::Histogram* const log_confirm_seconds;
  base::Gauge* const recovery_seconds;

 private:
  base::MetricsRegistry* const registry_;
  const std::unique_ptr<base::RunGauges> by_run_;
};

}  // namespace dtrpo::coordinator
