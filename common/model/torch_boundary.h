// Thread safety: stateless.
//
// LibTorch throws; the rooms speak absl::Status. This is the only place where one becomes the
// other: whoever calls into common/model from another room, or uses tensors itself, does so inside
// a TorchBoundary.
//
//   absl::StatusOr<torch::Tensor> rows = TorchBoundary([&] { return model.Forward(batch); });
//   absl::Status done = TorchBoundary([&] { optimizer.step(); });
//
// A body that itself returns Status or StatusOr keeps its type. RESOURCE_EXHAUSTED: out of memory.
// INTERNAL: everything else, with LibTorch's message (its backtrace left out).
#pragma once

#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace dtrpo::model {

namespace internal {

// REQUIRES: called inside a catch block.
absl::Status CurrentExceptionAsStatus();

template <typename T>
struct BoundaryResult {
  using type = absl::StatusOr<T>;
};
template <>
struct BoundaryResult<void> {
  using type = absl::Status;
};
template <>
struct BoundaryResult<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct BoundaryResult<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};

}  // namespace internal

template <typename F>
auto TorchBoundary(F&& body) -> typename internal::BoundaryResult<std::invoke_result_t<F>>::type {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
      std::forward<F>(body)();
      return absl::OkStatus();
    } else {
      return std::forward<F>(body)();
    }
  } catch (...) {
    return internal::CurrentExceptionAsStatus();
  }
}

}  // namespace dtrpo::model
