#include "services/coordinator/coordinator_metrics.h"

#include <map>

namespace dtrpo::coordinator {
namespace {

constexpr char kPrompts[] = "dtrpo_coordinator_job_prompts_count";

}  // namespace

CoordinatorMetrics::CoordinatorMetrics(base::MetricsRegistry* registry)
    : jobs_submitted(
          registry->GetCounter("dtrpo_coordinator_jobs_submitted_total", "Jobs accepted")),
      replay_failures(registry->GetCounter("dtrpo_coordinator_replay_failures_total",
                                           "Calls of the replay store that failed")),
      replay_shards(registry->GetGauge("dtrpo_coordinator_replay_shards_count",
                                       "Replay shards that there should be")),
      replay_answering(registry->GetGauge("dtrpo_coordinator_replay_answering_count",
                                          "Replay shards that answered when last asked")),
      log_confirm_seconds(registry->GetHistogram("dtrpo_coordinator_log_confirm_seconds",
                                                 "Time until an answer was in the log for good, "
                                                 "fsync included",
                                                 base::LatencyBuckets())),
      recovery_seconds(registry->GetGauge("dtrpo_coordinator_recovery_seconds",
                                          "Time the log took when the process started")),
      registry_(registry),
      by_run_(std::make_unique<base::RunGauges>(
          registry,
          std::map<std::string, std::string>{
              {kStep, "Learner step of the job"},
              {kStepsWanted, "Steps that the job asks for"},
              {kAttempt, "Learner attempts of the job so far: more than 1 means restarts"},
              {kVersion, "Newest published weights version of the job"},
              {kReward, "Mean reward of the job's last 100 prompts"},
              {kFailedAnswers, "Answers put aside because their reward failed"},
              {kNoPairShare, "Judged prompts that gave no pair"},
              {kAllRightShare, "Judged prompts whose answers are all right"},
              {kAllWrongShare, "Judged prompts whose answers are all wrong"},
              {kTokenRate, "Tokens the rollouts sampled for training, last 30 s"},
              {kAccuracy, "Accuracy in the job's newest complete evaluation"},
              {kEvaluations, "Complete evaluations of the job"},
              {kPrompts, "Training prompts of the job by state"}})) {
  // Every series with a few known values exists from the start.
  for (const char* state :
       {"PENDING", "RUNNING", "PAUSED", "RESTARTING", "SUCCEEDED", "FAILED", "CANCELLED"}) {
    Jobs(state);
  }
  for (const char* role : {"rollout", "reference", "learner"}) {
    Workers(role);
    WorkersLost(role);
  }
  for (const char* kind : {"train", "evaluate"}) Leases(kind);
  for (const char* outcome : {"stored", "no_pair", "evaluated", "failed", "returned"}) {
    LeasesEnded(outcome);
  }
}

base::Gauge* CoordinatorMetrics::Jobs(const std::string& state) const {
  return registry_->GetGauge("dtrpo_coordinator_jobs_count", "Jobs by state", {{"state", state}});
}

// `role` is a label of the process itself.
base::Gauge* CoordinatorMetrics::Workers(const std::string& role) const {
  return registry_->GetGauge("dtrpo_coordinator_workers_count", "Registered workers by role",
                             {{"worker_role", role}});
}

base::Counter* CoordinatorMetrics::WorkersLost(const std::string& role) const {
  return registry_->GetCounter("dtrpo_coordinator_workers_lost_total",
                               "Workers that fell silent or were replaced",
                               {{"worker_role", role}});
}

base::Counter* CoordinatorMetrics::Leases(const std::string& kind) const {
  return registry_->GetCounter("dtrpo_coordinator_leases_total", "Prompt leases granted by kind",
                               {{"kind", kind}});
}

base::Counter* CoordinatorMetrics::LeasesEnded(const std::string& outcome) const {
  return registry_->GetCounter("dtrpo_coordinator_leases_ended_total",
                               "Prompt leases reported by how they ended", {{"outcome", outcome}});
}

void CoordinatorMetrics::Set(const std::string& run, const char* name, double value) const {
  by_run_->Set(run, name, value);
}

void CoordinatorMetrics::SetPrompts(const std::string& run, const char* state, double value) const {
  by_run_->Set(run, kPrompts, value, {{"state", state}});
}

}  // namespace dtrpo::coordinator
