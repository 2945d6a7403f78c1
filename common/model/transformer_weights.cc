#include "common/model/transformer_weights.h"

#include <cmath>
#include <map>
#include <numbers>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/hash.h"
#include "common/base/philox.h"
#include "common/model/device.h"
#include "common/model/lora.h"

namespace dtrpo::model {
namespace {

using checkpoint::Architecture;
using checkpoint::ModelDescriptor;
using Shape = std::vector<int64_t>;

struct LayerRow {
  torch::Tensor LayerWeights::*field;
  const char* qwen;   // after "model.layers.N."
  const char* llada;  // after "model.transformer.blocks.N."
  Shape (*shape)(const ModelDescriptor&);
  bool (*present)(const ModelDescriptor&);
  Adapter LayerWeights::*adapter = nullptr;  // of projections
};

Shape Hidden(const ModelDescriptor& d) { return {d.hidden_size}; }
Shape Head(const ModelDescriptor& d) { return {d.head_dim}; }
Shape Queries(const ModelDescriptor& d) { return {d.num_heads * d.head_dim}; }
Shape Keys(const ModelDescriptor& d) { return {d.num_key_value_heads * d.head_dim}; }
Shape QueryMatrix(const ModelDescriptor& d) { return {d.num_heads * d.head_dim, d.hidden_size}; }
Shape KeyMatrix(const ModelDescriptor& d) {
  return {d.num_key_value_heads * d.head_dim, d.hidden_size};
}
Shape OutputMatrix(const ModelDescriptor& d) { return {d.hidden_size, d.num_heads * d.head_dim}; }
Shape Wider(const ModelDescriptor& d) { return {d.intermediate_size, d.hidden_size}; }
Shape Narrower(const ModelDescriptor& d) { return {d.hidden_size, d.intermediate_size}; }

bool Always(const ModelDescriptor&) { return true; }
bool WithBias(const ModelDescriptor& d) { return d.qkv_bias; }
bool WithHeadNorm(const ModelDescriptor& d) { return d.qk_norm; }

using W = LayerWeights;
constexpr LayerRow kLayerRows[] = {
    {&W::attention_norm, "input_layernorm.weight", "attn_norm.weight", Hidden, Always},
    {&W::query, "self_attn.q_proj.weight", "q_proj.weight", QueryMatrix, Always, &W::query_adapter},
    {&W::query_bias, "self_attn.q_proj.bias", "q_proj.bias", Queries, WithBias},
    {&W::key, "self_attn.k_proj.weight", "k_proj.weight", KeyMatrix, Always, &W::key_adapter},
    {&W::key_bias, "self_attn.k_proj.bias", "k_proj.bias", Keys, WithBias},
    {&W::value, "self_attn.v_proj.weight", "v_proj.weight", KeyMatrix, Always, &W::value_adapter},
    {&W::value_bias, "self_attn.v_proj.bias", "v_proj.bias", Keys, WithBias},
    {&W::query_norm, "self_attn.q_norm.weight", "q_norm.weight", Head, WithHeadNorm},
    {&W::key_norm, "self_attn.k_norm.weight", "k_norm.weight", Head, WithHeadNorm},
    {&W::output, "self_attn.o_proj.weight", "attn_out.weight", OutputMatrix, Always,
     &W::output_adapter},
    {&W::feed_forward_norm, "post_attention_layernorm.weight", "ff_norm.weight", Hidden, Always},
    {&W::gate, "mlp.gate_proj.weight", "ff_proj.weight", Wider, Always, &W::gate_adapter},
    {&W::up, "mlp.up_proj.weight", "up_proj.weight", Wider, Always, &W::up_adapter},
    {&W::down, "mlp.down_proj.weight", "ff_out.weight", Narrower, Always, &W::down_adapter},
};

struct ModelNames {
  const char* embedding;
  const char* layer;  // "<layer>N.<row>"
  const char* final_norm;
  const char* head;
};
constexpr ModelNames kQwenNames = {"model.embed_tokens.weight", "model.layers.",
                                   "model.norm.weight", "lm_head.weight"};
constexpr ModelNames kLladaNames = {"model.transformer.wte.weight", "model.transformer.blocks.",
                                    "model.transformer.ln_f.weight",
                                    "model.transformer.ff_out.weight"};

const ModelNames& NamesOf(const ModelDescriptor& d) {
  return d.architecture == Architecture::kLlada ? kLladaNames : kQwenNames;
}

std::string ShapeText(torch::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

class Problems {
 public:
  template <typename... Parts>
  void Add(const Parts&... parts) {
    problems_.push_back(absl::StrCat(parts...));
  }
  absl::Status ToStatus(absl::string_view source) const {
    if (problems_.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", absl::StrJoin(problems_, "; ")));
  }

 private:
  std::vector<std::string> problems_;
};

void FillNormal(torch::Tensor& tensor, double deviation, base::CounterRng rng) {
  const torch::Tensor values = torch::empty(tensor.sizes(), torch::kFloat64);
  double* out = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); i += 2) {  // Box-Muller: two words give two normals
    const double radius = std::sqrt(-2.0 * std::log1p(-rng.Uniform01()));
    const double angle = 2.0 * std::numbers::pi * rng.Uniform01();
    out[i] = deviation * radius * std::cos(angle);
    if (i + 1 < values.numel()) out[i + 1] = deviation * radius * std::sin(angle);
  }
  tensor.copy_(values);
}

}  // namespace

std::vector<Parameter> ParametersOf(const ModelDescriptor& d, TransformerWeights& weights) {
  const ModelNames& names = NamesOf(d);
  const bool llada = d.architecture == Architecture::kLlada;
  weights.layers.resize(d.num_layers);
  std::vector<Parameter> parameters;
  parameters.push_back({names.embedding, {d.vocab_size, d.hidden_size}, &weights.embedding});
  for (int64_t layer = 0; layer < d.num_layers; ++layer) {
    for (const LayerRow& row : kLayerRows) {
      if (!row.present(d)) continue;
      parameters.push_back({absl::StrCat(names.layer, layer, ".", llada ? row.llada : row.qwen),
                            row.shape(d), &(weights.layers[layer].*row.field)});
    }
  }
  parameters.push_back({names.final_norm, {d.hidden_size}, &weights.final_norm});
  if (!d.tie_word_embeddings) {
    parameters.push_back({names.head, {d.vocab_size, d.hidden_size}, &weights.head});
  }
  return parameters;
}

std::vector<AdapterPlace> AdaptersOf(const ModelDescriptor& d, TransformerWeights& weights) {
  const ModelNames& names = NamesOf(d);
  const bool llada = d.architecture == Architecture::kLlada;
  weights.layers.resize(d.num_layers);
  std::vector<AdapterPlace> places;
  for (int64_t layer = 0; layer < d.num_layers; ++layer) {
    LayerWeights& tensors = weights.layers[layer];
    for (const LayerRow& row : kLayerRows) {
      if (row.adapter == nullptr) continue;
      const Shape shape = row.shape(d);
      const absl::string_view name = llada ? row.llada : row.qwen;
      places.push_back({absl::StrCat(names.layer, layer, ".", absl::StripSuffix(name, ".weight")),
                        shape[0], shape[1], &(tensors.*row.field), &(tensors.*row.adapter)});
    }
  }
  return places;
}

std::vector<torch::Tensor> TensorsOf(const LayerWeights& layer) {
  std::vector<torch::Tensor> tensors;
  const auto add = [&](const torch::Tensor& tensor) {
    if (tensor.defined()) tensors.push_back(tensor);
  };
  for (const LayerRow& row : kLayerRows) {
    add(layer.*row.field);
    if (row.adapter == nullptr) continue;
    add((layer.*row.adapter).a);
    add((layer.*row.adapter).b);
  }
  return tensors;
}

// The extremes of a tensor are NaN or infinite when any element is.
bool AllFinite(const torch::Tensor& tensor) {
  if (tensor.numel() == 0 || tensor.is_meta()) return true;
  const auto [low, high] = at::aminmax(tensor.flatten());
  return std::isfinite(low.item<double>()) && std::isfinite(high.item<double>());
}

absl::StatusOr<TransformerWeights> AssembleWeights(const ModelDescriptor& descriptor,
                                                   const NamedTensors& tensors, torch::Dtype dtype,
                                                   absl::string_view source) {
  Problems problems;
  std::map<absl::string_view, const torch::Tensor*> unused;
  for (const auto& [name, tensor] : tensors) {
    if (!unused.emplace(name, &tensor).second) problems.Add(name, " is there twice");
  }
  TransformerWeights weights;
  for (Parameter& parameter : ParametersOf(descriptor, weights)) {
    const auto found = unused.find(parameter.name);
    if (found == unused.end()) {
      problems.Add(parameter.name, " is missing");
      continue;
    }
    const torch::Tensor& tensor = *found->second;
    unused.erase(found);
    if (!tensor.is_floating_point()) {
      problems.Add(parameter.name, " holds no floating-point numbers");
    } else if (tensor.sizes() != torch::IntArrayRef(parameter.shape)) {
      problems.Add(parameter.name, " has shape ", ShapeText(tensor.sizes()), ", expected ",
                   ShapeText(parameter.shape));
    } else if (!AllFinite(tensor)) {
      problems.Add(parameter.name, " holds NaN or infinite numbers");
    } else {
      *parameter.tensor = tensor.to(dtype);
    }
  }
  if (descriptor.tie_word_embeddings && weights.embedding.defined()) {
    const auto repeated = unused.find(NamesOf(descriptor).head);
    if (repeated != unused.end() && repeated->second->sizes() == weights.embedding.sizes() &&
        torch::equal(repeated->second->to(dtype), weights.embedding)) {
      unused.erase(repeated);
    }
  }
  for (const auto& [name, tensor] : unused) problems.Add(name, " is not expected");
  if (absl::Status status = problems.ToStatus(source); !status.ok()) return status;
  if (descriptor.tie_word_embeddings) weights.head = weights.embedding;
  return weights;
}

absl::Status ReplaceTensors(const ModelDescriptor& descriptor, const NamedTensors& tensors,
                            bool requires_grad, TransformerWeights& weights) {
  struct Place {
    Shape shape;  // -1: any extent
    torch::Tensor* tensor;
  };
  std::map<std::string, Place> places;
  for (const Parameter& parameter : ParametersOf(descriptor, weights)) {
    places[parameter.name] = {parameter.shape, parameter.tensor};
  }
  const std::vector<AdapterPlace> adapters = AdaptersOf(descriptor, weights);
  for (const AdapterPlace& place : adapters) {
    places[absl::StrCat(place.module, kLoraA)] = {{-1, place.in}, &place.adapter->a};
    places[absl::StrCat(place.module, kLoraB)] = {{place.out, -1}, &place.adapter->b};
  }
  const auto fits = [](const Shape& wanted, torch::IntArrayRef shape) {
    if (wanted.size() != shape.size()) return false;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (shape[i] < 1 || (wanted[i] >= 0 && wanted[i] != shape[i])) return false;
    }
    return true;
  };
  const torch::Dtype dtype = weights.embedding.scalar_type();
  const torch::Device device = weights.embedding.device();
  Problems problems;
  for (const auto& [name, tensor] : tensors) {
    const auto it = places.find(name);
    if (it == places.end()) {
      problems.Add(name, " is not expected");
    } else if (!fits(it->second.shape, tensor.sizes())) {
      problems.Add(name, " has shape ", ShapeText(tensor.sizes()), ", expected ",
                   ShapeText(it->second.shape));
    } else if (tensor.scalar_type() != dtype) {
      problems.Add(name, " is ", c10::toString(tensor.scalar_type()), ", the model ",
                   c10::toString(dtype));
    } else if (!AllFinite(tensor)) {
      problems.Add(name, " holds NaN or infinite numbers");
    } else {
      const torch::Tensor placed = ToDevice(tensor, device);
      *it->second.tensor = requires_grad ? placed.detach().requires_grad_() : placed;
    }
  }
  for (const AdapterPlace& place : adapters) {
    const torch::Tensor &a = place.adapter->a, &b = place.adapter->b;
    if (a.defined() != b.defined() || (a.defined() && a.size(0) != b.size(1))) {
      problems.Add(place.module, ": ", kLoraA, " and ", kLoraB, " don't belong together");
    }
  }
  if (descriptor.tie_word_embeddings) weights.head = weights.embedding;
  return problems.ToStatus("tensors to put into the model");
}

TransformerWeights RandomWeights(const ModelDescriptor& descriptor, uint64_t seed,
                                 torch::Dtype dtype) {
  TransformerWeights weights;
  for (Parameter& parameter : ParametersOf(descriptor, weights)) {
    *parameter.tensor = torch::zeros(parameter.shape, dtype);
    const bool matrix = parameter.shape.size() == 2;
    const bool bias = absl::EndsWith(parameter.name, ".bias");
    if (matrix) {
      FillNormal(*parameter.tensor, descriptor.initializer_range,
                 base::CounterRng(seed, base::StableHash(parameter.name)));
    } else if (!bias) {
      parameter.tensor->fill_(1);
    }
  }
  if (descriptor.tie_word_embeddings) weights.head = weights.embedding;
  return weights;
}

}  // namespace dtrpo::model
