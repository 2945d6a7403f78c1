#include "common/checkpoint/shards.h"

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"

namespace dtrpo::checkpoint {

std::vector<Shard> SplitIntoShards(absl::Span<const TensorView> tensors, int64_t max_shard_bytes) {
  DTRPO_CHECK_GE(max_shard_bytes, 0);
  const uint64_t limit =
      static_cast<uint64_t>(max_shard_bytes == 0 ? kDefaultShardBytes : max_shard_bytes);
  std::vector<Shard> shards(1);
  uint64_t bytes = 0;  // of the last shard
  for (const TensorView& tensor : tensors) {
    if (!shards.back().tensors.empty() && bytes + tensor.data.size() > limit) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += tensor.data.size();
    shards.back().tensors.push_back(tensor);
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shards.size() == 1
                         ? std::string(kModelFile)
                         : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
  }
  return shards;
}

std::string ShardIndex(absl::Span<const Shard> shards) {
  uint64_t total = 0;
  nlohmann::json weight_map = nlohmann::json::object();
  for (const Shard& shard : shards) {
    for (const TensorView& tensor : shard.tensors) {
      total += tensor.data.size();
      weight_map[tensor.name] = shard.file;
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  return index.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

bool IsWeightsFile(absl::string_view name) {
  for (absl::string_view suffix :
       {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".h5",
        ".msgpack", ".gguf", ".onnx", ".onnx_data"}) {
    if (absl::EndsWith(name, suffix)) return true;
  }
  return false;
}

}  // namespace dtrpo::checkpoint
