// Thread safety: one thread at a time.
//
// A model in training. In float32 it is just that. In bfloat16 its parameters can't take a step: an
// update is usually smaller than half of a weight's last bit and would be rounded away. So an
// optimizer trains float32 masters, and the model that computes is their rounded copy:
//
//   masters --round, after each step--> model --forward, backward--> its gradients
//      ^------------- step, clipping <-- float32 gradients of masters <---/ added up in float32
//
// The copy is what is pushed and saved, so everyone computes with the same bits; masters and the
// optimizer's state are what a resumed training needs to go on bit for bit.
#pragma once

#include <torch/types.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/transformer.h"

namespace dtrpo::training {

using model::NamedTensors;

class TrainedModel {
 public:
  // Takes a model in full precision whose parameters require gradients. With another `dtype` its
  // parameters become the masters.
  static absl::StatusOr<TrainedModel> Create(std::unique_ptr<model::Transformer> full,
                                             torch::Dtype dtype);
  // Of its own dtype: nothing is copied.
  static TrainedModel Of(std::unique_ptr<model::Transformer> full);

  const model::Transformer& model() const { return copy_ == nullptr ? *full_ : *copy_; }
  // What an optimizer trains: the masters, or the model's parameters themselves.
  const NamedTensors& parameters() const { return full_->NamedParameters(); }
  bool has_masters() const { return copy_ != nullptr; }

  // After each backward pass: moves the model's gradients onto the masters'.
  void CollectGradients();
  // After each step: rounds the masters into the model, in place.
  void UpdateModel();
  // DATA_LOSS naming the tensor that is missing or has another shape or type; nothing is changed
  // then. REQUIRES: has_masters().
  absl::Status RestoreMasters(const NamedTensors& masters);

 private:
  TrainedModel(std::unique_ptr<model::Transformer> full, std::unique_ptr<model::Transformer> copy)
      : full_(std::move(full)), copy_(std::move(copy)) {}

  std::unique_ptr<model::Transformer> full_;
  std::unique_ptr<model::Transformer> copy_;  // null: the dtype is full_'s
};

}  // namespace dtrpo::training
