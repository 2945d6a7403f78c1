#include "common/checkpoint/model_descriptor.h"

#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace dtrpo::checkpoint {
namespace {

absl::Status Refuse(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("model descriptor: ", field, " ", what));
}

absl::Status CheckTokenId(absl::string_view field, int64_t id, int64_t vocab_size) {
  if (id >= 0 && id < vocab_size) return absl::OkStatus();
  return Refuse(field, absl::StrCat("is ", id, ", outside the vocabulary of ", vocab_size));
}

absl::Status CheckSizes(const ModelDescriptor& d) {
  const struct {
    absl::string_view field;
    int64_t value;
  } sizes[] = {{"hidden_size", d.hidden_size}, {"num_layers", d.num_layers},
               {"num_heads", d.num_heads},     {"num_key_value_heads", d.num_key_value_heads},
               {"head_dim", d.head_dim},       {"intermediate_size", d.intermediate_size},
               {"vocab_size", d.vocab_size}};
  for (const auto& size : sizes) {
    if (size.value <= 0 || size.value > INT32_MAX) {
      return Refuse(size.field, absl::StrCat("is ", size.value, ", must be at least 1"));
    }
  }
  if (d.num_heads % d.num_key_value_heads != 0) {
    return Refuse("num_heads", absl::StrCat("is ", d.num_heads, ", no multiple of the ",
                                            d.num_key_value_heads, " key/value heads"));
  }
  if (d.head_dim % 2 != 0) {
    return Refuse("head_dim",
                  absl::StrCat("is ", d.head_dim, ", must be even (RoPE rotates pairs)"));
  }
  if (!std::isfinite(d.rope_theta) || d.rope_theta <= 0) {
    return Refuse("rope_theta", "must be above 0");
  }
  if (!std::isfinite(d.rms_norm_eps) || d.rms_norm_eps <= 0) {
    return Refuse("rms_norm_eps", "must be above 0");
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view ToString(Architecture architecture) {
  switch (architecture) {
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kLlada:
      return "llada";
  }
  return "unknown";
}

absl::string_view ToString(Attention attention) {
  return attention == Attention::kBlockCausal ? "block_causal" : "bidirectional";
}

absl::string_view ToString(BlockOrigin origin) {
  return origin == BlockOrigin::kAbsolute ? "absolute" : "response";
}

absl::Status Validate(const ModelDescriptor& d) {
  DTRPO_RETURN_IF_ERROR(CheckSizes(d));
  if (d.block_size < 0 || (d.block_size == 0 && d.attention == Attention::kBlockCausal)) {
    return Refuse("block_size", absl::StrCat("is ", d.block_size, ", must be at least 1"));
  }
  if (d.sub_block < 0 || d.sub_block > d.block_size) {
    return Refuse("sub_block", absl::StrCat("is ", d.sub_block, ", must be in [0, block_size]"));
  }
  if (d.logit_shift != 0 && d.logit_shift != 1) return Refuse("logit_shift", "must be 0 or 1");
  DTRPO_RETURN_IF_ERROR(CheckTokenId("mask_id", d.mask_id, d.vocab_size));
  DTRPO_RETURN_IF_ERROR(CheckTokenId("pad_id", d.pad_id, d.vocab_size));
  if (d.stop_ids.empty()) return Refuse("stop_ids", "is empty");
  std::set<int32_t> seen;
  for (const int32_t id : d.stop_ids) {
    DTRPO_RETURN_IF_ERROR(CheckTokenId("stop_ids", id, d.vocab_size));
    if (id == d.mask_id) return Refuse("stop_ids", absl::StrCat("holds the mask id ", id));
    if (!seen.insert(id).second) return Refuse("stop_ids", absl::StrCat("holds ", id, " twice"));
  }
  return absl::OkStatus();
}

}  // namespace dtrpo::checkpoint
