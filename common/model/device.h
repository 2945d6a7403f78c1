// Thread safety: stateless.
//
// Where a model computes. Its weights decide: what a forward, a score or a step makes is made
// beside them. What only the host knows (ids, indices, weights of terms) goes there by ToDevice();
// whole sets of weights come back by ForEachOnHost().
//
// Written with LibTorch's device-independent part, so that builds with and without CUDA compile the
// same source.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace dtrpo::model {

// "cpu"; "cuda:N"; "cuda": GPU number `ordinal` modulo the machine's number of them, so that
// processes that are told their ordinals share them out. INVALID_ARGUMENT: another word, or a GPU
// that isn't there. FAILED_PRECONDITION: this build, or this machine, has none.
absl::StatusOr<torch::Device> ParseDevice(absl::string_view word, int64_t ordinal = 0);

// The tensor there; itself when it is there already. To a GPU by way of pinned memory and behind
// the current stream's work, so the host doesn't wait.
torch::Tensor ToDevice(const torch::Tensor& tensor, const torch::Device& device);

// int64, [values].
torch::Tensor IndexTensor(const std::vector<int64_t>& values, const torch::Device& device);

// Calls take(i, tensor i on the host, contiguous, without gradient) in order. From a GPU the next
// tensor is copied, into pinned memory, while `take` works; at most two are held so.
void ForEachOnHost(const std::vector<torch::Tensor>& tensors,
                   absl::FunctionRef<void(size_t, const torch::Tensor&)> take);

}  // namespace dtrpo::model
