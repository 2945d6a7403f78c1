// Thread safety: pure functions; const on the models.
//
// What an objective costs, and how much its estimate of R scatters.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::tools {

// Means over pairs, policy and reference together.
struct PairCost {
  // Of a plain implementation, one sequence each: a forward scores one state of every block (of a
  // bidirectional model: one state).
  double plain_forwards = 0;
  double forwards = 0;  // ours: chosen, rejected and all draws share one
  double rows = 0;      // of ours
};
absl::StatusOr<PairCost> CostOf(const checkpoint::ModelDescriptor& descriptor,
                                absl::Span<const trajectory::PreferencePair> pairs,
                                const trajectory::MaskPlanOptions& options);

// R of each answer again and again with other draws.
struct EstimatorSpread {
  double variance = 0;     // of R over the draws, mean over the answers
  double relative_sd = 0;  // sqrt(variance / mean over the answers of (mean R)^2)
};
absl::StatusOr<EstimatorSpread> SpreadOf(const model::Transformer& policy,
                                         const model::Transformer& reference,
                                         absl::Span<const trajectory::PreferencePair> pairs,
                                         const trajectory::MaskPlanOptions& options,
                                         const job::ObjectiveSpec& objective, int32_t draws);

}  // namespace dtrpo::tools
