// Thread safety: one thread at a time; its hooks run on autograd's threads during a backward pass.
//
// AdamW over several ranks (ZeRO stage 1, sharded_layout.h). Every rank computes with the whole
// model; gradients, masters and moments are shared out. A step:
//
//   BeginStep()
//   for each micro-batch:  [BeforeLastBackward()]  backward()    gradients add up per bucket
//                           the last one: a bucket whose gradients are complete leaves at once for
//                           its reduce-scatter, while the backward pass goes on
//   FinishGradients()       what hasn't left leaves; waits for all: this rank's slice of the sums
//   Step(rate, factor)      AdamW on the slice, then each bucket's all-gather, while the next
//                           bucket is updated
//
// Buckets leave in the same order on all ranks, whatever order their gradients come in. The model's
// parameters become views of the buckets (in place: everyone who holds them sees that), so what
// all-gather receives is the model. Gradients are added up, and reduced, in float32 at least.
//
// Bytes per parameter of W bytes on each of N ranks: W (model) + 4 (gradients) + (8 + [4 if
// W < 4]) / N (moments, masters). docs/scaling.md has the sum.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collectives/process_group.h"
#include "common/training/adamw.h"
#include "common/training/saved_optimizer.h"
#include "common/training/sharded_layout.h"
#include "common/training/trained_model.h"

namespace dtrpo::training {

class ShardedOptimizer {
 public:
  struct Options {
    AdamWOptions adamw;
    int64_t bucket_bytes = int64_t{32} << 20;  // of gradients
  };
  // Takes the masters out of `trained`, if it has any. All ranks have the same weights. `trained`
  // and `group` outlive the optimizer.
  static absl::StatusOr<std::unique_ptr<ShardedOptimizer>> Create(TrainedModel* trained,
                                                                  collectives::ProcessGroup* group,
                                                                  const Options& options);
  ~ShardedOptimizer();

  void BeginStep();
  void BeforeLastBackward();
  absl::Status FinishGradients();
  // Of this rank's slices, after FinishGradients; the sum over the ranks is the square of the norm
  // of all gradients.
  double SquaresOfGradients() const;
  absl::Status Step(double learning_rate, double gradient_factor);

  // This rank's part of the state, as the optimizer's file of a checkpoint has it: AdamW's names
  // (adamw.h) and "master.<name>", each cut into ranges (saved_optimizer.h). Views.
  NamedTensors State() const;
  // From the files of any number of ranks; all ranks call it. DATA_LOSS naming the tensor.
  absl::Status Restore(const SavedOptimizer& saved);

  int rank() const { return group_->rank(); }
  int world() const { return group_->world(); }

 private:
  struct Hook;
  // Tensors by piece, all 1-D views.
  struct OwnPiece {
    Piece piece;
    bool decayed = false;
    torch::Tensor master, gradient, exp_avg, exp_avg_sq, steps;
  };
  struct FlatBucket {
    Bucket layout;
    torch::Tensor parameters;       // [length], of the model's dtype
    torch::Tensor gradients;        // [length]
    torch::Tensor gradient_slice;   // [length / N]
    torch::Tensor parameter_slice;  // [length / N], view of `parameters`
    torch::Tensor master_slice;     // parameter_slice itself, or float32 of its own
    std::vector<OwnPiece> pieces;
    int64_t missing = 0;  // gradients that the pass under way has yet to give
    collectives::ProcessGroup::Pending reduction;
  };

  ShardedOptimizer(TrainedModel* trained, collectives::ProcessGroup* group, const Options& options);
  void Flatten(const NamedTensors& masters);
  void OnGradient(int64_t parameter);
  void LaunchReady();
  absl::Status Gather();
  void UpdatePieces(FlatBucket& bucket, double learning_rate, bool decayed);

  collectives::ProcessGroup* const group_;
  const Options options_;
  NamedTensors parameters_;  // of the model that computes
  const bool has_masters_;
  const bool saves_masters_;  // the model's weights don't tell them
  std::vector<FlatBucket> buckets_;
  std::vector<int64_t> bucket_of_;          // by parameter
  std::vector<torch::Tensor> gradient_of_;  // by parameter: view of its bucket's gradients
  bool last_pass_ = false;
  size_t launched_ = 0;  // buckets [0, launched_) are on their way
  bool late_gradient_ = false;
};

}  // namespace dtrpo::training
