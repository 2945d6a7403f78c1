#include "services/rollout/rollout_metrics.h"

namespace dtrpo::rollout {
namespace {

base::Counter* Prompts(base::MetricsRegistry* registry, const char* outcome) {
  return registry->GetCounter("dtrpo_rollout_prompts_total", "Leased prompts by how they ended.",
                              {{"outcome", outcome}});
}

base::Counter* GenerateCalls(base::MetricsRegistry* registry, const char* outcome) {
  return registry->GetCounter("dtrpo_rollout_generate_calls_total",
                              "Generate calls by how they ended.", {{"outcome", outcome}});
}

base::Counter* JudgedSamples(base::MetricsRegistry* registry, const char* purpose,
                             const char* outcome) {
  return registry->GetCounter("dtrpo_rollout_judged_samples_total",
                              "Samples by what they were for and what the verifier said.",
                              {{"purpose", purpose}, {"outcome", outcome}});
}

base::Counter* JudgedPrompts(base::MetricsRegistry* registry, const char* answers) {
  return registry->GetCounter("dtrpo_rollout_judged_prompts_total",
                              "Training prompts by their answers: all right, all wrong or mixed.",
                              {{"answers", answers}});
}

base::Histogram* PushSeconds(base::MetricsRegistry* registry, const char* phase) {
  return registry->GetHistogram("dtrpo_rollout_weights_push_seconds",
                                "A pushed weights version by phase: chunks received, the whole "
                                "checked, the version installed.",
                                base::LatencyBuckets(), {{"phase", phase}});
}

}  // namespace

RolloutRunMetrics::RolloutRunMetrics(base::MetricsRegistry* registry)
    : generated_tokens(registry->GetCounter("dtrpo_rollout_generated_tokens_total",
                                            "Target tokens of finished samples.")),
      samples(registry->GetCounter("dtrpo_rollout_samples_total", "Finished samples.")),
      sequence_forwards(registry->GetCounter(
          "dtrpo_rollout_sequence_forwards_total",
          "Forwards summed over sequences: tokens per forward is generated_tokens by this.")),
      forwards(registry->GetCounter("dtrpo_rollout_forwards_total",
                                    "Forwards of the policy, each over many sequences.")),
      pairs(
          registry->GetCounter("dtrpo_rollout_pairs_total", "Preference pairs stored in replay.")),
      prompts_stored(Prompts(registry, "stored")),
      prompts_no_pair(Prompts(registry, "no_pair")),
      prompts_evaluated(Prompts(registry, "evaluated")),
      prompts_failed(Prompts(registry, "failed")),
      prompts_returned(Prompts(registry, "returned")),
      sample_seconds(registry->GetHistogram("dtrpo_rollout_sample_seconds",
                                            "Sampling one round of leased prompts.",
                                            base::LatencyBuckets())),
      insert_wait_seconds(
          registry->GetHistogram("dtrpo_rollout_insert_wait_seconds",
                                 "Time until replay confirmed one prompt, back-pressure included.",
                                 base::LatencyBuckets())),
      batch_fill_ratio(registry->GetHistogram(
          "dtrpo_rollout_batch_fill_ratio",
          "Mean number of sequences in a forward of a round, as a share of batch_sequences.",
          {0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0})),
      failed_samples(registry->GetCounter(
          "dtrpo_rollout_failed_samples_total",
          "Samples put aside because their reward failed, timed out or was no number.")),
      reward_failed_calls(registry->GetCounter(
          "dtrpo_rollout_reward_failed_calls_total",
          "Calls of reward services that failed, or left answers without a reward.")),
      judge_failures(registry->GetCounter("dtrpo_rollout_judge_failures_total",
                                          "Prompts whose samples couldn't be judged.")),
      kv_cache_bytes(
          registry->GetGauge("dtrpo_rollout_kv_cache_bytes",
                             "Keys and values held by the sequences of the forward under way.")),
      all_right_(JudgedPrompts(registry, "all_right")),
      all_wrong_(JudgedPrompts(registry, "all_wrong")),
      mixed_(JudgedPrompts(registry, "mixed")),
      train_correct_(JudgedSamples(registry, "train", "correct")),
      train_wrong_(JudgedSamples(registry, "train", "wrong")),
      evaluate_correct_(JudgedSamples(registry, "evaluate", "correct")),
      evaluate_wrong_(JudgedSamples(registry, "evaluate", "wrong")),
      sample_reward_(registry->GetHistogram("dtrpo_rollout_sample_reward",
                                            "Rewards of training samples.",
                                            {-1, -0.5, 0, 0.25, 0.5, 0.75, 0.9, 1, 1.5, 2})),
      sample_tokens_(registry->GetHistogram("dtrpo_rollout_sample_tokens",
                                            "Target tokens of a sample.",
                                            base::ExponentialBuckets(1, 2, 15))),
      sample_forwards_(registry->GetHistogram("dtrpo_rollout_sample_forwards",
                                              "Denoising steps of a sample, and the clean passes "
                                              "that end its blocks.",
                                              base::ExponentialBuckets(1, 2, 15))),
      sample_tokens_per_forward_(registry->GetHistogram(
          "dtrpo_rollout_sample_tokens_per_forward", "Tokens that a forward of a sample unmasked.",
          {0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16, 32})) {}

void RolloutRunMetrics::Judged(bool evaluate, bool correct, double reward, int64_t tokens,
                               int64_t forwards) const {
  (evaluate  ? correct ? evaluate_correct_ : evaluate_wrong_
   : correct ? train_correct_
             : train_wrong_)
      ->Increment();
  if (!evaluate) sample_reward_->Observe(reward);
  sample_tokens_->Observe(static_cast<double>(tokens));
  sample_forwards_->Observe(static_cast<double>(forwards));
  sample_tokens_per_forward_->Observe(static_cast<double>(tokens) / static_cast<double>(forwards));
}

RolloutMetrics::RolloutMetrics(base::MetricsRegistry* registry)
    : of_run(registry),
      leased_prompts(registry->GetGauge("dtrpo_rollout_leased_prompts",
                                        "Prompts in hand: leased and not reported yet.")),
      kv_cache_limit_bytes(registry->GetGauge("dtrpo_rollout_kv_cache_limit_bytes",
                                              "Bytes of keys and values that it may hold.")),
      weights_receive_seconds(PushSeconds(registry, "receive")),
      weights_check_seconds(PushSeconds(registry, "check")),
      weights_install_seconds(PushSeconds(registry, "install")),
      weights_received_bytes(registry->GetCounter("dtrpo_rollout_weights_received_bytes_total",
                                                  "Bytes of weights received.")),
      weights_refused(registry->GetCounter("dtrpo_rollout_weights_refused_total",
                                           "Pushes refused or broken off.")),
      weights_version(
          registry->GetGauge("dtrpo_rollout_weights_version", "Weights version that serves.")),
      weights_lag_versions(registry->GetGauge("dtrpo_rollout_weights_lag_versions",
                                              "Versions behind the newest published one.")),
      weights_held_count(registry->GetGauge("dtrpo_rollout_weights_held_count",
                                            "Weights versions in memory: the newest one, and those "
                                            "that evaluations are pinned to.")),
      generate_answered(GenerateCalls(registry, "answered")),
      generate_refused(GenerateCalls(registry, "refused")),
      generate_cancelled(GenerateCalls(registry, "cancelled")),
      generate_failed(GenerateCalls(registry, "failed")),
      generate_tokens(registry->GetCounter("dtrpo_rollout_generate_tokens_total",
                                           "Tokens sent to callers of Generate.")),
      generate_seconds(registry->GetHistogram("dtrpo_rollout_generate_seconds",
                                              "Answering one Generate call that wasn't refused.",
                                              base::LatencyBuckets())),
      generate_running(
          registry->GetGauge("dtrpo_rollout_generate_running", "Generate calls that run now.")),
      generate_limit(registry->GetGauge("dtrpo_rollout_generate_limit",
                                        "Generate calls that may run at once.")) {
  RolloutRunMetrics without_run(registry);  // zeros from the start
}

}  // namespace dtrpo::rollout
