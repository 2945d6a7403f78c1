#include "common/model/checkpoint_tensors.h"

#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace dtrpo::model {
namespace {

struct DtypeRow {
  checkpoint::DType file;
  torch::Dtype memory;
};
constexpr std::array kDtypes = {DtypeRow{checkpoint::DType::kF32, torch::kFloat32},
                                DtypeRow{checkpoint::DType::kBF16, torch::kBFloat16},
                                DtypeRow{checkpoint::DType::kF16, torch::kFloat16},
                                DtypeRow{checkpoint::DType::kF64, torch::kFloat64}};

checkpoint::DType FileDtype(torch::Dtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.memory == dtype) return row.file;
  }
  DTRPO_CHECK(false) << "no safetensors word for " << c10::toString(dtype);
  return checkpoint::DType::kF32;
}

}  // namespace

absl::StatusOr<torch::Dtype> ParseDtype(absl::string_view word) {
  for (const DtypeRow& row : kDtypes) {
    if (checkpoint::DTypeName(row.file) == word) return row.memory;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("dtype '", word, "' is none of F32, BF16, F16, F64"));
}

absl::string_view DtypeWord(torch::Dtype dtype) { return checkpoint::DTypeName(FileDtype(dtype)); }

absl::StatusOr<torch::Tensor> BorrowTensor(absl::Span<const char> bytes,
                                           const std::vector<int64_t>& shape, torch::Dtype dtype,
                                           std::shared_ptr<const void> owner) {
  uint64_t expected = c10::elementSize(dtype);
  for (int64_t size : shape) expected *= static_cast<uint64_t>(size);
  if (expected != bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(bytes.size(), " bytes for a tensor of ", expected));
  }
  const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % c10::elementSize(dtype) == 0;
  if (bytes.empty() || !aligned) {
    torch::Tensor copy = torch::empty(shape, dtype);
    if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  return torch::from_blob(
      const_cast<char*>(bytes.data()), shape, [owner = std::move(owner)](void*) {}, dtype);
}

std::vector<checkpoint::TensorView> TensorViews(const NamedTensors& tensors) {
  std::vector<checkpoint::TensorView> views;
  views.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    DTRPO_CHECK(tensor.is_contiguous() && tensor.device().is_cpu()) << name;
    checkpoint::TensorView view;
    view.name = name;
    view.dtype = FileDtype(tensor.scalar_type());
    view.shape = tensor.sizes().vec();
    view.data =
        absl::MakeConstSpan(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace dtrpo::model
