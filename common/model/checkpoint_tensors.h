// Thread safety: pure functions.
//
// Between bytes in files or images and torch tensors, without a copy wherever that is possible.
#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/checkpoint/safetensors.h"
#include "common/model/transformer_weights.h"

namespace dtrpo::model {

// "F32", "BF16", "F16", "F64": the words of safetensors. INVALID_ARGUMENT for others.
absl::StatusOr<torch::Dtype> ParseDtype(absl::string_view word);
// The word of a floating-point dtype. REQUIRES: one of the four.
absl::string_view DtypeWord(torch::Dtype dtype);

// A tensor over borrowed bytes, read-only by agreement; it (and every view of it) keeps `owner`
// alive. Bytes that aren't aligned for the type are copied. INVALID_ARGUMENT when the size doesn't
// fit the shape.
absl::StatusOr<torch::Tensor> BorrowTensor(absl::Span<const char> bytes,
                                           const std::vector<int64_t>& shape, torch::Dtype dtype,
                                           std::shared_ptr<const void> owner);

// What CheckpointWriter and weight images take: name, type, shape, bytes. Borrowed from `tensors`,
// which must be contiguous and on the CPU.
std::vector<checkpoint::TensorView> TensorViews(const NamedTensors& tensors);

}  // namespace dtrpo::model
