#include "common/training/weights_image.h"

#include <cstring>

#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"

namespace dtrpo::training {
absl::StatusOr<std::shared_ptr<const weights::Image>> MakeImage(const model::Transformer& model,
                                                                const std::string& job_id,
                                                                int64_t version,
                                                                int64_t generation) {
  weights::Manifest manifest;
  manifest.job_id = job_id;
  manifest.version = version;
  manifest.generation = generation;
  const auto& parameters = model.NamedParameters();
  for (const auto& [name, tensor] : parameters) {
    manifest.tensors.push_back({.name = name,
                                .dtype = std::string(model::DtypeWord(tensor.scalar_type())),
                                .shape = tensor.sizes().vec()});
  }
  DTRPO_RETURN_IF_ERROR(weights::LayOut(manifest));
  weights::StagingArea area(manifest);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const weights::TensorSpec& spec = area.manifest().tensors[i];
    const torch::Tensor source = parameters[i].second.detach().to(torch::kCPU).contiguous();
    std::memcpy(area.MutableTensor(spec).data(), source.const_data_ptr(), spec.size_bytes);
  }
  return area.Finish();
}

}  // namespace dtrpo::training
