#include "common/training/trained_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "common/base/check.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/training/adamw.h"
#include "common/training/training_state.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TrainedModelTest : public ::testing::Test {
 protected:
  TrainedModelTest() : base_(support::TestFolder() + "/base") {
    support::WriteTinyCheckpoint(base_);
  }

  TrainedModel Make(torch::Dtype dtype) const {
    auto trained = TrainedModel::Create(support::LoadModel(base_, /*requires_grad=*/true), dtype);
    DTRPO_CHECK_OK(trained);
    return *std::move(trained);
  }

  // As a backward pass that gives every element this gradient.
  static void SetGradients(const TrainedModel& trained, double value) {
    for (const auto& [name, parameter] : trained.model().NamedParameters()) {
      parameter.mutable_grad() = torch::full_like(parameter.detach(), value);
    }
  }

  static void ExpectModelIsRounded(const TrainedModel& trained) {
    for (size_t i = 0; i < trained.parameters().size(); ++i) {
      EXPECT_TRUE(torch::equal(trained.model().NamedParameters()[i].second,
                               trained.parameters()[i].second.to(torch::kBFloat16)))
          << trained.parameters()[i].first;
    }
  }

  const std::string base_;
};

TEST_F(TrainedModelTest, InItsOwnDtypeTheModelItselfIsTrained) {
  TrainedModel trained = Make(torch::kFloat32);
  EXPECT_FALSE(trained.has_masters());
  EXPECT_TRUE(trained.parameters()[0].second.is_same(trained.model().NamedParameters()[0].second));
  SetGradients(trained, 1);
  trained.CollectGradients();
  EXPECT_TRUE(trained.parameters()[0].second.grad().defined());
}

TEST_F(TrainedModelTest, TheModelIsTheMastersRounded) {
  TrainedModel trained = Make(torch::kBFloat16);
  ASSERT_TRUE(trained.has_masters());
  EXPECT_EQ(trained.parameters()[0].second.scalar_type(), torch::kFloat32);
  EXPECT_EQ(trained.model().HeadWeight().scalar_type(), torch::kBFloat16);
  ExpectModelIsRounded(trained);
  const void* const place = trained.model().NamedParameters()[0].second.const_data_ptr();
  AdamW optimizer(trained.parameters(), {});
  SetGradients(trained, 1);
  trained.CollectGradients();
  optimizer.Step(0.01);
  trained.UpdateModel();
  ExpectModelIsRounded(trained);
  EXPECT_EQ(trained.model().NamedParameters()[0].second.const_data_ptr(), place);  // in place
}

// 2^-10 beside 1 is below bfloat16's last bit.
TEST_F(TrainedModelTest, GradientsOfMicroBatchesAreAddedUpInFloat32) {
  TrainedModel trained = Make(torch::kBFloat16);
  for (const double gradient : {1.0, 1.0 / 1024, 1.0 / 1024}) {
    SetGradients(trained, gradient);
    trained.CollectGradients();
    EXPECT_FALSE(trained.model().NamedParameters()[0].second.grad().defined());
  }
  for (const auto& [name, master] : trained.parameters()) {
    EXPECT_EQ(master.grad().scalar_type(), torch::kFloat32);
    EXPECT_EQ(master.grad().min().item<float>(), 1.0f + 2.0f / 1024) << name;
    EXPECT_EQ(master.grad().max().item<float>(), 1.0f + 2.0f / 1024) << name;
  }
}

// Steps of 1e-5 change no weight of the size 1 in bfloat16, a thousand of them do.
TEST_F(TrainedModelTest, StepsTooSmallForBfloat16AreNotLost) {
  TrainedModel trained = Make(torch::kBFloat16);
  AdamW optimizer(trained.parameters(), {});
  const auto norm = [&] {  // weights are ones at first
    for (const auto& [name, parameter] : trained.model().NamedParameters()) {
      if (name == "model.norm.weight") return parameter.detach()[0].item<float>();
    }
    return 0.0f;
  };
  ASSERT_EQ(norm(), 1);
  for (int step = 1; step <= 1000; ++step) {
    optimizer.ZeroGradients();
    SetGradients(trained, 1);
    trained.CollectGradients();
    optimizer.Step(1e-5);
    trained.UpdateModel();
    if (step == 10) {
      EXPECT_EQ(norm(), 1);
    }
  }
  EXPECT_NEAR(norm(), 0.99, 0.004);
}

TEST_F(TrainedModelTest, MastersAreSavedWithTheOptimizersStateAndRestored) {
  TrainedModel trained = Make(torch::kBFloat16);
  AdamW optimizer(trained.parameters(), {});
  SetGradients(trained, 1);
  trained.CollectGradients();
  optimizer.Step(1e-5);
  trained.UpdateModel();
  const auto base = checkpoint::CheckpointFolder::Open(base_);
  const std::string path = base_ + "-saved";
  base::FileSystem* const files = base::PosixFileSystem();
  ASSERT_TRUE(WriteTrainingCheckpoint(files, path, trained.model(), *base, &optimizer,
                                      {.job_id = "a", .job_hash = "b", .step = 1})
                  .ok());
  auto loaded =
      TrainedModel::Create(support::LoadModel(path, /*requires_grad=*/true), torch::kBFloat16);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto first = [](const TrainedModel& model) { return model.parameters()[0].second; };
  EXPECT_FALSE(torch::equal(first(*loaded), first(trained)));  // rounded
  ASSERT_TRUE(RestoreMasters(path, *loaded).ok());
  for (size_t i = 0; i < trained.parameters().size(); ++i) {
    EXPECT_TRUE(torch::equal(loaded->parameters()[i].second, trained.parameters()[i].second));
  }
  ExpectModelIsRounded(*loaded);

  // A state without masters, of a training in float32.
  TrainedModel plain = Make(torch::kFloat32);
  AdamW other(plain.parameters(), {});
  ASSERT_TRUE(WriteTrainingCheckpoint(files, path, plain.model(), *base, &other,
                                      {.job_id = "a", .job_hash = "b", .step = 1})
                  .ok());
  const absl::Status refused = RestoreMasters(path, *loaded);
  EXPECT_TRUE(absl::IsDataLoss(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr(kOptimizerFile), HasSubstr(trained.parameters()[0].first)));
}

}  // namespace
}  // namespace dtrpo::training
