#include "common/model/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/model/attention_plan.h"
#include "common/model/lora.h"
#include "common/model/transformer.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const torch::Device kMeta(torch::kMeta);

std::unique_ptr<Transformer> MetaModel(bool requires_grad) {
  auto model = Transformer::Random(TinyDescriptor(), /*seed=*/1,
                                   {.requires_grad = requires_grad, .device = kMeta});
  DTRPO_CHECK_OK(model);
  return *std::move(model);
}

TEST(DeviceTest, TheCpuIsAlwaysThere) {
  const auto device = ParseDevice("cpu", /*ordinal=*/3);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_TRUE(device->is_cpu());
}

TEST(DeviceTest, OtherWordsAreRefusedByName) {
  for (const char* word : {"", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:0,1", "meta"}) {
    const absl::Status status = ParseDevice(word).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << word;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("'", word, "'")));
  }
}

TEST(DeviceTest, ABuildWithoutCudaSaysHowToGetIt) {
  for (const char* word : {"cuda", "cuda:0", "cuda:7"}) {
    const absl::Status status = ParseDevice(word).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << word;
    EXPECT_THAT(std::string(status.message()), HasSubstr("DTRPO_CUDA=ON"));
  }
}

TEST(DeviceTest, OnItsDeviceATensorIsNotCopied) {
  const torch::Tensor tensor = torch::ones({3});
  EXPECT_TRUE(ToDevice(tensor, torch::kCPU).is_same(tensor));
  EXPECT_EQ(ToDevice(tensor, kMeta).device(), kMeta);
  EXPECT_EQ(IndexTensor({1, 2}, kMeta).scalar_type(), torch::kInt64);
}

TEST(DeviceTest, WholeSetsComeToTheHostInOrderAndContiguous) {
  const torch::Tensor matrix = torch::arange(6, torch::kFloat32).view({2, 3}).requires_grad_();
  std::vector<size_t> order;
  ForEachOnHost({matrix, matrix.t(), matrix.select(0, 1)}, [&](size_t i, const torch::Tensor& t) {
    order.push_back(i);
    EXPECT_TRUE(t.is_contiguous() && !t.requires_grad());
    EXPECT_EQ(t.const_data_ptr<float>()[1], i == 0 ? 1 : i == 1 ? 3 : 4);
    EXPECT_EQ(t.const_data_ptr() == matrix.const_data_ptr(), i == 0);  // else copied
  });
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  ForEachOnHost({}, [](size_t, const torch::Tensor&) { FAIL(); });
}

TEST(DeviceTest, WeightsAndTheirCacheAreMadeThere) {
  const auto model = MetaModel(/*requires_grad=*/true);
  EXPECT_EQ(model->device(), kMeta);
  EXPECT_EQ(model->HeadWeight().device(), kMeta);
  for (const auto& [name, parameter] : model->NamedParameters()) {
    EXPECT_EQ(parameter.device(), kMeta) << name;
    EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad()) << name;
  }
  KvCache cache(model->descriptor(), /*capacity_rows=*/12,
                torch::dtype(model->dtype()).device(model->device()));
  EXPECT_EQ(cache.keys(1).device(), kMeta);
  EXPECT_EQ(cache.values(1).device(), kMeta);
}

TEST(DeviceTest, AForwardsPlanIsMadeThere) {
  RowBatch batch = TwoHalfRows({3, 4, 3, 5, 3, 3, 6, 7}, {1, 4, 8, 5, 9, 2, 6, 7}, 4);
  batch.output_rows = {5, 2, 3};
  const AttentionPlan plan =
      AttentionPlan::Build(batch, /*cache_capacity_rows=*/-1, /*vocab_size=*/11, kMeta);
  for (const torch::Tensor& tensor : {plan.token_ids, plan.positions, plan.last_rows}) {
    EXPECT_EQ(tensor.device(), kMeta);
  }
  for (const auto* groups : {&plan.groups, &plan.last_groups}) {
    for (const AttentionGroup& group : *groups) {
      if (group.key_index.defined()) {
        EXPECT_EQ(group.key_index.device(), kMeta);
      }
    }
  }
}

TEST(DeviceTest, AdaptersFollowTheirBase) {
  const auto base = MetaModel(/*requires_grad=*/false);
  const auto adapters = InitialAdapters(base->descriptor(), {.rank = 2}, /*seed=*/1);
  DTRPO_CHECK_OK(adapters);
  const auto model = Transformer::Variant(*base, *adapters, {.requires_grad = true});
  ASSERT_TRUE(model.ok()) << model.status();
  for (const auto& [name, adapter] : (*model)->NamedAdapters()) {
    EXPECT_EQ(adapter.device(), kMeta) << name;
    EXPECT_TRUE(adapter.is_leaf() && adapter.requires_grad()) << name;
  }
}

}  // namespace
}  // namespace dtrpo::model
