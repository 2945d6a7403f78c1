#include "common/model/layer.h"

#include <utility>

#include "common/model/attention.h"
#include "common/model/lora.h"
#include "common/model/rms_norm.h"
#include "common/model/swiglu.h"
#include "common/model/transformer.h"

namespace dtrpo::model {
namespace {

using checkpoint::ModelDescriptor;

// x W^T, with a bias and an adapter if there are.
torch::Tensor Project(const ForwardPass& pass, const torch::Tensor& x, const torch::Tensor& weight,
                      const torch::Tensor& bias, const Adapter& adapter) {
  const torch::Tensor y =
      bias.defined() ? torch::addmm(bias, x, weight.t()) : torch::mm(x, weight.t());
  return AddAdapter(y, x, adapter, pass.adapter_scale);
}

// normed [R, D] -> its keys and values, or the cache that now holds them too, [rows, G, E].
std::pair<torch::Tensor, torch::Tensor> KeysAndValues(const ForwardPass& pass, int64_t layer,
                                                      const LayerWeights& w,
                                                      const torch::Tensor& normed) {
  const ModelDescriptor& d = pass.descriptor;
  const int64_t R = normed.size(0), G = d.num_key_value_heads, E = d.head_dim;
  torch::Tensor keys = Project(pass, normed, w.key, w.key_bias, w.key_adapter).view({R, G, E});
  const torch::Tensor values =
      Project(pass, normed, w.value, w.value_bias, w.value_adapter).view({R, G, E});
  if (d.qk_norm) keys = RmsNorm(keys, w.key_norm, d.rms_norm_eps);
  keys = pass.rotary.Apply(keys);
  if (pass.cache == nullptr) return {keys, values};
  return {pass.cache->keys(layer).index_copy_(0, pass.plan.cache_rows, keys),
          pass.cache->values(layer).index_copy_(0, pass.plan.cache_rows, values)};
}

// normed [r, D] -> [r, H, E].
torch::Tensor Queries(const ForwardPass& pass, const LayerWeights& w, const torch::Tensor& normed,
                      const Rotary& rotary) {
  const ModelDescriptor& d = pass.descriptor;
  torch::Tensor queries = Project(pass, normed, w.query, w.query_bias, w.query_adapter)
                              .view({normed.size(0), d.num_heads, d.head_dim});
  if (d.qk_norm) queries = RmsNorm(queries, w.query_norm, d.rms_norm_eps);
  return rotary.Apply(queries);
}

}  // namespace

torch::Tensor ApplyLayer(const ForwardPass& pass, int64_t layer, const LayerWeights& w,
                         torch::Tensor x) {
  const ModelDescriptor& d = pass.descriptor;
  const AttentionPlan& plan = pass.plan;
  const double scale = pass.adapter_scale;
  torch::Tensor normed = RmsNorm(x, w.attention_norm, d.rms_norm_eps);
  const auto [keys, values] = KeysAndValues(pass, layer, w, normed);
  torch::Tensor attended;
  if (layer == d.num_layers - 1 && plan.last_rows.defined()) {
    x = x.index_select(0, plan.last_rows);
    if (x.size(0) == 0) return x;
    normed = normed.index_select(0, plan.last_rows);
    attended = Attend(plan.last_groups, Queries(pass, w, normed, pass.rotary.Rows(plan.last_rows)),
                      keys, values);
  } else {
    attended = Attend(plan.groups, Queries(pass, w, normed, pass.rotary), keys, values);
  }
  const torch::Tensor middle =
      AddAdapter(torch::addmm(x, attended, w.output.t()), attended, w.output_adapter, scale);
  normed = RmsNorm(middle, w.feed_forward_norm, d.rms_norm_eps);
  const torch::Tensor gated = SwiGlu(Project(pass, normed, w.gate, {}, w.gate_adapter),
                                     Project(pass, normed, w.up, {}, w.up_adapter));
  return AddAdapter(torch::addmm(middle, gated, w.down.t()), gated, w.down_adapter, scale);
}

}  // namespace dtrpo::model
