#include "common/model/attention.h"

#include <torch/autograd.h>
#include <torch/custom_class.h>
#include <torch/utils.h>

#include <memory>
#include <tuple>
#include <utility>

namespace dtrpo::model {
namespace {

// [n, G, Lk, E] of the group's rows.
torch::Tensor KeyRowsOf(const AttentionGroup& group, const torch::Tensor& rows) {
  const torch::Tensor picked =
      group.key_begin >= 0 ? rows.narrow(0, group.key_begin, group.segments * group.key_rows)
                           : rows.index_select(0, group.key_index);
  return picked.view({group.segments, group.key_rows, rows.size(1), rows.size(2)}).transpose(1, 2);
}

// The group's part of [R, G * F, E] <-> [n, G, F * Lq, E]: all rows of a segment see the same keys,
// so the F query heads that share a key/value head become rows of one query. No key is repeated,
// and the matrix products are F times taller.
torch::Tensor Stacked(const AttentionGroup& group, const torch::Tensor& rows, int64_t G) {
  const int64_t n = group.segments, Lq = group.query_rows, F = rows.size(1) / G, E = rows.size(2);
  return rows.narrow(0, group.query_begin, n * Lq)
      .view({n, Lq, G, F, E})
      .permute({0, 2, 3, 1, 4})
      .reshape({n, G, F * Lq, E});
}
void Unstack(const AttentionGroup& group, const torch::Tensor& stacked, torch::Tensor& rows) {
  const int64_t n = group.segments, Lq = group.query_rows, G = stacked.size(1),
                F = rows.size(1) / G, E = rows.size(2);
  rows.narrow(0, group.query_begin, n * Lq)
      .view({n, Lq, G, F, E})
      .copy_(stacked.view({n, G, F, Lq, E}).permute({0, 3, 1, 2, 4}));
}

torch::Tensor AttendWithoutGradient(const std::vector<AttentionGroup>& groups,
                                    const torch::Tensor& queries, const torch::Tensor& keys,
                                    const torch::Tensor& values) {
  torch::Tensor attended = torch::empty_like(queries, torch::MemoryFormat::Contiguous);
  for (const AttentionGroup& group : groups) {
    Unstack(group,
            at::scaled_dot_product_attention(Stacked(group, queries, keys.size(1)),
                                             KeyRowsOf(group, keys), KeyRowsOf(group, values)),
            attended);
  }
  return attended;
}

// For the backward pass, queries, keys, values and result are kept, each row once, and one number a
// query: what a segment gathers of them is gathered again. Kept, it would be a copy of the keys for
// each segment that sees them, which grows with the square of a sequence's length.
struct SegmentAttention : public torch::autograd::Function<SegmentAttention> {
  struct Groups : torch::CustomClassHolder {
    std::vector<AttentionGroup> list;
  };

  static torch::Tensor forward(torch::autograd::AutogradContext* context,
                               const torch::Tensor& queries, const torch::Tensor& keys,
                               const torch::Tensor& values,
                               const std::vector<AttentionGroup>& groups) {
    torch::Tensor attended = torch::empty_like(queries, torch::MemoryFormat::Contiguous);
    torch::autograd::variable_list kept = {queries, keys, values, attended};
    for (const AttentionGroup& group : groups) {
      auto [out, log_sums] = at::_scaled_dot_product_flash_attention_for_cpu(
          Stacked(group, queries, keys.size(1)), KeyRowsOf(group, keys), KeyRowsOf(group, values));
      Unstack(group, out, attended);
      kept.push_back(std::move(log_sums));
    }
    context->save_for_backward(std::move(kept));
    auto holder = c10::make_intrusive<Groups>();
    holder->list = groups;
    context->saved_data["groups"] = c10::IValue::make_capsule(std::move(holder));
    return attended;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const torch::autograd::variable_list kept = context->get_saved_variables();
    const torch::Tensor &queries = kept[0], &keys = kept[1], &values = kept[2], &attended = kept[3];
    const auto holder = context->saved_data["groups"].toCapsule();
    const auto& groups = static_cast<const Groups&>(*holder).list;
    const torch::Tensor gradient = gradients[0].contiguous();
    const int64_t G = keys.size(1);
    torch::Tensor to_queries = torch::empty_like(queries, torch::MemoryFormat::Contiguous);
    torch::Tensor to_keys = torch::zeros_like(keys, torch::MemoryFormat::Contiguous);
    torch::Tensor to_values = torch::zeros_like(values, torch::MemoryFormat::Contiguous);
    for (size_t i = 0; i < groups.size(); ++i) {
      const AttentionGroup& group = groups[i];
      const auto [q, k, v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          Stacked(group, gradient, G), Stacked(group, queries, G), KeyRowsOf(group, keys),
          KeyRowsOf(group, values), Stacked(group, attended, G), kept[4 + i], /*dropout_p=*/0,
          /*is_causal=*/false);
      Unstack(group, q, to_queries);
      AddKeyRows(group, k, to_keys);
      AddKeyRows(group, v, to_values);
    }
    return {to_queries, to_keys, to_values, torch::Tensor()};
  }

 private:
  // The reverse of KeyRowsOf: adds [n, G, Lk, E] to the rows it came from.
  static void AddKeyRows(const AttentionGroup& group, const torch::Tensor& gradient,
                         torch::Tensor& rows) {
    const torch::Tensor flat =
        gradient.transpose(1, 2).reshape({-1, rows.size(1), rows.size(2)});  // [n * Lk, G, E]
    if (group.key_begin >= 0) {
      rows.narrow(0, group.key_begin, flat.size(0)).add_(flat);
    } else {
      rows.index_add_(0, group.key_index, flat);
    }
  }
};

// Other devices' kernels are chosen by LibTorch, each with a backward of its own.
torch::Tensor AttendOnDevice(const std::vector<AttentionGroup>& groups,
                             const torch::Tensor& queries, const torch::Tensor& keys,
                             const torch::Tensor& values) {
  const int64_t H = queries.size(1), E = queries.size(2), G = keys.size(1), F = H / G;
  std::vector<torch::Tensor> outputs;
  for (const AttentionGroup& group : groups) {
    const int64_t n = group.segments, Lq = group.query_rows;
    const torch::Tensor out = at::scaled_dot_product_attention(
        Stacked(group, queries, G), KeyRowsOf(group, keys), KeyRowsOf(group, values));
    outputs.push_back(out.view({n, G, F, Lq, E}).permute({0, 3, 1, 2, 4}).reshape({n * Lq, H, E}));
  }
  return outputs.size() == 1 ? outputs.front() : torch::cat(outputs);
}

}  // namespace

torch::Tensor Attend(const std::vector<AttentionGroup>& groups, const torch::Tensor& queries,
                     const torch::Tensor& keys, const torch::Tensor& values) {
  const bool differentiable =
      torch::GradMode::is_enabled() &&
      (queries.requires_grad() || keys.requires_grad() || values.requires_grad());
  const torch::Tensor attended =
      !differentiable             ? AttendWithoutGradient(groups, queries, keys, values)
      : queries.device().is_cpu() ? SegmentAttention::apply(queries, keys, values, groups)
                                  : AttendOnDevice(groups, queries, keys, values);
  return attended.flatten(1);
}

}  // namespace dtrpo::model
