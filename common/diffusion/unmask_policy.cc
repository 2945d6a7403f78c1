#include "common/diffusion/unmask_policy.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"

namespace dtrpo::diffusion {
namespace {

// Indices of the `count` highest confidences, ascending; equal ones by position.
std::vector<int32_t> MostConfident(absl::Span<const float> confidences, int32_t count) {
  std::vector<int32_t> order(confidences.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [confidences](int32_t a, int32_t b) { return confidences[a] > confidences[b]; });
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace

std::vector<int32_t> StaticSteps::Select(const SubBlockProgress& progress,
                                         absl::Span<const float> confidences) const {
  const int32_t n = progress.masks_at_start;
  const int32_t count = n / steps_ + (progress.step < n % steps_ ? 1 : 0);
  // Shares shrink to zero only once they add up to n, so an empty step never comes up.
  DTRPO_CHECK(count >= 1 && count <= static_cast<int32_t>(confidences.size()))
      << "step " << progress.step << " of " << steps_ << " commits " << count << " of "
      << confidences.size() << " masks, " << n << " at the start";
  return MostConfident(confidences, count);
}

std::vector<int32_t> Threshold::Select(const SubBlockProgress& /*progress*/,
                                       absl::Span<const float> confidences) const {
  DTRPO_CHECK(!confidences.empty());
  std::vector<int32_t> chosen;
  for (size_t i = 0; i < confidences.size(); ++i) {
    if (confidences[i] > threshold_) chosen.push_back(static_cast<int32_t>(i));
  }
  return chosen.empty() ? MostConfident(confidences, 1) : chosen;
}

absl::StatusOr<std::unique_ptr<UnmaskPolicy>> ParseUnmaskPolicy(absl::string_view spec) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(spec, absl::MaxSplits(':', 1));
  if (parts.first == "steps") {
    int32_t steps = 0;
    if (absl::SimpleAtoi(parts.second, &steps) && steps >= 1) {
      return std::make_unique<StaticSteps>(steps);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("unmask '", spec, "': steps:k needs a whole number k >= 1"));
  }
  if (parts.first == "threshold") {
    float threshold = 0;
    if (absl::SimpleAtof(parts.second, &threshold) && threshold >= 0 && threshold <= 1) {
      return std::make_unique<Threshold>(threshold);
    }
    return absl::InvalidArgumentError(
        absl::StrCat("unmask '", spec, "': threshold:tau needs a number tau in [0, 1]"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unmask '", spec, "': must be steps:k or threshold:tau"));
}

}  // namespace dtrpo::diffusion
