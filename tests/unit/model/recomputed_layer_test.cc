// Layers computed again in the backward pass: the same numbers to the last bit, and less memory.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <map>
#include <string>

#include "common/base/check.h"
#include "common/model/lora.h"
#include "common/model/target_log_probs.h"
#include "common/model/trained_parts.h"
#include "common/model/transformer.h"
#include "tests/unit/model/live_bytes.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

struct Case {
  std::string name;
  torch::Dtype dtype = torch::kFloat32;
  bool tied = true;
  TrainedParts parts = {};
  bool bidirectional = false;
  bool some_outputs = false;  // as the scorer asks: the last layer computes a part of the rows
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::unique_ptr<Transformer> Model(const Case& c, bool recompute) {
  checkpoint::ModelDescriptor descriptor = TinyDescriptor();
  descriptor.tie_word_embeddings = c.tied;
  descriptor.qk_norm = !c.tied;
  descriptor.num_layers = 3;
  const auto exact = TinyTransformer(descriptor, {.dtype = torch::kFloat32});
  const auto base =
      Transformer::FromTensors(descriptor, exact->NamedParameters(), {.dtype = c.dtype});
  DTRPO_CHECK_OK(base);
  auto trained = TrainedTensors(**base, c.parts);
  DTRPO_CHECK_OK(trained);
  torch::manual_seed(3);
  for (auto& [name, tensor] : *trained) {
    tensor = IsAdapter(name) ? torch::randn(tensor.sizes()).to(c.dtype) : tensor.clone();
  }
  auto model = Transformer::Variant(
      **base, *trained,
      {.adapter_scale = c.parts.lora.rank > 0 ? c.parts.lora.scale() : 0, .requires_grad = true});
  DTRPO_CHECK_OK(model);
  (*model)->set_recompute_activations(recompute);
  return *std::move(model);
}

RowBatch Rows(const Case& c) {
  if (c.bidirectional) return BidirectionalRows({4, 5, 6, 7, 8, 3, 3, 9, 10, 3});
  std::vector<int64_t> source_rows;  // clean rows and re-masked blocks, packed as for scoring
  RowBatch batch = CompactRows({4, 5, 6, 7, 8, 3, 3, 9, 3, 5, 3, 7},
                               {4, 5, 6, 7, 8, 10, 5, 9, 6, 5, 1, 7}, 4, 5, &source_rows);
  if (c.some_outputs) batch.output_rows = {{9, 3, 12, 12}};
  return batch;
}

torch::Tensor Loss(const Transformer& model, const RowBatch& rows) {
  const torch::Tensor hidden = model.Forward(rows);
  const torch::Tensor targets = torch::arange(hidden.size(0)).remainder(3) + 4;
  return TargetLogProbs(model, hidden, targets, model.descriptor().mask_id).square().sum();
}

std::map<std::string, torch::Tensor> Gradients(const Transformer& model) {
  std::map<std::string, torch::Tensor> gradients;
  for (const NamedTensors* tensors : {&model.NamedParameters(), &model.NamedAdapters()}) {
    for (const auto& [name, tensor] : *tensors) {
      if (tensor.grad().defined()) gradients[name] = tensor.grad();
    }
  }
  return gradients;
}

class RecomputedLayerTest : public ::testing::TestWithParam<Case> {};

TEST_P(RecomputedLayerTest, LossAndGradientsAreTheSameBits) {
  const auto plain = Model(GetParam(), false), recomputed = Model(GetParam(), true);
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {  // gradients add up
    const torch::Tensor a = Loss(*plain, Rows(GetParam()));
    const torch::Tensor b = Loss(*recomputed, Rows(GetParam()));
    EXPECT_TRUE(torch::equal(a, b));
    a.backward();
    b.backward();
  }
  const auto expected = Gradients(*plain), found = Gradients(*recomputed);
  EXPECT_GT(expected.size(), 1u);
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, gradient] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_TRUE(torch::equal(found.at(name), gradient)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, RecomputedLayerTest,
    ::testing::Values(Case{.name = "all"}, Case{.name = "untied", .tied = false},
                      Case{.name = "bfloat16", .dtype = torch::kBFloat16},
                      Case{.name = "bidirectional", .bidirectional = true},
                      Case{.name = "some_outputs", .some_outputs = true},
                      Case{.name = "group", .parts = {.patterns = {"*.1.mlp.*", "*.o_proj.*"}}},
                      Case{.name = "lora", .parts = {.lora = {.rank = 2}}, .some_outputs = true},
                      Case{.name = "lora_bfloat16",
                           .dtype = torch::kBFloat16,
                           .parts = {.lora = {.rank = 2, .targets = {"v_proj", "down_proj"}}}}),
    [](const auto& info) { return info.param.name; });

// 8 layers and 512 rows: what lies between forward and backward is 8 inputs of layers, and the peak
// one layer's activations more.
TEST(ActivationMemoryTest, IsTheLayersInputsAndOneLayersActivations) {
  checkpoint::ModelDescriptor descriptor = TinyDescriptor();
  descriptor.num_layers = 8;
  descriptor.hidden_size = 32;
  descriptor.head_dim = 8;
  descriptor.intermediate_size = 96;
  constexpr int64_t kRows = 512;
  const int64_t input_bytes = kRows * descriptor.hidden_size * 4;
  std::vector<int64_t> tokens(kRows, 5);
  struct Usage {
    int64_t kept, peak;
  };
  const auto measure = [&](bool recompute) {
    const auto model = TinyTransformer(descriptor, {.requires_grad = true});
    model->set_recompute_activations(recompute);
    for (const torch::Tensor& p : model->Parameters()) p.mutable_grad() = torch::zeros_like(p);
    const LiveBytes live;
    const torch::Tensor loss = Loss(*model, BlockCausalRows(tokens, 64));
    const int64_t kept = live.now();
    loss.backward();
    return Usage{kept, live.peak()};
  };
  const Usage plain = measure(false), recomputed = measure(true);
  RecordProperty("plain", std::to_string(plain.peak));
  RecordProperty("recomputed", std::to_string(recomputed.peak));
  EXPECT_GT(plain.kept, 8 * 8 * input_bytes);  // else the control measures nothing
  EXPECT_LT(recomputed.kept, plain.kept / 6);
  EXPECT_GE(recomputed.kept, 8 * input_bytes);
  EXPECT_LT(recomputed.peak, plain.peak / 2);
}

}  // namespace
}  // namespace dtrpo::model
