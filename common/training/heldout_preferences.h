// Thread safety: pure functions of the model, but for the caller's `reference`.
//
// What a policy thinks of preference pairs that it isn't trained on.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/dtrpo/score_input.h"
#include "common/job/job_spec.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::training {

struct HeldOutPreferences {
  int64_t pairs = 0;
  double loss = 0;      // mean of -log sigmoid(margin)
  double margin = 0;    // mean of beta * (R(chosen) - R(rejected))
  double accuracy = 0;  // share of pairs with margin > 0; says nothing before the first step
  // Share of pairs whose chosen answer the policy gives the larger log-probability, reference
  // aside: this one does say something before the first step.
  double chosen_likelier = 0;
};

// The states that held-out pairs are scored in, always the same ones. Block-causal models: those of
// dTRPO with kHeldOutDraws of each block at least, so that blocks of up to so many steps are scored
// exactly and numbers hold no chance. Bidirectional models, where a state is a forward of its own:
// those of the job's draws.
inline constexpr int32_t kHeldOutDraws = 8;
trajectory::MaskPlanOptions HeldOutPlan(trajectory::MaskPlanOptions options,
                                        checkpoint::Attention attention);

// The reference's scores of these answers, chosen and rejected in turn, in plan order. They are of
// the pairs from `first_pair` on.
using ReferenceOf = std::function<absl::StatusOr<std::vector<std::vector<float>>>(
    size_t first_pair, absl::Span<const objective::ScoreInput> inputs)>;

// `options` as HeldOutPlan() makes them.
absl::StatusOr<HeldOutPreferences> EvaluatePreferences(
    const model::Transformer& policy, absl::Span<const trajectory::PreferencePair> heldout,
    const trajectory::MaskPlanOptions& options, const job::ObjectiveSpec& objective,
    const ReferenceOf& reference);

}  // namespace dtrpo::training
