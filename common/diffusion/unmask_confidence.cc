#include "common/diffusion/unmask_confidence.h"

#include "common/base/check.h"
#include "common/diffusion/unmask_ranking.h"

namespace dtrpo::diffusion {
namespace {

std::vector<int32_t> MostConfidentFirst(absl::Span<const MaskedPosition> masked) {
  DTRPO_CHECK(!masked.empty());
  std::vector<double> scores;
  for (const MaskedPosition& m : masked) scores.push_back(m.confidence);
  return RankByScore(scores);
}

}  // namespace

Selection StaticSteps::Select(const SubBlockProgress& progress,
                              absl::Span<const MaskedPosition> masked) const {
  const int32_t n = progress.masks_at_start;
  const int32_t count = n / steps_ + (progress.step < n % steps_ ? 1 : 0);
  // Shares shrink to zero only once they add up to n, so an empty step never comes up.
  DTRPO_CHECK(count >= 1 && count <= static_cast<int32_t>(masked.size()))
      << "step " << progress.step << " of " << steps_ << " commits " << count << " of "
      << masked.size() << " masks, " << n << " at the start";
  return {FirstOf(MostConfidentFirst(masked), count)};
}

Selection Threshold::Select(const SubBlockProgress& /*progress*/,
                            absl::Span<const MaskedPosition> masked) const {
  const std::vector<int32_t> ranking = MostConfidentFirst(masked);
  int64_t count = 0;
  for (const MaskedPosition& m : masked) count += m.confidence > threshold_ ? 1 : 0;
  return {FirstOf(ranking, std::max<int64_t>(count, at_least_))};
}

Selection Factor::Select(const SubBlockProgress& /*progress*/,
                         absl::Span<const MaskedPosition> masked) const {
  const std::vector<int32_t> ranking = MostConfidentFirst(masked);
  int64_t count = 1;  // accepted; the next one's rank is count + 1
  while (count < static_cast<int64_t>(ranking.size()) &&
         masked[ranking[count]].confidence >= 1 - factor_ / static_cast<double>(count + 2)) {
    ++count;
  }
  return {FirstOf(ranking, count)};
}

}  // namespace dtrpo::diffusion
