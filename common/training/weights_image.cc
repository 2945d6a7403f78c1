#include "common/training/weights_image.h"

#include <cstring>
#include <utility>
#include <vector>

#include "common/base/status_macros.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/device.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::training {
namespace {

// `manifest`: everything but the tensors.
absl::StatusOr<std::shared_ptr<const weights::Image>> ImageOf(const NamedTensors& tensors,
                                                              weights::Manifest manifest) {
  std::vector<torch::Tensor> sources;
  for (const auto& [name, tensor] : tensors) {
    sources.push_back(tensor);
    manifest.tensors.push_back({.name = name,
                                .dtype = std::string(model::DtypeWord(tensor.scalar_type())),
                                .shape = tensor.sizes().vec()});
  }
  DTRPO_RETURN_IF_ERROR(weights::LayOut(manifest));
  weights::StagingArea area(manifest);
  DTRPO_RETURN_IF_ERROR(model::TorchBoundary([&] {
    model::ForEachOnHost(sources, [&](size_t i, const torch::Tensor& source) {
      const weights::TensorSpec& spec = area.manifest().tensors[i];
      std::memcpy(area.MutableTensor(spec).data(), source.const_data_ptr(), spec.size_bytes);
    });
  }));
  return area.Finish();
}

weights::Manifest ManifestOf(const std::string& job_id, int64_t version, int64_t generation) {
  weights::Manifest manifest;
  manifest.job_id = job_id;
  manifest.version = version;
  manifest.generation = generation;
  return manifest;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const weights::Image>> MakeImage(const model::Transformer& model,
                                                                const std::string& job_id,
                                                                int64_t version,
                                                                int64_t generation) {
  return ImageOf(model.NamedParameters(), ManifestOf(job_id, version, generation));
}

absl::StatusOr<std::shared_ptr<const weights::Image>> MakeImage(const TrainedModel& trained,
                                                                const std::string& job_id,
                                                                int64_t version,
                                                                int64_t generation) {
  weights::Manifest manifest = ManifestOf(job_id, version, generation);
  manifest.base_sha256 = trained.frozen_sha256();
  return ImageOf(trained.trained(), std::move(manifest));
}

}  // namespace dtrpo::training
