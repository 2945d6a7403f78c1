// Not thread-safe.
//
// What the learner reports about one step, gathered over its micro-batches.
//
//   name                      meaning (means are over pairs unless said otherwise)
//   pairs, target_tokens      counts; tokens of both answers that were scored
//   loss                      preference_loss + sft_weight * sft_loss
//   preference_loss           of preference_loss.h; when policy and reference agree, log 2 with the
//                             sigmoid loss and 1 / (4 beta^2) with IPO
//   sft_loss                  cross-entropy per token of the chosen answer's scored tokens
//   margin                    beta * (R(chosen) - R(rejected))
//   accuracy                  share of pairs with margin > 0
//   log_ratio_chosen, log_ratio_rejected            R
//   log_ratio_{chosen,rejected}_block_<b>           part of R from response block b, for the first
//                             kReportedBlocks blocks; mean over the answers that have the block
//   estimator_variance        of R, see below
//   rho                       mean factor of the off-policy correction; 1 when it is off
//   mismatch                  mean |log policy - log behaviour| per token over answers whose
//                             weights are the policy's own, where both should be equal but for
//                             numerics; absent when the step has none
//   staleness, staleness_max  versions between an answer's oldest weights and the policy's, mean
//                             and largest over answers that aren't external
//   reward_chosen, reward_rejected
//
// Estimator variance. With K >= 2 draws the terms c_1..c_k of a block vary among themselves, and
// k * var(c) * (1 - k / T_b), summed over the blocks, estimates the variance that drawing adds to R
// (exact for draws without replacement that are independent; ours are k steps in a row, so it is
// off by the correlation of neighbours). It is 0 in exact mode. With K = 1 a block has one term, so
// the variance of R across the step's answers is reported instead: an upper bound, for it holds the
// differences between answers too. States drawn from the whole sequence count as one block. Random
// masks are drawn from endlessly many (no 1 - k / T_b), an antithetic pair counts as one draw.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/dtrpo/preference_loss.h"
#include "common/job/job_spec.h"

namespace dtrpo::objective {

inline constexpr int64_t kReportedBlocks = 16;

class StepStatistics {
 public:
  // policy_version: V(n). weights_are_version: the policy's weights are exactly that version (they
  // are past it at the later steps of a publishing interval).
  StepStatistics(const job::ObjectiveSpec& objective, int64_t policy_version,
                 bool weights_are_version)
      : objective_(objective),
        policy_version_(policy_version),
        weights_are_version_(weights_are_version) {}

  // `terms` of these pairs, and the [n] log-probabilities they were computed from (HostNumbers).
  void Add(absl::Span<const PairInput> pairs, absl::Span<const PairTerms> terms,
           absl::Span<const double> policy, absl::Span<const double> reference);

  std::map<std::string, double> Values() const;

  // For a step whose pairs are spread over ranks: each encodes its part; all of them, merged into a
  // cleared object, are the whole.
  std::string Encode() const;
  void Clear();
  // INVALID_ARGUMENT when `encoded` isn't from Encode().
  absl::Status Merge(absl::string_view encoded);

 private:
  // Sum, count and sum of squares are enough for every mean and variance here.
  struct Mean {
    double sum = 0;
    double squares = 0;
    int64_t count = 0;
    void Add(double value) {
      sum += value;
      squares += value * value;
      ++count;
    }
  };

  // Consumes the log-probabilities of one answer. `side` is "chosen" or "rejected".
  void AddAnswer(const trajectory::Trajectory& t, const trajectory::MaskPlan& plan,
                 const std::string& side, double log_ratio, absl::Span<const double> policy,
                 absl::Span<const double> reference);

  const job::ObjectiveSpec objective_;
  const int64_t policy_version_;
  const bool weights_are_version_;
  std::map<std::string, Mean> means_;
  int64_t pairs_ = 0;
  int64_t target_tokens_ = 0;
  double staleness_max_ = 0;
  bool drawn_once_ = false;  // somewhere one state of several was drawn
};

}  // namespace dtrpo::objective
