// A step with LoRA adapters against PEFT and torch.optim.AdamW
// (tests/golden/make_lora_fixtures.py), from files that PEFT wrote.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/model/adapter_folder.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/target_log_probs.h"
#include "common/training/adamw.h"
#include "common/training/trained_model.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::training {
namespace {

using nlohmann::json;

class LoraStepTest : public ::testing::TestWithParam<std::string> {
 protected:
  LoraStepTest() {
    const std::string golden = std::string(DTRPO_SOURCE_DIR) + "/tests/golden/";
    auto folder = checkpoint::CheckpointFolder::Open(golden + "model/" + GetParam());
    DTRPO_CHECK_OK(folder);
    auto base = model::Transformer::Load(*folder, {});
    DTRPO_CHECK_OK(base);
    base_ = *std::move(base);
    auto adapted = model::WithAdapterFolder(*base_, golden + "lora/" + GetParam() + "/adapter");
    DTRPO_CHECK_OK(adapted);
    adapted_ = *std::move(adapted);
    auto expected =
        checkpoint::SafetensorsFile::Map(golden + "lora/" + GetParam() + "/expected.safetensors");
    DTRPO_CHECK_OK(expected);
    expected_ = *std::move(expected);
    const auto text = base::PosixFileSystem()->Read(golden + "model/" + GetParam() + "/cases.json");
    DTRPO_CHECK_OK(text);
    for (const json& c : json::parse(*text)) {
      if (case_.is_null() && c["mask"] == "two_half") case_ = c;
    }
  }

  torch::Tensor Expected(const std::string& name) const {
    const auto* view = expected_->Find(name);
    DTRPO_CHECK(view != nullptr) << name;
    auto tensor = model::BorrowTensor(view->data, view->shape, torch::kFloat32, expected_);
    DTRPO_CHECK_OK(tensor);
    return *tensor;
  }

  model::RowBatch Rows() const {
    return model::TwoHalfRows(case_["noisy"], case_["clean"], case_["block_size"]);
  }

  std::unique_ptr<model::Transformer> base_, adapted_;
  std::shared_ptr<const checkpoint::SafetensorsFile> expected_;
  json case_;
};

TEST_P(LoraStepTest, LogitsWithPeftsAdapterAreThoseOfPeft) {
  torch::NoGradGuard no_grad;
  const torch::Tensor logits = adapted_->Head(adapted_->Forward(Rows()));
  EXPECT_LT(model::MaxDifference(logits, Expected("logits")), 1e-4f);
  EXPECT_GT(model::MaxDifference(base_->Head(base_->Forward(Rows())), Expected("logits")), 0.1f);
}

TEST_P(LoraStepTest, LossGradientsAndOneStepAreThoseOfPeftAndTorch) {
  NamedTensors copies;  // the files are mapped
  for (const auto& [name, tensor] : adapted_->NamedAdapters()) {
    copies.emplace_back(name, tensor.clone());
  }
  auto variant = model::Transformer::Variant(
      *base_, copies, {.adapter_scale = adapted_->adapter_scale(), .requires_grad = true});
  ASSERT_TRUE(variant.ok()) << variant.status();
  TrainedModel trained = TrainedModel::Of(*std::move(variant));
  ASSERT_EQ(trained.parameters().size(), copies.size());
  AdamW optimizer(trained.parameters(), {.epsilon = 1e-3, .weight_decay = 0.1});

  const std::vector<int64_t> clean = case_["clean"];
  model::RowBatch rows = Rows();
  rows.output_rows.emplace(clean.size());
  std::iota(rows.output_rows->begin(), rows.output_rows->end(), 0);
  const torch::Tensor hidden = trained.model().Forward(rows);
  const torch::Tensor loss = -model::TargetLogProbs(trained.model(), hidden, torch::tensor(clean),
                                                    trained.model().descriptor().mask_id)
                                  .mean();
  EXPECT_NEAR(loss.item<float>(), Expected("loss").item<float>(), 1e-4);
  loss.backward();
  const auto file_name = [](const std::string& name) {
    return absl::StrCat(checkpoint::kPeftPrefix, name);
  };
  for (const auto& [name, parameter] : trained.parameters()) {
    const torch::Tensor gradient = Expected("gradient." + file_name(name));
    EXPECT_GT(gradient.abs().max().item<float>(), 1e-4f) << name;
    EXPECT_LT(model::MaxDifference(parameter.grad(), gradient), 1e-4f) << name;
  }
  optimizer.Step(/*learning_rate=*/1e-2);
  for (const auto& [name, parameter] : trained.parameters()) {
    EXPECT_LT(model::MaxDifference(parameter.detach(), Expected("after." + file_name(name))), 1e-4f)
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, LoraStepTest, ::testing::Values("fast_dllm_4_2_tied", "sdar"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace dtrpo::training
