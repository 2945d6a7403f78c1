#include "common/wire/mask_plan_codec.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"

namespace dtrpo::wire {
namespace {

const char* WordOf(trajectory::Boundary boundary) {
  switch (boundary) {
    case trajectory::Boundary::kClean:
      return "clean";
    case trajectory::Boundary::kNoisy:
      return "noisy";
    case trajectory::Boundary::kExclude:
      return "exclude";
  }
  DTRPO_CHECK(false) << "boundary " << static_cast<int>(boundary);
  return "";
}

}  // namespace

void ToProto(const trajectory::MaskPlanOptions& from, v1::MaskPlan* to) {
  to->set_job_seed(from.job_seed);
  to->set_kind(std::string(trajectory::PlanKindWord(from.kind)));
  to->set_draws(from.kind == trajectory::PlanKind::kExact ? 0 : from.draws);
  to->set_antithetic(from.antithetic);
  to->set_behaviour_states(from.behaviour_states);
  to->set_boundary(WordOf(from.boundary));
  to->set_draw_from(from.draw_from == trajectory::DrawFrom::kSequence ? "sequence" : "block");
}

absl::StatusOr<trajectory::MaskPlanOptions> FromProto(const v1::MaskPlan& from) {
  trajectory::MaskPlanOptions to;
  to.job_seed = from.job_seed();
  to.antithetic = from.antithetic();
  to.behaviour_states = from.behaviour_states();
  if (!from.kind().empty()) {
    DTRPO_ASSIGN_OR_RETURN(
        to.kind, base::Annotate(trajectory::ParsePlanKind(from.kind()), "field plan.kind"));
  }
  if (to.kind != trajectory::PlanKind::kExact) {
    if (from.draws() < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("field plan.draws: ", from.draws(), " is less than 1"));
    }
    to.draws = from.draws();
  }
  if (!from.boundary().empty()) {
    DTRPO_ASSIGN_OR_RETURN(
        to.boundary, base::Annotate(trajectory::ParseBoundary(from.boundary()), "field plan"));
  }
  if (!from.draw_from().empty()) {
    DTRPO_ASSIGN_OR_RETURN(
        to.draw_from, base::Annotate(trajectory::ParseDrawFrom(from.draw_from()), "field plan"));
  }
  return to;
}

}  // namespace dtrpo::wire
