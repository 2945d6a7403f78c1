#include "services/rollout/base_image.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::rollout {

absl::StatusOr<std::shared_ptr<const weights::Image>> BaseImage(
    const checkpoint::CheckpointFolder& folder, const std::string& job_id) {
  weights::Manifest manifest;
  manifest.job_id = job_id;
  for (const std::string& name : folder.TensorNames()) {
    const checkpoint::TensorView* tensor = folder.Find(name);
    manifest.tensors.push_back({.name = name,
                                .dtype = std::string(checkpoint::DTypeName(tensor->dtype)),
                                .shape = tensor->shape});
  }
  DTRPO_RETURN_IF_ERROR(base::Annotate(weights::LayOut(manifest), folder.path()));
  weights::StagingArea area(manifest);
  for (const weights::TensorSpec& spec : area.manifest().tensors) {
    std::memcpy(area.MutableTensor(spec).data(), folder.Find(spec.name)->data.data(),
                spec.size_bytes);
  }
  return area.Finish();
}

}  // namespace dtrpo::rollout
