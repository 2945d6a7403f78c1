#include "tests/unit/model/test_model.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/match.h"
#include "common/base/check.h"

namespace dtrpo::model {

checkpoint::ModelDescriptor TinyDescriptor() {
  checkpoint::ModelDescriptor d;
  d.family = "fast_dllm_v2";
  d.hidden_size = 8;
  d.num_layers = 2;
  d.num_heads = 4;
  d.num_key_value_heads = 2;
  d.head_dim = 4;
  d.intermediate_size = 12;
  d.vocab_size = 11;
  d.rope_theta = 100;
  d.rms_norm_eps = 1e-6;
  d.tie_word_embeddings = true;
  d.qkv_bias = true;
  d.block_size = 4;
  d.logit_shift = 1;
  d.mask_id = 3;
  d.pad_id = 2;
  d.stop_ids = {2};
  return d;
}

std::unique_ptr<Transformer> TinyTransformer(const checkpoint::ModelDescriptor& descriptor,
                                             const LoadOptions& options, uint64_t seed) {
  auto model = Transformer::Random(descriptor, seed, options);
  DTRPO_CHECK_OK(model);
  torch::NoGradGuard no_grad;
  torch::manual_seed(seed);
  for (const auto& [name, parameter] : (*model)->NamedParameters()) {
    const torch::Tensor noise = torch::randn(parameter.sizes(), parameter.options());
    if (absl::StrContains(name, "norm")) {
      parameter.copy_(1 + 0.3 * noise);
    } else if (absl::EndsWith(name, "bias")) {
      parameter.copy_(0.5 * noise);
    } else {
      parameter.copy_(noise / std::sqrt(static_cast<double>(parameter.size(1))));
    }
  }
  return *std::move(model);
}

RowBatch BlockCausalRows(const std::vector<int64_t>& tokens, int64_t block) {
  RowBatch batch;
  const int64_t length = tokens.size();
  batch.token_ids = tokens;
  for (int64_t begin = 0; begin < length; begin += block) {
    const int64_t end = std::min(begin + block, length);
    for (int64_t position = begin; position < end; ++position) batch.positions.push_back(position);
    batch.segments.push_back({begin, end, {{0, end}}});
  }
  return batch;
}

RowBatch TwoHalfRows(const std::vector<int64_t>& noisy, const std::vector<int64_t>& clean,
                     int64_t block) {
  RowBatch batch;
  const int64_t length = clean.size();
  batch.token_ids = noisy;
  batch.token_ids.insert(batch.token_ids.end(), clean.begin(), clean.end());
  for (int half = 0; half < 2; ++half) {
    for (int64_t position = 0; position < length; ++position) batch.positions.push_back(position);
  }
  for (int64_t begin = 0; begin < length; begin += block) {
    const int64_t end = std::min(begin + block, length);
    Segment segment{begin, end, {{begin, end}}};
    if (begin > 0) segment.keys.insert(segment.keys.begin(), {length, length + begin});
    batch.segments.push_back(segment);
  }
  for (int64_t begin = 0; begin < length; begin += block) {
    const int64_t end = std::min(begin + block, length);
    batch.segments.push_back({length + begin, length + end, {{length, length + end}}});
  }
  return batch;
}

RowBatch CompactRows(const std::vector<int64_t>& noisy, const std::vector<int64_t>& clean,
                     int64_t block, int64_t prompt, std::vector<int64_t>* source_rows) {
  const int64_t length = clean.size();
  const int64_t clean_rows = (length - 1) / block * block;  // without the last block
  RowBatch batch = BlockCausalRows({clean.begin(), clean.begin() + clean_rows}, block);
  source_rows->resize(clean_rows);
  std::iota(source_rows->begin(), source_rows->end(), length);
  for (int64_t begin = prompt / block * block; begin < length; begin += block) {
    const int64_t first_row = batch.token_ids.size();
    for (int64_t position = begin; position < std::min(begin + block, length); ++position) {
      batch.token_ids.push_back(noisy[position]);
      batch.positions.push_back(position);
      source_rows->push_back(position);
    }
    const int64_t end_row = batch.token_ids.size();
    Segment segment{first_row, end_row, {{first_row, end_row}}};
    if (begin > 0) segment.keys.insert(segment.keys.begin(), {0, begin});
    batch.segments.push_back(segment);
  }
  return batch;
}

RowBatch BidirectionalRows(const std::vector<int64_t>& tokens) {
  const int64_t length = tokens.size();
  return BlockCausalRows(tokens, length);
}

float MaxDifference(const torch::Tensor& a, const torch::Tensor& b) {
  DTRPO_CHECK(a.sizes() == b.sizes()) << a.sizes() << " and " << b.sizes();
  return (a - b).abs().max().item<float>();
}

}  // namespace dtrpo::model
