#include "services/rollout/base_weights.h"

#include <torch/types.h>

#include <cstring>
#include <utility>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/compute_dtype.h"
#include "common/model/transformer.h"

namespace dtrpo::rollout {

model::TrainedParts TrainedPartsOf(const job::JobSpec& spec) {
  const job::LoraSpec& lora = spec.training.lora;
  return {.patterns = spec.training.trainable,
          .lora = {.rank = lora.rank, .alpha = lora.alpha, .targets = lora.targets},
          .seed = spec.seed};
}

absl::StatusOr<BaseWeights> LoadBase(const checkpoint::CheckpointFolder& folder,
                                     const std::string& job_id, absl::string_view dtype,
                                     const model::TrainedParts& parts,
                                     const torch::Device& device) {
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype chosen, model::ChooseDtype(dtype, folder));
  base::LogInfo("base model", {{"job", job_id},
                               {"path", folder.path()},
                               {"dtype", model::DtypeName(chosen.dtype)},
                               {"device", device.str()},
                               {"why", chosen.why},
                               {"trained", model::Describe(parts)}});
  DTRPO_ASSIGN_OR_RETURN(
      std::shared_ptr<const model::Transformer> model,
      model::Transformer::Load(folder, {.dtype = chosen.dtype,
                                        // Complete versions need it for their bytes only.
                                        .device = parts.all() ? torch::kCPU : device}));
  DTRPO_ASSIGN_OR_RETURN(const model::NamedTensors trained, model::TrainedTensors(*model, parts));
  weights::Manifest manifest;
  manifest.job_id = job_id;
  if (!parts.all()) manifest.base_sha256 = model::FrozenChecksum(*model, trained);
  for (const auto& [name, tensor] : trained) {
    manifest.tensors.push_back({.name = name,
                                .dtype = std::string(model::DtypeWord(chosen.dtype)),
                                .shape = tensor.sizes().vec()});
  }
  DTRPO_RETURN_IF_ERROR(base::Annotate(weights::LayOut(manifest), folder.path()));
  weights::StagingArea area(manifest);
  for (size_t i = 0; i < trained.size(); ++i) {
    const torch::Tensor source = trained[i].second.to(torch::kCPU, chosen.dtype).contiguous();
    const weights::TensorSpec& spec = area.manifest().tensors[i];
    std::memcpy(area.MutableTensor(spec).data(), source.const_data_ptr(), spec.size_bytes);
  }
  BaseWeights base;
  DTRPO_ASSIGN_OR_RETURN(base.image, area.Finish());
  if (parts.all()) return base;
  base.model = std::move(model);
  if (parts.lora.rank > 0) base.adapter_scale = parts.lora.scale();
  return base;
}

}  // namespace dtrpo::rollout
