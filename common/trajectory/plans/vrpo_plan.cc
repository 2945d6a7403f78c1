// VRPO: the ELBO of a masked diffusion model as LLaDA 1.5 (arXiv 2505.19223) estimates it,
//   B(y) = 1/K sum over K draws (t, mask) of 1/t sum over masked tokens log p(token | state),
// with t = l / n as in LLaDA's released get_log_likelihood.py (the Monte Carlo form with the lower
// variance of arXiv 2502.09992, appendix A): its expectation is the mean over all orders of
// unmasking one token at a time. Policy and reference share the draws, as there.
//
// Block diffusion: each block has its own ELBO given the clean blocks before it (BD3-LM, arXiv
// 2503.09573), and R is their sum and the block-first terms.
//
// antithetic: draws in pairs whose masks are complementary but for one token, so t and
// 1 - t + 1/n; both have the same distribution, so the estimate stays unbiased.
#include "common/trajectory/plans/mask_draws.h"
#include "common/trajectory/plans/plan_rules.h"

namespace dtrpo::trajectory {

void AddElboMasks(const PlanRequest& request, MaskPlan* plan) {
  const int32_t draws = request.options.draws;
  plan->antithetic = request.options.antithetic;
  for (size_t b = 0; b < plan->blocks.size(); ++b) {
    BlockPlan& block = plan->blocks[b];
    if (block.target_tokens == 0) continue;
    const auto add = [&](ScoredState state) {
      state.weight = static_cast<double>(block.target_tokens) /
                     (static_cast<double>(state.targets.size()) * draws);
      block.states.push_back(std::move(state));
    };
    for (int32_t k = 0; k < draws; ++k) {
      MaskPair masks = DrawMasks(request, *plan, static_cast<int64_t>(b), k);
      add(std::move(masks.first));
      if (plan->antithetic && ++k < draws) add(std::move(masks.mate));
    }
  }
}

}  // namespace dtrpo::trajectory
