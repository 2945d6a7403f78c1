#include "services/learner/learner_metrics.h"

namespace dtrpo::learner {
namespace {

constexpr char kStep[] = "dtrpo_learner_step_number";
constexpr char kVersion[] = "dtrpo_learner_weights_version";

// Values of a step that have a gauge: their names there, here, and what they mean.
constexpr struct {
  const char* value;
  const char* metric;
  const char* help;
} kStepValues[] = {
    {"loss", "dtrpo_learner_loss", "Loss of the last step."},
    {"preference_loss", "dtrpo_learner_preference_loss", "Preference part of the last loss."},
    {"sft_loss", "dtrpo_learner_sft_loss",
     "Cross-entropy per token of the chosen answers, in the last step."},
    {"margin", "dtrpo_learner_margin", "Mean beta * (R(chosen) - R(rejected)) of the last step."},
    {"accuracy", "dtrpo_learner_pair_accuracy_ratio",
     "Share of the last step's pairs with a positive margin."},
    {"gradient_norm", "dtrpo_learner_gradient_norm",
     "Gradient norm of the last step, before clipping."},
    {"learning_rate", "dtrpo_learner_learning_rate", "Learning rate of the last step."},
    {"log_ratio_chosen", "dtrpo_learner_log_ratio_chosen",
     "Mean R of chosen answers in the last step."},
    {"log_ratio_rejected", "dtrpo_learner_log_ratio_rejected",
     "Mean R of rejected answers in the last step."},
    {"reward_chosen", "dtrpo_learner_reward_chosen",
     "Mean reward of chosen answers in the last step."},
    {"reward_rejected", "dtrpo_learner_reward_rejected",
     "Mean reward of rejected answers in the last step."},
    {"estimator_variance", "dtrpo_learner_estimator_variance",
     "Variance of the estimate of R in the last step."},
    {"rho", "dtrpo_learner_off_policy_ratio",
     "Mean factor of the off-policy correction in the last step."},
    {"mismatch", "dtrpo_learner_logprob_mismatch_nats",
     "Mean |learner's - rollout's| log-probability per token at equal weights, in the last step "
     "that had such answers."},
};

std::map<std::string, std::string> Helps() {
  std::map<std::string, std::string> helps = {{kStep, "Step made last."},
                                              {kVersion, "Newest published weights version."}};
  for (const auto& value : kStepValues) helps[value.metric] = value.help;
  return helps;
}

base::Histogram* Phase(base::MetricsRegistry* registry, const char* phase) {
  return registry->GetHistogram("dtrpo_learner_step_phase_seconds",
                                "Time of one step by phase: standing still for its batch, forward, "
                                "backward, allreduce between ranks, optimizer.",
                                base::LatencyBuckets(), {{"phase", phase}});
}

base::Histogram* Publish(base::MetricsRegistry* registry, const char* phase) {
  return registry->GetHistogram(
      "dtrpo_learner_publish_seconds",
      "A weights version by phase: its image made, registered, pushed to one rollout.",
      base::LatencyBuckets(), {{"phase", phase}});
}

}  // namespace

LearnerMetrics::LearnerMetrics(base::MetricsRegistry* registry)
    : steps(registry->GetCounter("dtrpo_learner_steps_total",
                                 "Learner steps made, skipped ones included.")),
      skipped_steps(registry->GetCounter("dtrpo_learner_skipped_steps_total",
                                         "Steps skipped for numbers that aren't finite.")),
      pairs(registry->GetCounter("dtrpo_learner_pairs_total", "Preference pairs trained on.")),
      target_tokens(registry->GetCounter("dtrpo_learner_target_tokens_total",
                                         "Scored tokens of the pairs trained on.")),
      step_seconds(registry->GetHistogram("dtrpo_learner_step_seconds",
                                          "Forward, backward and update of one step.",
                                          base::LatencyBuckets())),
      batch_wait_seconds(Phase(registry, "batch_wait")),
      forward_seconds(Phase(registry, "forward")),
      backward_seconds(Phase(registry, "backward")),
      allreduce_seconds(Phase(registry, "allreduce")),
      optimizer_seconds(Phase(registry, "optimizer")),
      pair_staleness_versions(
          registry->GetHistogram("dtrpo_learner_pair_staleness_versions",
                                 "Versions between a trained pair's weights and the policy's.",
                                 {0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32})),
      batches_ahead(registry->GetGauge("dtrpo_learner_batches_ahead_count",
                                       "Batches fetched and scored that wait for their step.")),
      reference_seconds(registry->GetHistogram("dtrpo_learner_reference_seconds",
                                               "Reference scoring of one batch.",
                                               base::LatencyBuckets())),
      image_seconds(Publish(registry, "image")),
      register_seconds(Publish(registry, "register")),
      push_seconds(Publish(registry, "push")),
      pushed_bytes(registry->GetCounter("dtrpo_learner_pushed_bytes_total",
                                        "Bytes of weights pushed to rollouts.")),
      push_failures(registry->GetCounter("dtrpo_learner_push_failures_total",
                                         "Pushes that failed and are tried again.")),
      checkpoint_seconds(registry->GetHistogram("dtrpo_learner_checkpoint_seconds",
                                                "Writing one checkpoint.", base::LatencyBuckets())),
      checkpoint_time(
          registry->GetGauge("dtrpo_learner_checkpoint_timestamp_seconds",
                             "When this process wrote its newest checkpoint; 0: never.")),
      by_run_(std::make_unique<base::RunGauges>(registry, Helps())) {
  for (const auto& value : kStepValues) metric_of_value_[value.value] = value.metric;
}

void LearnerMetrics::SetStepValues(const std::string& run,
                                   const std::map<std::string, double>& values) const {
  for (const auto& [name, value] : values) {
    const auto metric = metric_of_value_.find(name);
    if (metric != metric_of_value_.end()) by_run_->Set(run, metric->second, value);
  }
}

void LearnerMetrics::SetStep(const std::string& run, int64_t step) const {
  by_run_->Set(run, kStep, static_cast<double>(step));
}

void LearnerMetrics::SetVersion(const std::string& run, int64_t version) const {
  by_run_->Set(run, kVersion, static_cast<double>(version));
}

}  // namespace dtrpo::learner
