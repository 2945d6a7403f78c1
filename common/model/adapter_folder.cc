#include "common/model/adapter_folder.h"

#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/safetensors.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/lora.h"
#include "common/model/torch_boundary.h"

namespace dtrpo::model {
namespace {

absl::Status CheckRanks(const NamedTensors& adapters, int64_t rank, const std::string& file) {
  for (const auto& [name, tensor] : adapters) {
    const int64_t dimension = absl::EndsWith(name, kLoraA) ? 0 : 1;
    if (tensor.dim() == 2 && tensor.size(dimension) != rank) {
      return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", name, " has rank ",
                                                     tensor.size(dimension), ", r is ", rank));
    }
  }
  return absl::OkStatus();
}

// After the last dot.
std::string LastPart(const std::string& module) { return module.substr(module.rfind('.') + 1); }

}  // namespace

absl::StatusOr<std::unique_ptr<Transformer>> WithAdapterFolder(const Transformer& base,
                                                               const std::string& path,
                                                               base::FileSystem* files) {
  const std::string config_file = base::JoinPath(path, checkpoint::kAdapterConfigFile);
  DTRPO_ASSIGN_OR_RETURN(const std::string json, files->Read(config_file));
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::AdapterConfig config,
                         checkpoint::ParseAdapterConfig(json, config_file));
  const std::string tensor_file = base::JoinPath(path, checkpoint::kAdapterModelFile);
  DTRPO_ASSIGN_OR_RETURN(const std::shared_ptr<const checkpoint::SafetensorsFile> stored,
                         checkpoint::SafetensorsFile::Map(tensor_file));
  NamedTensors adapters;
  for (const checkpoint::TensorView& view : stored->tensors()) {
    const std::string what = absl::StrCat(tensor_file, ": tensor ", view.name);
    DTRPO_ASSIGN_OR_RETURN(const torch::Dtype dtype,
                           base::Annotate(ParseDtype(checkpoint::DTypeName(view.dtype)), what));
    DTRPO_ASSIGN_OR_RETURN(
        torch::Tensor tensor,
        base::Annotate(BorrowTensor(view.data, view.shape, dtype, stored), what));
    DTRPO_RETURN_IF_ERROR(TorchBoundary([&] { tensor = tensor.to(base.dtype()); }));
    adapters.emplace_back(absl::StripPrefix(view.name, checkpoint::kPeftPrefix), std::move(tensor));
  }
  if (adapters.empty()) return absl::InvalidArgumentError(tensor_file + ": holds no adapters");
  DTRPO_RETURN_IF_ERROR(CheckRanks(adapters, config.rank, tensor_file));
  return base::Annotate(Transformer::Variant(base, adapters, {.adapter_scale = config.scale}),
                        tensor_file);
}

checkpoint::AdapterConfig AdapterConfigOf(const Transformer& model, const std::string& base_path) {
  const NamedTensors& adapters = model.NamedAdapters();
  DTRPO_CHECK(!adapters.empty());
  checkpoint::AdapterConfig config;
  config.base = base_path;
  config.rank = adapters.front().second.size(0);
  config.scale = model.adapter_scale();
  // 5 of 5 / 3, not the product's last bit more.
  config.alpha = std::round(config.scale * static_cast<double>(config.rank) * 1e9) / 1e9;
  std::set<std::string> targeted, last_parts;
  for (const auto& [name, tensor] : adapters) {
    const std::string module(absl::StripSuffix(absl::StripSuffix(name, kLoraA), kLoraB));
    if (!targeted.insert(module).second) continue;
    last_parts.insert(LastPart(module));
    config.targets.push_back(module);
  }
  // "q_proj" where that means no more than what has adapters. PEFT would find LLaDA's head by the
  // name of a layer's last projection.
  for (const auto& [name, tensor] : model.NamedParameters()) {
    const std::string module(absl::StripSuffix(name, ".weight"));
    if (last_parts.contains(LastPart(module)) && !targeted.contains(module)) return config;
  }
  config.targets.assign(last_parts.begin(), last_parts.end());
  return config;
}

}  // namespace dtrpo::model
