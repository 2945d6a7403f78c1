// Thread safety: pure functions over constant tensors; the cache belongs to the caller.
//
// One layer of the transformer: attention and SwiGLU, each behind an RMSNorm and added to what came
// in. Letters as in transformer.h.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>

#include "common/checkpoint/model_descriptor.h"
#include "common/model/attention_plan.h"
#include "common/model/rotary.h"
#include "common/model/transformer_weights.h"

namespace dtrpo::model {

class KvCache;

// What the layers of one forward share.
struct ForwardPass {
  const checkpoint::ModelDescriptor& descriptor;
  AttentionPlan plan;
  Rotary rotary;
  KvCache* cache;        // null: keys are this batch's own rows
  double adapter_scale;  // alpha / rank
};

// x [R, D] -> [R, D]; the last layer: -> [r, D], the output rows.
torch::Tensor ApplyLayer(const ForwardPass& pass, int64_t layer, const LayerWeights& w,
                         torch::Tensor x);

// The same numbers, and the same gradients bit for bit. Keeps nothing but x for the backward pass,
// which computes the layer once more: L times [R, D] and one layer's activations at a time instead
// of all layers' (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Without a
// cache only. The model must outlive the backward pass.
torch::Tensor ApplyLayerRecomputed(const std::shared_ptr<const ForwardPass>& pass, int64_t layer,
                                   const LayerWeights& w, const torch::Tensor& x);

}  // namespace dtrpo::model
