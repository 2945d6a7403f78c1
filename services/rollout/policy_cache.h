// Thread safety: all methods may be called from any thread; the models are const.
//
// The policy of a weights version as a model whose parameters are views into the version's image,
// and of the base model where the version doesn't hold them: making one copies nothing, unless to
// another device than the CPU. Keeps the
// models of the versions that were used last, with their images; whoever uses a model holds it, and
// its image, for as long as that takes.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/model/transformer.h"
#include "common/weights/image.h"

namespace dtrpo::rollout {

class PolicyCache {
 public:
  // For versions that hold all tensors.
  explicit PolicyCache(const checkpoint::ModelDescriptor& descriptor,
                       const torch::Device& device = torch::kCPU)
      : descriptor_(descriptor), device_(device) {}
  // For versions that hold what is trained of `base`, which is on `device`; null: all.
  PolicyCache(const checkpoint::ModelDescriptor& descriptor,
              std::shared_ptr<const model::Transformer> base, double adapter_scale,
              const torch::Device& device = torch::kCPU)
      : descriptor_(descriptor),
        device_(device),
        base_(std::move(base)),
        adapter_scale_(adapter_scale) {}

  absl::StatusOr<std::shared_ptr<const model::Transformer>> Get(
      const std::shared_ptr<const weights::Image>& image) ABSL_LOCKS_EXCLUDED(mutex_);

  void KeepOnly(absl::Span<const int64_t> versions) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Policy {
    std::string sha256;
    std::shared_ptr<const model::Transformer> model;
  };
  absl::StatusOr<std::shared_ptr<const model::Transformer>> Make(
      const std::shared_ptr<const weights::Image>& image) const;

  const checkpoint::ModelDescriptor descriptor_;
  const torch::Device device_;
  const std::shared_ptr<const model::Transformer> base_;
  const double adapter_scale_ = 0;
  absl::Mutex mutex_;
  std::map<int64_t, Policy> policies_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::rollout
