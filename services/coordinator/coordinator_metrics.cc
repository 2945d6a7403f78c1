#include "services/coordinator/coordinator_metrics.h"

namespace dtrpo::coordinator {

CoordinatorMetrics::CoordinatorMetrics(base::MetricsRegistry* registry)
    : step(registry->GetGauge("dtrpo_coordinator_job_step_number", "Learner step of the job")),
      version(registry->GetGauge("dtrpo_coordinator_job_weights_version_number",
                                 "Newest published weights version of the job")),
      reward_mean(registry->GetGauge("dtrpo_coordinator_job_reward_mean",
                                     "Mean reward of the job's last 100 prompts")),
      tokens_per_second(registry->GetGauge("dtrpo_coordinator_rollout_tokens_per_second",
                                           "Tokens the rollouts sampled for training, last 30 s")),
      heldout_accuracy(registry->GetGauge("dtrpo_coordinator_job_heldout_accuracy_ratio",
                                          "Of the job's newest complete evaluation")),
      jobs_submitted(
          registry->GetCounter("dtrpo_coordinator_jobs_submitted_total", "Jobs accepted")),
      workers_lost(registry->GetCounter("dtrpo_coordinator_workers_lost_total",
                                        "Workers that fell silent or were replaced")),
      replay_failures(registry->GetCounter("dtrpo_coordinator_replay_failures_total",
                                           "Calls of the replay store that failed")),
      registry_(registry) {}

base::Gauge* CoordinatorMetrics::Jobs(const std::string& state) const {
  return registry_->GetGauge("dtrpo_coordinator_jobs_count", "Jobs by state", {{"state", state}});
}

base::Gauge* CoordinatorMetrics::Workers(const std::string& role) const {
  return registry_->GetGauge("dtrpo_coordinator_workers_count", "Registered workers by role",
                             {{"role", role}});
}

base::Gauge* CoordinatorMetrics::Prompts(const std::string& state) const {
  return registry_->GetGauge("dtrpo_coordinator_prompts_count",
                             "Training prompts of the job by state", {{"state", state}});
}

base::Counter* CoordinatorMetrics::Leases(const std::string& kind) const {
  return registry_->GetCounter("dtrpo_coordinator_leases_total", "Prompt leases granted by kind",
                               {{"kind", kind}});
}

}  // namespace dtrpo::coordinator
