#include "services/rollout/policy_cache.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"

namespace dtrpo::rollout {

absl::StatusOr<std::shared_ptr<const model::Transformer>> PolicyCache::Get(
    const std::shared_ptr<const weights::Image>& image) {
  const weights::Manifest& manifest = image->manifest();
  {
    absl::MutexLock lock(&mutex_);
    const auto it = policies_.find(manifest.version);
    if (it != policies_.end() && it->second.sha256 == manifest.sha256) return it->second.model;
  }
  // Without the lock: it reads all weights once. Two threads that want the same version at the same
  // time may both make it.
  DTRPO_ASSIGN_OR_RETURN(std::shared_ptr<const model::Transformer> model, Make(image));
  absl::MutexLock lock(&mutex_);
  policies_[manifest.version] = {manifest.sha256, model};
  return model;
}

absl::StatusOr<std::shared_ptr<const model::Transformer>> PolicyCache::Make(
    const std::shared_ptr<const weights::Image>& image) const {
  const weights::Manifest& manifest = image->manifest();
  model::NamedTensors tensors;
  model::LoadOptions options = {.device = device_};
  for (const weights::TensorSpec& spec : manifest.tensors) {
    DTRPO_ASSIGN_OR_RETURN(options.dtype, model::ParseDtype(spec.dtype));
    const absl::string_view bytes = image->TensorBytes(spec);
    DTRPO_ASSIGN_OR_RETURN(
        torch::Tensor tensor,
        model::BorrowTensor({bytes.data(), bytes.size()}, spec.shape, options.dtype, image));
    tensors.emplace_back(spec.name, std::move(tensor));
  }
  if (base_ != nullptr) {
    return base::Annotate(
        model::Transformer::Variant(*base_, tensors, {.adapter_scale = adapter_scale_}),
        weights::Describe(manifest));
  }
  return base::Annotate(model::Transformer::FromTensors(descriptor_, std::move(tensors), options),
                        weights::Describe(manifest));
}

void PolicyCache::KeepOnly(absl::Span<const int64_t> versions) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(policies_, [&](const auto& entry) {
    return std::find(versions.begin(), versions.end(), entry.first) == versions.end();
  });
}

}  // namespace dtrpo::rollout
