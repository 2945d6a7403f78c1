#include "common/model/trained_parts.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/sha256.h"
#include "common/model/checkpoint_tensors.h"

namespace dtrpo::model {
namespace {

constexpr size_t kNamesShown = 8;

bool Matches(const std::string& pattern, const std::string& name) {
  return fnmatch(pattern.c_str(), name.c_str(), /*flags=*/0) == 0;
}

absl::Status NothingMatches(const std::string& pattern, const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(kNamesShown, tensors.size()); ++i) {
    names.push_back(tensors[i].first);
  }
  return absl::InvalidArgumentError(absl::StrCat("training.trainable: '", pattern,
                                                 "' matches no tensor of the model; there are ",
                                                 absl::StrJoin(names, ", "), ", ..."));
}

}  // namespace

std::string Describe(const TrainedParts& parts) {
  if (parts.all()) return "all tensors";
  if (parts.lora.rank == 0) return absl::StrCat("tensors ", absl::StrJoin(parts.patterns, ", "));
  const LoraOptions& lora = parts.lora;
  return absl::StrCat("LoRA rank ", lora.rank, ", alpha ",
                      lora.scale() * static_cast<double>(lora.rank), ", targets ",
                      lora.targets.empty() ? "all" : absl::StrJoin(lora.targets, ", "));
}

absl::StatusOr<NamedTensors> TrainedTensors(const Transformer& model, const TrainedParts& parts) {
  if (parts.lora.rank > 0) return InitialAdapters(model.descriptor(), parts.lora, parts.seed);
  const NamedTensors& all = model.NamedParameters();
  if (parts.patterns.empty()) return all;
  for (const std::string& pattern : parts.patterns) {
    if (std::none_of(all.begin(), all.end(),
                     [&](const auto& tensor) { return Matches(pattern, tensor.first); })) {
      return NothingMatches(pattern, all);
    }
  }
  NamedTensors trained;
  for (const auto& tensor : all) {
    if (std::any_of(parts.patterns.begin(), parts.patterns.end(),
                    [&](const std::string& pattern) { return Matches(pattern, tensor.first); })) {
      trained.push_back(tensor);
    }
  }
  return trained;
}

std::string FrozenChecksum(const Transformer& model, const NamedTensors& trained) {
  std::set<std::string> left_out;
  for (const auto& [name, tensor] : trained) left_out.insert(name);
  base::Sha256 checksum;
  for (const auto& [name, parameter] : model.NamedParameters()) {
    if (left_out.contains(name)) continue;
    const torch::Tensor tensor = parameter.detach().to(torch::kCPU).contiguous();
    checksum.Update(absl::StrCat(name, " ", DtypeWord(tensor.scalar_type()), " ",
                                 absl::StrJoin(tensor.sizes(), ","), ";"));
    checksum.Update({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  return checksum.FinishHex();
}

}  // namespace dtrpo::model
