// Thread safety: plain data; const access from many threads is fine. No torch.
//
// What the rest of the system needs to know about a model, as data: one transformer, one sampler
// and one scorer serve every family, and differ by these fields only.
//
//   family        arch    attention      block  shift  mask token    origin
//   fast_dllm_v2  qwen2   block-causal   32     1      |<MASK>|      absolute
//   sdar          qwen3   block-causal   4..64  0      <|MASK|>      absolute
//   llada         llada   bidirectional  -      0      <|mdm_mask|>  response
//   dream         qwen2   bidirectional  -      1      <|mask|>      response
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace dtrpo::checkpoint {

enum class Architecture { kQwen2, kQwen3, kLlada };  // decides the tensor names
enum class Attention { kBlockCausal, kBidirectional };
enum class BlockOrigin { kAbsolute, kResponse };  // where block 0 begins: prompt or response

struct ModelDescriptor {
  std::string family;
  Architecture architecture = Architecture::kQwen2;
  Attention attention = Attention::kBlockCausal;
  BlockOrigin block_origin = BlockOrigin::kAbsolute;

  int64_t hidden_size = 0;          // D
  int64_t num_layers = 0;           // L
  int64_t num_heads = 0;            // H
  int64_t num_key_value_heads = 0;  // G, divides H
  int64_t head_dim = 0;             // E, even
  int64_t intermediate_size = 0;    // width inside the feed-forward part
  int64_t vocab_size = 0;           // V, rows of the embedding; the tokenizer may know fewer
  double rope_theta = 0;
  double rms_norm_eps = 0;
  double initializer_range = 0.02;   // standard deviation of random matrices
  bool tie_word_embeddings = false;  // the head is the embedding and has no tensor of its own
  bool qkv_bias = false;
  bool qk_norm = false;  // RMSNorm per head on q and k before RoPE

  int32_t block_size = 0;   // B; 0: the family has none and the job chooses
  int32_t sub_block = 0;    // what the released sampler uses; 0: the whole block
  int32_t logit_shift = 0;  // 1: row i-1 predicts token i
  int32_t mask_id = 0;
  int32_t pad_id = 0;
  std::vector<int32_t> stop_ids;  // not empty, no duplicates, the mask is none of them
};

// "qwen2", "block_causal", "absolute": for messages and logs.
absl::string_view ToString(Architecture architecture);
absl::string_view ToString(Attention attention);
absl::string_view ToString(BlockOrigin origin);

// The rules above, and ranges. INVALID_ARGUMENT naming the field. A descriptor made by
// DescribeModel() is valid; tests and tools that fill one in by hand check it here.
absl::Status Validate(const ModelDescriptor& descriptor);

}  // namespace dtrpo::checkpoint
