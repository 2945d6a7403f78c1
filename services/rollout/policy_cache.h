// Thread safety: one thread at a time (the sampling loop).
//
// The policy of a weights version as a model whose parameters are views into the version's image:
// making one copies nothing. Keeps the models of the versions that were used last, with their
// images.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/model/transformer.h"
#include "common/weights/image.h"

namespace dtrpo::rollout {

class PolicyCache {
 public:
  explicit PolicyCache(const checkpoint::ModelDescriptor& descriptor) : descriptor_(descriptor) {}

  // Valid until the next call of KeepOnly that leaves its version out.
  absl::StatusOr<const model::Transformer*> Get(const std::shared_ptr<const weights::Image>& image);

  void KeepOnly(const std::vector<int64_t>& versions);

 private:
  struct Policy {
    std::string sha256;
    std::unique_ptr<model::Transformer> model;
  };
  const checkpoint::ModelDescriptor descriptor_;
  std::map<int64_t, Policy> policies_;
};

}  // namespace dtrpo::rollout
