// Thread safety: free functions.
//
// The loss of preference pairs, on the difference d = R(chosen) - R(rejected) of whatever
// log-ratios the plans estimate (common/trajectory/mask_plan.h), so that each loss goes with each
// objective:
//   sigmoid  -log sigmoid(beta d): DPO (arXiv 2305.18290), what dTRPO uses (arXiv 2603.18806). With
//            label_smoothing e: -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d), for labels
//            that are wrong with probability e (conservative DPO)
//   ipo      (d - 1 / (2 beta))^2 (arXiv 2310.12036, equation 17)
// and two additions of ours against stale answers (ARCHITECTURE.md, "Off-policy correction"):
//   rejected_ratio  the gradient of R(rejected) is multiplied by
//                   rho = min(1, exp((1/K) sum (log policy - log behaviour))), so that an answer
//                   the policy has already left isn't pushed further down. Values don't change. The
//                   sum is over states that were sampled from: plans of random masks bring one of
//                   each block along (MaskPlanOptions::behaviour_states).
//   sft_weight      that many times the mean cross-entropy of the chosen answer's scored tokens.
// Behaviour log-probabilities enter nowhere else. External answers have none, hence rho = 1.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/dtrpo/remask.h"
#include "common/job/job_spec.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::objective {

// Borrowed; must outlive the call.
struct PairInput {
  const trajectory::PreferencePair* pair = nullptr;
  const trajectory::MaskPlan* chosen_plan = nullptr;
  const trajectory::MaskPlan* rejected_plan = nullptr;
};

// chosen, rejected, chosen, ...: the order in which pairs are scored.
std::vector<ScoreInput> ScoreInputs(absl::Span<const PairInput> pairs);

// What one pair contributed, as numbers.
struct PairTerms {
  double log_ratio_chosen = 0;
  double log_ratio_rejected = 0;
  double margin = 0;  // beta * (log_ratio_chosen - log_ratio_rejected)
  double preference_loss = 0;
  double sft_loss = 0;  // mean cross-entropy of the chosen answer's scored tokens, unweighted
  double rho = 1;
};

// How much a pair still has to teach: prioritised replay's magnitude of the error (Schaul et al.,
// ICLR 2016, proportional variant), which for the sigmoid loss is its slope in the margin,
// sigmoid(-margin) = 1 - the probability that the pair is ordered right. In [0, 1], whatever the
// loss: with IPO, too, a pair that is ordered surely wrong comes first.
double PairPriority(const PairTerms& terms);

struct PreferenceLoss {
  // Scalar, float64: the sum over these pairs of preference_loss + sft_weight * sft_loss, divided
  // by global_pairs, so that micro-batches and ranks simply add up.
  torch::Tensor loss;
  std::vector<PairTerms> pairs;
};

// policy, reference: [n] log-probabilities of the targets of ScoreInputs(pairs), in that order.
// INVALID_ARGUMENT when their sizes don't fit the plans or the correction is asked for without
// behaviour states, INTERNAL for what LibTorch throws.
// REQUIRES: global_pairs >= pairs.size().
absl::StatusOr<PreferenceLoss> ComputePreferenceLoss(absl::Span<const PairInput> pairs,
                                                     const torch::Tensor& policy,
                                                     const torch::Tensor& reference,
                                                     const job::ObjectiveSpec& objective,
                                                     int64_t global_pairs);

}  // namespace dtrpo::objective
