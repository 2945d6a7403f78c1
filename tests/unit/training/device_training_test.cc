// What training makes lies beside the model's weights, shown on the meta device, whose tensors have
// shapes but no numbers.
#include <gtest/gtest.h>
#include <torch/types.h>

#include "common/base/check.h"
#include "common/training/adamw.h"
#include "common/training/trained_model.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

const torch::Device kMeta(torch::kMeta);

TrainedModel LoadThere(torch::Dtype dtype) {
  const std::string path = support::TestFolder() + "/base";
  support::WriteTinyCheckpoint(path);
  const auto folder = checkpoint::CheckpointFolder::Open(path, {});
  DTRPO_CHECK_OK(folder);
  auto trained = TrainedModel::Load(*folder, {.dtype = dtype, .device = kMeta});
  DTRPO_CHECK_OK(trained);
  return *std::move(trained);
}

TEST(DeviceTrainingTest, WeightsMastersAndOptimizerStateAreLoadedToTheDevice) {
  for (const torch::Dtype dtype : {torch::kFloat32, torch::kBFloat16}) {
    const TrainedModel trained = LoadThere(dtype);
    EXPECT_EQ(trained.has_masters(), dtype == torch::kBFloat16);
    for (const NamedTensors& tensors :
         {trained.trained(), trained.parameters(), AdamW(trained.parameters(), {}).State()}) {
      EXPECT_FALSE(tensors.empty());
      for (const auto& [name, tensor] : tensors) EXPECT_EQ(tensor.device(), kMeta) << name;
    }
  }
}

}  // namespace
}  // namespace dtrpo::training
