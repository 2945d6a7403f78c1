// Thread safety: const on the model.
//
// The plain implementation of a score, to check the one forward against: every state in a forward
// of its own over one plain sequence, with a dense attention mask, the head on all rows, the whole
// log-softmax, and autograd. A transformer of its own written down here: of the model only the
// parameters are used, and of common/dtrpo nothing.
#pragma once

#include <torch/types.h>

#include "common/model/transformer.h"
#include "common/trajectory/mask_plan.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::support {

// log p of the targets of a plan of sampled states (dtrpo, exact; boundary clean) in plan order,
// differentiable. Of the plan only which (block, step) are scored is used; what is masked then, and
// what becomes visible, is read off the trajectory. REQUIRES: Qwen's tensor names.
torch::Tensor PlainScores(const model::Transformer& model, const trajectory::Trajectory& t,
                          const trajectory::MaskPlan& plan);

}  // namespace dtrpo::support
