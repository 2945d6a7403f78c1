#include "services/rollout/policy_cache.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"

namespace dtrpo::rollout {
absl::StatusOr<const model::Transformer*> PolicyCache::Get(
    const std::shared_ptr<const weights::Image>& image) {
  const weights::Manifest& manifest = image->manifest();
  Policy& policy = policies_[manifest.version];
  if (policy.sha256 == manifest.sha256) return policy.model.get();
  model::NamedTensors tensors;
  model::LoadOptions options;
  for (const weights::TensorSpec& spec : manifest.tensors) {
    DTRPO_ASSIGN_OR_RETURN(options.dtype, model::ParseDtype(spec.dtype));
    const absl::string_view bytes = image->TensorBytes(spec);
    DTRPO_ASSIGN_OR_RETURN(
        torch::Tensor tensor,
        model::BorrowTensor({bytes.data(), bytes.size()}, spec.shape, options.dtype, image));
    tensors.emplace_back(spec.name, std::move(tensor));
  }
  DTRPO_ASSIGN_OR_RETURN(policy.model, base::Annotate(model::Transformer::FromTensors(
                                                          descriptor_, std::move(tensors), options),
                                                      weights::Describe(manifest)));
  policy.sha256 = manifest.sha256;
  return policy.model.get();
}

void PolicyCache::KeepOnly(const std::vector<int64_t>& versions) {
  std::erase_if(policies_, [&](const auto& entry) {
    return std::find(versions.begin(), versions.end(), entry.first) == versions.end();
  });
}

}  // namespace dtrpo::rollout
