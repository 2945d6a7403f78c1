#include "common/trajectory/mask_plan.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/trajectory/plans/plan_rules.h"

namespace dtrpo::trajectory {

namespace {

struct KindWord {
  PlanKind kind;
  absl::string_view word;
};
constexpr KindWord kKindWords[] = {{PlanKind::kDtrpo, "dtrpo"},
                                   {PlanKind::kExact, "exact"},
                                   {PlanKind::kVrpo, "vrpo"},
                                   {PlanKind::kRandomMask, "random_mask"}};

// Blocks, step-0 targets and counts; no states yet.
MaskPlan LayOutBlocks(const Trajectory& t, const MaskPlanOptions& options) {
  MaskPlan plan;
  plan.kind = options.kind;
  if (HoldsSampledStates(options.kind)) plan.draw_from = options.draw_from;
  for (const ResponseBlock& block : PlannedBlocks(t, options.kind)) {
    BlockPlan& block_plan = plan.blocks.emplace_back();
    block_plan.block = block;
    if (options.boundary != Boundary::kExclude && IsTarget(t, block.begin) &&
        t.unmask_step[block.begin] == kBlockFirstStep) {
      block_plan.first_token = block.begin;
    }
    for (int64_t i = block.begin; i < block.end; ++i) {
      if (IsTarget(t, i) && t.unmask_step[i] >= 1) ++block_plan.target_tokens;
    }
    for (const ResponseBlock& sampled : ResponseBlocks(t)) {
      if (sampled.begin >= block.begin && sampled.end <= block.end) {
        block_plan.steps += static_cast<int32_t>(TargetSteps(t, sampled).size());
      }
    }
  }
  return plan;
}

void AddStates(const PlanRequest& request, MaskPlan* plan) {
  switch (request.options.kind) {
    case PlanKind::kDtrpo:
      return AddDrawnSteps(request, plan);
    case PlanKind::kExact:
      return AddEveryStep(request, plan);
    case PlanKind::kVrpo:
      return AddElboMasks(request, plan);
    case PlanKind::kRandomMask:
      return AddRandomMasks(request, plan);
  }
  DTRPO_CHECK(false) << "plan kind " << static_cast<int>(request.options.kind);
}

}  // namespace

std::vector<ResponseBlock> PlannedBlocks(const Trajectory& t, PlanKind kind) {
  if (HoldsSampledStates(kind) || t.block_origin == BlockOrigin::kAbsolute) {
    return ResponseBlocks(t);
  }
  const int64_t size = static_cast<int64_t>(t.response_tokens.size());
  return {{.begin = 0,
           .end = size,
           .position = static_cast<int64_t>(t.prompt_tokens.size()),
           .rows = size,
           .starts_in_response = true}};
}

MaskPlan MakeMaskPlan(const Trajectory& t, const MaskPlanOptions& options, int32_t use_index) {
  MaskPlan plan = LayOutBlocks(t, options);
  const PlanRequest request = {t, options, use_index};
  AddStates(request, &plan);
  if (options.behaviour_states && !HoldsSampledStates(options.kind)) {
    AddBehaviourStates(request, &plan);
  }
  for (const BlockPlan& block : plan.blocks) {
    plan.target_count += block.first_token >= 0 ? 1 : 0;
    for (const ScoredState& state : block.states) {
      plan.target_count += static_cast<int64_t>(state.targets.size());
    }
  }
  return plan;
}

std::string PlanKey(const MaskPlanOptions& options) {
  return absl::StrCat(options.job_seed, "|", PlanKindWord(options.kind), "|",
                      options.kind == PlanKind::kExact ? 0 : options.draws, "|",
                      options.antithetic ? 1 : 0, "|", static_cast<int>(options.boundary), "|",
                      static_cast<int>(options.draw_from), "|", options.behaviour_states ? 1 : 0);
}

absl::Span<const BlockPlan> DrawnTogether(const MaskPlan& plan, int64_t block) {
  const auto all = absl::MakeConstSpan(plan.blocks);
  return plan.draw_from == DrawFrom::kBlock ? all.subspan(block, 1) : all;
}

absl::StatusOr<PlanKind> ParsePlanKind(absl::string_view word) {
  for (const KindWord& known : kKindWords) {
    if (word == known.word) return known.kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("objective '", word, "' is not 'dtrpo', 'exact', 'vrpo' or 'random_mask'"));
}

absl::string_view PlanKindWord(PlanKind kind) {
  for (const KindWord& known : kKindWords) {
    if (kind == known.kind) return known.word;
  }
  DTRPO_CHECK(false) << "plan kind " << static_cast<int>(kind);
  return "";
}

absl::StatusOr<Boundary> ParseBoundary(const std::string& word) {
  if (word.empty() || word == "clean") return Boundary::kClean;
  if (word == "noisy") return Boundary::kNoisy;
  if (word == "exclude") return Boundary::kExclude;
  return absl::InvalidArgumentError(
      absl::StrCat("boundary '", word, "' is not 'clean', 'noisy' or 'exclude'"));
}

absl::StatusOr<DrawFrom> ParseDrawFrom(const std::string& word) {
  if (word == "block") return DrawFrom::kBlock;
  if (word == "sequence") return DrawFrom::kSequence;
  return absl::InvalidArgumentError(
      absl::StrCat("draw_from '", word, "' is neither 'block' nor 'sequence'"));
}

}  // namespace dtrpo::trajectory
