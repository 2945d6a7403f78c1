// Thread safety: pure functions. No torch, no disk.
//
// How weights are spread over files, after huggingface_hub's split_torch_state_dict_into_shards:
// tensors in their order, a new file as soon as the next one would exceed the limit, and a file of
// its own for one that exceeds it alone. One file is model.safetensors; several are
// model-00001-of-0000N.safetensors with model.safetensors.index.json beside them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/checkpoint/safetensors.h"

namespace dtrpo::checkpoint {

inline constexpr absl::string_view kModelFile = "model.safetensors";
inline constexpr absl::string_view kModelIndexFile = "model.safetensors.index.json";
inline constexpr int64_t kDefaultShardBytes = 5'000'000'000;  // the hub's "5GB"

struct Shard {
  std::string file;
  std::vector<TensorView> tensors;  // data borrowed from the ones that were split
};

// One shard at least. `max_shard_bytes` counts the tensors' data; 0: kDefaultShardBytes.
// REQUIRES: max_shard_bytes >= 0.
std::vector<Shard> SplitIntoShards(absl::Span<const TensorView> tensors, int64_t max_shard_bytes);

// model.safetensors.index.json as `transformers` writes it: metadata.total_size and weight_map.
std::string ShardIndex(absl::Span<const Shard> shards);

// A name that holds weights in this or another program's format, or lists the files that do: what a
// new checkpoint replaces and so doesn't take over from an old one.
bool IsWeightsFile(absl::string_view name);

}  // namespace dtrpo::checkpoint
