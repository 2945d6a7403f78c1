#include "services/rollout/base_image.h"

#include <torch/types.h>

#include <cstring>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/compute_dtype.h"
#include "common/model/transformer.h"

namespace dtrpo::rollout {

absl::StatusOr<std::shared_ptr<const weights::Image>> BaseImage(
    const checkpoint::CheckpointFolder& folder, const std::string& job_id,
    absl::string_view dtype) {
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype chosen, model::ChooseDtype(dtype, folder));
  base::LogInfo("base model", {{"job", job_id},
                               {"path", folder.path()},
                               {"dtype", model::DtypeName(chosen.dtype)},
                               {"why", chosen.why}});
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<model::Transformer> model,
                         model::Transformer::Load(folder, {.dtype = chosen.dtype}));
  const model::NamedTensors& parameters = model->NamedParameters();
  weights::Manifest manifest;
  manifest.job_id = job_id;
  for (const auto& [name, tensor] : parameters) {
    manifest.tensors.push_back({.name = name,
                                .dtype = std::string(model::DtypeWord(tensor.scalar_type())),
                                .shape = tensor.sizes().vec()});
  }
  DTRPO_RETURN_IF_ERROR(base::Annotate(weights::LayOut(manifest), folder.path()));
  weights::StagingArea area(manifest);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const torch::Tensor source = parameters[i].second.contiguous();
    const weights::TensorSpec& spec = area.manifest().tensors[i];
    std::memcpy(area.MutableTensor(spec).data(), source.const_data_ptr(), spec.size_bytes);
  }
  return area.Finish();
}

}  // namespace dtrpo::rollout
