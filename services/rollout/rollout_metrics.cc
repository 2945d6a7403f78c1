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

}  // namespace

RolloutMetrics::RolloutMetrics(base::MetricsRegistry* registry)
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
      weights_receive_seconds(registry->GetHistogram("dtrpo_rollout_weights_receive_seconds",
                                                     "Receiving and checking one weights version.",
                                                     base::LatencyBuckets())),
      weights_received_bytes(registry->GetCounter("dtrpo_rollout_weights_received_bytes_total",
                                                  "Bytes of weights received.")),
      weights_refused(registry->GetCounter("dtrpo_rollout_weights_refused_total",
                                           "Pushes refused or broken off.")),
      weights_version(
          registry->GetGauge("dtrpo_rollout_weights_version", "Weights version that serves.")),
      weights_lag_versions(registry->GetGauge("dtrpo_rollout_weights_lag_versions",
                                              "Versions behind the newest published one.")),
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
          registry->GetGauge("dtrpo_rollout_generate_running", "Generate calls that run now.")) {}

}  // namespace dtrpo::rollout
