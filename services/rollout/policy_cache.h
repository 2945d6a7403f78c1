// Thread safety: all methods may be called from any thread; the models are const.
//
// The policy of a weights version as a model whose parameters are views into the version's image:
// making one copies nothing. Keeps the models of the versions that were used last, with their
// images; whoever uses a model holds it, and its image, for as long as that takes.
#pragma once

#include <map>
#include <memory>
#include <string>

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
  explicit PolicyCache(const checkpoint::ModelDescriptor& descriptor) : descriptor_(descriptor) {}

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
  absl::Mutex mutex_;
  std::map<int64_t, Policy> policies_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace dtrpo::rollout
