#include "common/model/device.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/utils.h>

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"

namespace dtrpo::model {

absl::StatusOr<torch::Device> ParseDevice(absl::string_view word, int64_t ordinal) {
  DTRPO_CHECK_GE(ordinal, 0);
  if (word == "cpu") return torch::Device(torch::kCPU);
  absl::string_view rest = word;
  int32_t number = -1;  // of the GPU
  const bool numbered =
      absl::ConsumePrefix(&rest, "cuda:") && absl::SimpleAtoi(rest, &number) && number >= 0;
  if (word != "cuda" && !numbered) {
    return absl::InvalidArgumentError(
        absl::StrCat("device '", word, "' is none of cpu, cuda, cuda:N"));
  }
  if (!c10::impl::hasDeviceGuardImpl(c10::DeviceType::CUDA)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device '", word, "': this build has no CUDA: configure with -D DTRPO_CUDA=ON"));
  }
  const int64_t count = c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).deviceCount();
  if (count == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("device '", word, "': this machine has no GPU that CUDA finds"));
  }
  if (number >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("device '", word, "': this machine's GPUs are 0 to ", count - 1));
  }
  return torch::Device(c10::DeviceType::CUDA,
                       static_cast<c10::DeviceIndex>(numbered ? number : ordinal % count));
}

torch::Tensor ToDevice(const torch::Tensor& tensor, const torch::Device& device) {
  if (tensor.device() == device) return tensor;
  const bool pinned = device.is_cuda() && tensor.device().is_cpu();
  return (pinned ? tensor.pin_memory() : tensor)
      .to(torch::TensorOptions(device), /*non_blocking=*/pinned);
}

torch::Tensor IndexTensor(const std::vector<int64_t>& values, const torch::Device& device) {
  return ToDevice(torch::tensor(values, torch::kInt64), device);
}

void ForEachOnHost(const std::vector<torch::Tensor>& tensors,
                   absl::FunctionRef<void(size_t, const torch::Tensor&)> take) {
  struct Copy {
    torch::Tensor host;
    std::optional<c10::Event> arrived;  // none: it is there
  };
  const auto start = [](const torch::Tensor& tensor) {
    const torch::Tensor own = tensor.detach().contiguous();
    Copy copy;
    if (own.device().is_cpu()) {
      copy.host = own;
      return copy;
    }
    copy.host = own.to(torch::TensorOptions(torch::kCPU), /*non_blocking=*/true);
    copy.arrived.emplace(own.device().type());
    copy.arrived->record(c10::impl::VirtualGuardImpl(own.device().type()).getStream(own.device()));
    return copy;
  };
  std::optional<Copy> next;
  if (!tensors.empty()) next = start(tensors[0]);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Copy current = *std::exchange(next, std::nullopt);
    if (i + 1 < tensors.size()) next = start(tensors[i + 1]);
    if (current.arrived.has_value()) current.arrived->synchronize();
    take(i, current.host);
  }
}

}  // namespace dtrpo::model
