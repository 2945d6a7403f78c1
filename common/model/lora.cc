#include "common/model/lora.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/hash.h"
#include "common/base/philox.h"

namespace dtrpo::model {
namespace {

using checkpoint::ModelDescriptor;

bool EndsWithModule(absl::string_view module, absl::string_view target) {
  return module == target || absl::EndsWith(module, absl::StrCat(".", target));
}

absl::Status CheckTargets(const std::vector<std::string>& modules, const LoraOptions& options) {
  for (const std::string& target : options.targets) {
    const bool known = std::any_of(modules.begin(), modules.end(), [&](const std::string& module) {
      return EndsWithModule(module, target);
    });
    if (known) continue;
    const size_t shown = std::min<size_t>(7, modules.size());  // those of the first layer
    return absl::InvalidArgumentError(
        absl::StrCat("lora target '", target, "' is the end of no module's name; there are ",
                     absl::StrJoin(modules.begin(), modules.begin() + shown, ", "), ", ..."));
  }
  return absl::OkStatus();
}

bool Targeted(absl::string_view module, const LoraOptions& options) {
  return options.targets.empty() ||
         std::any_of(options.targets.begin(), options.targets.end(),
                     [&](const std::string& target) { return EndsWithModule(module, target); });
}

// kaiming_uniform with a = sqrt(5), as torch.nn.Linear and PEFT begin: within 1 / sqrt(in).
torch::Tensor RandomA(int64_t rank, int64_t in, base::CounterRng rng) {
  torch::Tensor tensor = torch::empty({rank, in}, torch::kFloat32);
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  float* out = tensor.data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    out[i] = static_cast<float>(bound * (2 * rng.Uniform01() - 1));
  }
  return tensor;
}

}  // namespace

bool IsAdapter(absl::string_view name) {
  return absl::EndsWith(name, kLoraA) || absl::EndsWith(name, kLoraB);
}

std::vector<std::string> AdaptableModules(const ModelDescriptor& descriptor) {
  TransformerWeights unused;
  std::vector<std::string> modules;
  for (const AdapterPlace& place : AdaptersOf(descriptor, unused)) modules.push_back(place.module);
  return modules;
}

absl::StatusOr<NamedTensors> InitialAdapters(const ModelDescriptor& descriptor,
                                             const LoraOptions& options, uint64_t seed) {
  if (absl::Status status = CheckTargets(AdaptableModules(descriptor), options); !status.ok()) {
    return status;
  }
  TransformerWeights unused;
  NamedTensors adapters;
  for (const AdapterPlace& place : AdaptersOf(descriptor, unused)) {
    if (!Targeted(place.module, options)) continue;
    const std::string a = absl::StrCat(place.module, kLoraA);
    adapters.emplace_back(
        a, RandomA(options.rank, place.in, base::CounterRng(seed, base::StableHash(a))));
    adapters.emplace_back(absl::StrCat(place.module, kLoraB),
                          torch::zeros({place.out, options.rank}, torch::kFloat32));
  }
  return adapters;
}

torch::Tensor AddAdapter(const torch::Tensor& y, const torch::Tensor& x, const Adapter& adapter,
                         double scale) {
  if (!adapter.a.defined()) return y;
  return torch::addmm(y, torch::mm(x, adapter.a.t()), adapter.b.t(), /*beta=*/1, scale);
}

torch::Tensor Merged(const torch::Tensor& weight, const Adapter& adapter, double scale) {
  if (!adapter.a.defined()) return weight;
  torch::NoGradGuard no_grad;
  const torch::Dtype wide =
      weight.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  return torch::addmm(weight.to(wide), adapter.b.to(wide), adapter.a.to(wide), /*beta=*/1, scale)
      .to(weight.scalar_type());
}

}  // namespace dtrpo::model
