// Thread safety: pure functions.
//
// Low-rank adapters (Hu et al., "LoRA", ICLR 2022) beside frozen projections of the layers:
//
//   y = W x + (alpha / rank) B A x          W [out, in], A [rank, in], B [out, rank]
//
// Names follow PEFT's without its prefix: the tensor "<module>.weight" has the adapters
// "<module>.lora_A.weight" and "<module>.lora_B.weight". They are applied as they are, by everyone:
// a merged copy would cost a model's memory for each version that is held, and in bfloat16 it would
// round most of a small update away, so that rollouts and learner disagreed.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/model/transformer_weights.h"

namespace dtrpo::model {

inline constexpr absl::string_view kLoraA = ".lora_A.weight";
inline constexpr absl::string_view kLoraB = ".lora_B.weight";

struct LoraOptions {
  int64_t rank = 0;  // 0: no adapters
  double alpha = 0;  // 0: twice the rank
  // Modules by the end of their name, whole parts of it ("q_proj", "self_attn.o_proj"); empty: all
  // projections of the layers.
  std::vector<std::string> targets = {};

  double scale() const { return alpha == 0 ? 2 : alpha / static_cast<double>(rank); }
};

bool IsAdapter(absl::string_view name);

// What a training begins with, as PEFT does: A uniform within 1 / sqrt(in), B zero, so that the
// model is its base exactly. float32, in checkpoint order, each a pure function of (seed, its
// name). INVALID_ARGUMENT naming the target that no module of the model ends with.
absl::StatusOr<NamedTensors> InitialAdapters(const checkpoint::ModelDescriptor& descriptor,
                                             const LoraOptions& options, uint64_t seed);

// Modules of the layers that can have adapters, in checkpoint order:
// "model.layers.0.self_attn.q_proj".
std::vector<std::string> AdaptableModules(const checkpoint::ModelDescriptor& descriptor);

// y + scale B A x, or y where there is no adapter. x [R, in], y [R, out].
torch::Tensor AddAdapter(const torch::Tensor& y, const torch::Tensor& x, const Adapter& adapter,
                         double scale);

// W + scale B A, summed in float32 and rounded to W's dtype; W itself where there is no adapter.
torch::Tensor Merged(const torch::Tensor& weight, const Adapter& adapter, double scale);

}  // namespace dtrpo::model
