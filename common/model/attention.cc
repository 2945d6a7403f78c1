#include "common/model/attention.h"

namespace dtrpo::model {
namespace {

// [n, G, Lk, E] of the group's rows.
torch::Tensor KeyRowsOf(const AttentionGroup& group, const torch::Tensor& rows) {
  const torch::Tensor picked =
      group.key_begin >= 0 ? rows.narrow(0, group.key_begin, group.segments * group.key_rows)
                           : rows.index_select(0, group.key_index);
  return picked.view({group.segments, group.key_rows, rows.size(1), rows.size(2)}).transpose(1, 2);
}

}  // namespace

torch::Tensor Attend(const std::vector<AttentionGroup>& groups, const torch::Tensor& queries,
                     const torch::Tensor& keys, const torch::Tensor& values) {
  const int64_t H = queries.size(1), E = queries.size(2), G = keys.size(1), F = H / G;
  std::vector<torch::Tensor> outputs;
  outputs.reserve(groups.size());
  for (const AttentionGroup& group : groups) {
    const int64_t n = group.segments, Lq = group.query_rows;
    // All rows of a segment see the same keys, so the F query heads that share a key/value head
    // become rows of one query: no key is repeated, and the matrix products are F times taller.
    const torch::Tensor q = queries.narrow(0, group.query_begin, n * Lq)
                                .view({n, Lq, G, F, E})
                                .permute({0, 2, 3, 1, 4})
                                .reshape({n, G, F * Lq, E});
    const torch::Tensor out =
        at::scaled_dot_product_attention(q, KeyRowsOf(group, keys), KeyRowsOf(group, values));
    outputs.push_back(out.view({n, G, F, Lq, E}).permute({0, 3, 1, 2, 4}).reshape({n * Lq, H * E}));
  }
  return outputs.size() == 1 ? outputs.front() : torch::cat(outputs);
}

}  // namespace dtrpo::model
