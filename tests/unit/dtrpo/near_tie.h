// Thread safety: const on the model.
//
// Floating-point sums depend on their order, hence on the batch, so two runs of one seed may part
// where a decision hangs on the last digits. This says whether a trajectory is right but for such
// decisions: it is replayed state by state from scratch in double precision, and every token and
// every choice of positions must come out as recorded when the numbers behind them are moved by
// less than `margin` in the record's favour. Shares no code with the engine, only the policies.
#pragma once

#include <string>

#include "common/model/transformer.h"
#include "common/trajectory/trajectory.h"

namespace dtrpo::objective {

// Empty: it is right. Else the first thing that isn't. `model`: the sampled one in float64.
// REQUIRES: `t` is valid and was sampled with the model's own block size.
std::string WhyNotWithin(double margin, const model::Transformer& model,
                         const trajectory::Trajectory& t);

// The same weights in float64.
std::unique_ptr<model::Transformer> InDoublePrecision(const model::Transformer& model);

}  // namespace dtrpo::objective
