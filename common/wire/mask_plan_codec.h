// Thread safety: pure functions.
#pragma once

#include "absl/status/statusor.h"
#include "common/trajectory/mask_plan.h"
#include "proto/dtrpo/v1/reference.pb.h"

namespace dtrpo::wire {

void ToProto(const trajectory::MaskPlanOptions& from, v1::MaskPlan* to);

// INVALID_ARGUMENT naming the field: no draws where the kind has some, an unknown kind, boundary
// or draw_from.
absl::StatusOr<trajectory::MaskPlanOptions> FromProto(const v1::MaskPlan& from);

}  // namespace dtrpo::wire
