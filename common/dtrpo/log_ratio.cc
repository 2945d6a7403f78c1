#include "common/dtrpo/log_ratio.h"

#include "common/base/check.h"
#include "common/dtrpo/plan_weights.h"
#include "common/model/device.h"

namespace dtrpo::objective {

torch::Tensor WeightedSums(const torch::Tensor& values,
                           const std::vector<std::vector<double>>& weights) {
  std::vector<double> flat;
  std::vector<int64_t> owners;
  for (size_t y = 0; y < weights.size(); ++y) {
    flat.insert(flat.end(), weights[y].begin(), weights[y].end());
    owners.insert(owners.end(), weights[y].size(), static_cast<int64_t>(y));
  }
  DTRPO_CHECK_EQ(values.numel(), static_cast<int64_t>(flat.size()));
  const auto weight = model::ToDevice(torch::tensor(flat, torch::kFloat64), values.device());
  const auto owner = model::IndexTensor(owners, values.device());
  // Sums in float64: a long answer adds thousands of terms of both signs.
  // What weighs nothing may be infinite.
  const torch::Tensor terms = torch::where(weight == 0, 0.0, weight * values.to(torch::kFloat64));
  return torch::zeros({static_cast<int64_t>(weights.size())}, weight.options())
      .index_add(0, owner, terms);
}

torch::Tensor LogRatios(absl::Span<const trajectory::MaskPlan* const> plans,
                        const torch::Tensor& policy, const torch::Tensor& reference,
                        const job::ObjectiveSpec& objective) {
  std::vector<std::vector<double>> weights;
  for (const trajectory::MaskPlan* plan : plans) {
    weights.push_back(RatioWeights(*plan, objective.weighting, objective.length_normalised));
  }
  return WeightedSums(policy.to(torch::kFloat64) - reference.to(torch::kFloat64), weights);
}

std::vector<double> HostNumbers(const torch::Tensor& values) {
  const torch::Tensor host = values.detach().to(torch::kCPU, torch::kFloat64).contiguous();
  return std::vector<double>(host.data_ptr<double>(), host.data_ptr<double>() + host.numel());
}

}  // namespace dtrpo::objective
