#include "services/learner/learner_metrics.h"

namespace dtrpo::learner {

LearnerMetrics::LearnerMetrics(base::MetricsRegistry* registry)
    : steps(registry->GetCounter("dtrpo_learner_steps_total",
                                 "Learner steps made, skipped ones included.")),
      skipped_steps(registry->GetCounter("dtrpo_learner_skipped_steps_total",
                                         "Steps skipped for numbers that aren't finite.")),
      pairs(registry->GetCounter("dtrpo_learner_pairs_total", "Preference pairs trained on.")),
      step_seconds(registry->GetHistogram("dtrpo_learner_step_seconds",
                                          "Forward, backward and update of one step.",
                                          base::LatencyBuckets())),
      batch_wait_seconds(registry->GetHistogram("dtrpo_learner_batch_wait_seconds",
                                                "Time the loop stood still for the next batch.",
                                                base::LatencyBuckets())),
      reference_seconds(registry->GetHistogram("dtrpo_learner_reference_seconds",
                                               "Reference scoring of one batch.",
                                               base::LatencyBuckets())),
      publish_seconds(registry->GetHistogram("dtrpo_learner_publish_seconds",
                                             "Copying and registering a weights version.",
                                             base::LatencyBuckets())),
      push_seconds(registry->GetHistogram("dtrpo_learner_push_seconds",
                                          "Pushing a weights version to one rollout.",
                                          base::LatencyBuckets())),
      pushed_bytes(registry->GetCounter("dtrpo_learner_pushed_bytes_total",
                                        "Bytes of weights pushed to rollouts.")),
      push_failures(registry->GetCounter("dtrpo_learner_push_failures_total",
                                         "Pushes that failed and are tried again.")),
      checkpoint_seconds(registry->GetHistogram("dtrpo_learner_checkpoint_seconds",
                                                "Writing one checkpoint.", base::LatencyBuckets())),
      weights_version(
          registry->GetGauge("dtrpo_learner_weights_version", "Newest published weights version.")),
      step(registry->GetGauge("dtrpo_learner_step", "Step made last.")) {
  const auto gauge = [&](const std::string& value, const std::string& name,
                         const std::string& help) {
    by_value_name_[value] = registry->GetGauge("dtrpo_learner_" + name, help);
  };
  gauge("loss", "loss", "Loss of the last step.");
  gauge("margin", "margin", "Mean beta * (R(chosen) - R(rejected)) of the last step.");
  gauge("accuracy", "pair_accuracy_ratio",
        "Share of the last step's pairs with a positive margin.");
  gauge("gradient_norm", "gradient_norm", "Gradient norm of the last step, before clipping.");
  gauge("learning_rate", "learning_rate", "Learning rate of the last step.");
  gauge("log_ratio_chosen", "log_ratio_chosen", "Mean R of chosen answers in the last step.");
  gauge("log_ratio_rejected", "log_ratio_rejected", "Mean R of rejected answers in the last step.");
  gauge("estimator_variance", "estimator_variance",
        "Variance of the estimate of R in the last step.");
  gauge("rho", "off_policy_ratio", "Mean factor of the off-policy correction in the last step.");
  gauge("staleness", "staleness_versions", "Mean staleness of the last step's answers.");
  gauge("mismatch", "logprob_mismatch",
        "Mean |policy - behaviour| log-probability at equal weights.");
}

void LearnerMetrics::SetStepValues(const std::map<std::string, double>& values) const {
  for (const auto& [name, value] : values) {
    if (const auto it = by_value_name_.find(name); it != by_value_name_.end())
      it->second->Set(value);
  }
}

}  // namespace dtrpo::learner
