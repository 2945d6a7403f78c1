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
//
// Where only a part is trained (model/trained_parts.h), the rest stays where it is mapped, in the
// dtype that computes: it has no gradients, no masters and no optimizer state.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/job/job_spec.h"
#include "common/model/trained_parts.h"
#include "common/model/transformer.h"

namespace dtrpo::training {

using model::NamedTensors;

// What of the model a job trains.
model::TrainedParts TrainedPartsOf(const job::JobSpec& spec);

struct TrainingOptions {
  torch::Dtype dtype = torch::kFloat32;  // that computes
  model::TrainedParts parts = {};
  bool recompute_activations = false;  // model/layer.h
  torch::Device device = torch::kCPU;  // of weights, masters, gradients and optimizer state
};
TrainingOptions TrainingOptionsOf(const job::JobSpec& spec, torch::Dtype dtype);

class TrainedModel {
 public:
  // The model of a folder; adapters begin as trained_parts.h says. INVALID_ARGUMENT also names the
  // pattern or target that matches nothing.
  static absl::StatusOr<TrainedModel> Load(const checkpoint::CheckpointFolder& folder,
                                           const TrainingOptions& options);
  // Takes a model in full precision whose parameters require gradients. With another `dtype` its
  // parameters become the masters.
  static absl::StatusOr<TrainedModel> Create(std::unique_ptr<model::Transformer> full,
                                             torch::Dtype dtype);
  // Of its own dtype: nothing is copied.
  static TrainedModel Of(std::unique_ptr<model::Transformer> full);

  const model::Transformer& model() const { return *model_; }
  // What an optimizer trains: the masters, or the trained tensors themselves.
  const NamedTensors& parameters() const { return masters_.empty() ? trained_ : masters_; }
  bool has_masters() const { return !masters_.empty(); }
  // The same as the model has and computes with: what a version holds.
  const NamedTensors& trained() const { return trained_; }
  // Of everything else (trained_parts.h); empty: all is trained.
  const std::string& frozen_sha256() const { return frozen_sha256_; }
  // parameters() aren't a checkpoint's weights: a resumed training takes them from its state.
  bool parameters_are_state() const { return has_masters() || !model_->NamedAdapters().empty(); }

  // Gives the masters away, to an optimizer that keeps only a part of them; parameters() are then
  // the model's own. Empty: there are none.
  NamedTensors TakeMasters() { return std::exchange(masters_, {}); }

  // After each backward pass: moves the model's gradients onto the masters'.
  void CollectGradients();
  // After each step: rounds the masters into the model, in place.
  void UpdateModel();
  // Sets parameters(), and the model by them. DATA_LOSS naming the tensor that is missing or has
  // another shape or type; nothing is changed then.
  absl::Status RestoreMasters(const NamedTensors& masters);

 private:
  TrainedModel() = default;

  std::unique_ptr<model::Transformer> model_;
  NamedTensors trained_;  // handles of the model's
  NamedTensors masters_;  // in trained_'s order; empty: the dtype is the masters'
  std::string frozen_sha256_;
};

}  // namespace dtrpo::training
