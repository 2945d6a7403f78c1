// Thread safety: const on the model.
//
// Scores the slow and obvious way, to check the one-forward scorer against: every (block, step) in
// a forward of its own over one plain sequence, read off the full log-softmax. Shares no code with
// common/dtrpo.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/checkpoint/model_descriptor.h"
#include "common/dtrpo/remask.h"
#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"
#include "tests/support/random_trajectory.h"

namespace dtrpo::objective {

// Vocabulary, mask and stop of support::TrajectoryShape.
checkpoint::ModelDescriptor ScoredDescriptor(bool token_shift = true);

// The same without blocks in its attention: Dream-like with token shift, LLaDA-like without.
checkpoint::ModelDescriptor BidirectionalDescriptor(bool token_shift);

// Tiny double-precision models, random enough that contexts matter by several nats.
std::unique_ptr<model::Transformer> ScoredModel(uint64_t seed, bool token_shift = true,
                                                bool requires_grad = false);
std::unique_ptr<model::Transformer> BidirectionalModel(uint64_t seed, bool token_shift,
                                                       bool requires_grad = false);

// log p of every committed response token at its commit state, 0 for the others.
std::vector<double> TokenLogProbs(const model::Transformer& model, const trajectory::Trajectory& t);

// Those of a plan's targets, in plan order.
std::vector<double> Planned(const std::vector<double>& token_log_probs,
                            const trajectory::MaskPlan& plan);

// ScoreTargets of one trajectory, as numbers. Fails the test on an error.
std::vector<double> Score(const model::Transformer& model, const trajectory::Trajectory& t,
                          const trajectory::MaskPlan& plan,
                          trajectory::Boundary boundary = trajectory::Boundary::kClean);

// Every plan that K draws can give: one for each combination of first positions r over the blocks.
std::vector<trajectory::MaskPlan> AllPlans(const trajectory::Trajectory& t, int32_t draws);

// Every plan that K draws from the sequence can give, once for each first position r.
std::vector<trajectory::MaskPlan> AllSequencePlans(const trajectory::Trajectory& t, int32_t draws);

}  // namespace dtrpo::objective
