#include "common/reward/pair_builder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "common/base/check.h"

namespace dtrpo::reward {
namespace {

using trajectory::Trajectory;
using Samples = absl::Span<const Trajectory>;
using Order = std::vector<int64_t>;  // indices of samples, best reward first
using Pairs = std::vector<PairChoice>;

bool SameTargets(const Trajectory& a, const Trajectory& b) {
  const int64_t count = trajectory::TargetCount(a);
  return count == trajectory::TargetCount(b) &&
         std::equal(a.response_tokens.begin(), a.response_tokens.begin() + count,
                    b.response_tokens.begin());
}

// Each policy proposes pairs, the most wanted first; what may be a pair at all is decided later.

Pairs BestWorst(const Order& order) {
  Pairs pairs;
  for (size_t i = 0; i < order.size() / 2; ++i) {
    pairs.push_back({order[i], order[order.size() - 1 - i]});
  }
  return pairs;
}

Pairs CorrectWrong(const Order& order, const std::vector<bool>& right) {
  Order correct, wrong;
  for (const int64_t i : order) (right[i] ? correct : wrong).push_back(i);
  std::reverse(wrong.begin(), wrong.end());
  Pairs pairs;
  for (size_t i = 0; i < correct.size() && !wrong.empty(); ++i) {
    pairs.push_back({correct[i], wrong[i % wrong.size()]});
  }
  return pairs;
}

Pairs LengthBalanced(Samples samples, Order left) {
  Pairs pairs;
  while (left.size() > 1) {
    const double best = samples[left.front()].reward, worst = samples[left.back()].reward;
    PairChoice nearest;
    int64_t difference = -1;
    for (const int64_t a : left) {
      if (samples[a].reward != best) break;
      for (const int64_t b : left) {
        if (samples[b].reward != worst || a == b || SameTargets(samples[a], samples[b])) continue;
        const int64_t d =
            std::abs(trajectory::TargetCount(samples[a]) - trajectory::TargetCount(samples[b]));
        if (difference >= 0 && d >= difference) continue;
        difference = d;
        nearest = {a, b};
      }
    }
    if (difference < 0) break;  // equal targets only
    pairs.push_back(nearest);
    std::erase(left, nearest.chosen);
    std::erase(left, nearest.rejected);
  }
  return pairs;
}

Pairs Propose(Pairing pairing, Samples samples, const std::vector<bool>& right,
              const Order& order) {
  switch (pairing) {
    case Pairing::kBestWorst:
      break;
    case Pairing::kCorrectWrong:
      return CorrectWrong(order, right);
    case Pairing::kLengthBalanced:
      return LengthBalanced(samples, order);
  }
  return BestWorst(order);
}

}  // namespace

std::optional<Pairing> ParsePairing(absl::string_view name) {
  if (name == "best_worst") return Pairing::kBestWorst;
  if (name == "correct_wrong") return Pairing::kCorrectWrong;
  if (name == "length_balanced") return Pairing::kLengthBalanced;
  return std::nullopt;
}

std::vector<PairChoice> BuildPairs(Samples samples, const std::vector<bool>& right,
                                   const PairOptions& options) {
  DTRPO_CHECK_EQ(samples.size(), right.size());
  Order order;
  for (size_t i = 0; i < samples.size(); ++i) {
    DTRPO_CHECK(std::isfinite(samples[i].reward)) << "reward of sample " << samples[i].id;
    if (samples[i].finish_reason != trajectory::FinishReason::kCancelled) {
      order.push_back(static_cast<int64_t>(i));
    }
  }
  std::stable_sort(order.begin(), order.end(), [&samples](int64_t a, int64_t b) {
    return samples[a].reward > samples[b].reward;
  });
  std::vector<PairChoice> pairs;
  for (const PairChoice& pair : Propose(options.pairing, samples, right, order)) {
    if (static_cast<int32_t>(pairs.size()) >= options.max_pairs) break;
    const Trajectory& chosen = samples[pair.chosen];
    const Trajectory& rejected = samples[pair.rejected];
    if (!(chosen.reward - rejected.reward > options.min_gap)) continue;
    if (!SameTargets(chosen, rejected)) pairs.push_back(pair);
  }
  return pairs;
}

}  // namespace dtrpo::reward
