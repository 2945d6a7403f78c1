// Checkpoints of a learner, and the images that it publishes.
#include "common/training/training_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "common/base/atomic_file.h"
#include "common/base/check.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/training/weights_image.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class TrainingStateTest : public ::testing::Test {
 protected:
  TrainingStateTest() : folder_(support::TestFolder()), base_(folder_ + "/base") {
    support::WriteTinyCheckpoint(base_, {.tied = false});
    model_ = support::LoadModel(base_, /*requires_grad=*/true);
    optimizer_ = std::make_unique<AdamW>(model_->NamedParameters(), AdamWOptions());
    TakeStep(*model_, *optimizer_, 1);
    TakeStep(*model_, *optimizer_, 2);
  }

  // One step on made-up gradients that depend on `seed`.
  static void TakeStep(const model::Transformer& model, AdamW& optimizer, uint64_t seed) {
    torch::manual_seed(seed);
    for (const auto& [name, parameter] : model.NamedParameters()) {
      torch::Tensor p = parameter;
      p.mutable_grad() = torch::randn(p.sizes());
    }
    optimizer.Step(1e-2);
    optimizer.ZeroGradients();
  }

  std::string Write() {
    const auto base = checkpoint::CheckpointFolder::Open(base_);
    DTRPO_CHECK_OK(base);
    const std::string path = folder_ + "/step-2";
    const absl::Status written =
        WriteTrainingCheckpoint(files_, path, *model_, *base, optimizer_.get(),
                                {.job_id = "add-1", .job_hash = "abc", .step = 2});
    EXPECT_TRUE(written.ok()) << written;
    return path;
  }

  static torch::Tensor Logits(const model::Transformer& model) {
    torch::NoGradGuard no_grad;
    model::RowBatch rows;
    rows.token_ids = {1, 5, 9, 39, 39, 7};
    rows.positions = {0, 1, 2, 3, 4, 5};
    rows.segments = {{0, 4, {{0, 4}}}, {4, 6, {{0, 6}}}};
    return model.Head(model.Forward(rows));
  }

  base::FileSystem* const files_ = base::PosixFileSystem();
  const std::string folder_, base_;
  std::unique_ptr<model::Transformer> model_;
  std::unique_ptr<AdamW> optimizer_;
};

TEST_F(TrainingStateTest, ACheckpointIsAModelFolderWithTheSameLogits) {
  const std::string path = Write();
  EXPECT_TRUE(checkpoint::CheckComplete(files_, path, checkpoint::Verify::kChecksums).ok());
  EXPECT_TRUE(torch::equal(Logits(*support::LoadModel(path)), Logits(*model_)));
  EXPECT_FALSE(torch::equal(Logits(*support::LoadModel(base_)), Logits(*model_)));
}

TEST_F(TrainingStateTest, TrainingGoesOnFromACheckpointAsIfItHadNeverStopped) {
  const std::string path = Write();
  const auto progress = ReadTrainingProgress(files_, path);
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->job_id, "add-1");
  EXPECT_EQ(progress->job_hash, "abc");
  EXPECT_EQ(progress->step, 2);

  const auto model = support::LoadModel(path, /*requires_grad=*/true);
  AdamW optimizer(model->NamedParameters(), {});
  ASSERT_TRUE(RestoreOptimizer(path, optimizer).ok());
  TakeStep(*model, optimizer, 3);
  TakeStep(*model_, *optimizer_, 3);
  for (size_t i = 0; i < model->NamedParameters().size(); ++i) {
    const auto& [name, parameter] = model->NamedParameters()[i];
    EXPECT_TRUE(torch::equal(parameter, model_->NamedParameters()[i].second)) << name;
  }
  const NamedTensors a = optimizer.State(), b = optimizer_->State();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(torch::equal(a[i].second, b[i].second));
}

TEST_F(TrainingStateTest, ACheckpointIsTheBaseOfANextJob) {
  const std::string path = Write();
  const auto base = checkpoint::CheckpointFolder::Open(path);
  ASSERT_TRUE(base.ok()) << base.status();
  const std::string plain = folder_ + "/plain";
  ASSERT_TRUE(WriteTrainingCheckpoint(files_, plain, *model_, *base, nullptr, {}).ok());
  EXPECT_TRUE(files_->Exists(plain + "/config.json"));
  EXPECT_FALSE(files_->Exists(plain + "/optimizer.safetensors"));
  EXPECT_FALSE(files_->Exists(plain + "/training_state.json"));
  EXPECT_TRUE(absl::IsNotFound(ReadTrainingProgress(files_, plain).status()));
}

TEST_F(TrainingStateTest, ABrokenStateFileIsRefusedNamingFileAndField) {
  const std::string path = Write();
  const auto refusal = [&](const std::string& content) {
    EXPECT_TRUE(
        base::WriteFileAtomically(files_, base::JoinPath(path, kTrainingStateFile), content).ok());
    const absl::Status status = ReadTrainingProgress(files_, path).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal("{"), AllOf(HasSubstr(kTrainingStateFile), HasSubstr("'format'")));
  EXPECT_THAT(refusal(R"({"format": 2})"), HasSubstr("format 2"));
  EXPECT_THAT(refusal(R"({"format": 1, "job_id": 3})"), HasSubstr("'job_id'"));
  EXPECT_THAT(refusal(R"({"format": 1, "job_id": "a", "job_hash": "b", "step": -1})"),
              HasSubstr("'step'"));
}

TEST_F(TrainingStateTest, AnOptimizerStateThatDoesntFitIsRefusedNamingFileAndTensor) {
  const std::string path = Write();
  // The head of another model: a tied one has none.
  support::WriteTinyCheckpoint(folder_ + "/tied");
  const auto tied = support::LoadModel(folder_ + "/tied", true);
  model::NamedTensors parameters = tied->NamedParameters();
  parameters.emplace_back("extra.weight", torch::zeros({2, 2}));
  AdamW other(parameters, {});
  const absl::Status status = RestoreOptimizer(path, other);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(kOptimizerFile), HasSubstr("extra.weight")));
}

TEST_F(TrainingStateTest, AnImageHoldsTheParametersAndDoesntFollowThem) {
  const auto image = MakeImage(*model_, "add-1", 4, 1);
  ASSERT_TRUE(image.ok()) << image.status();
  const weights::Manifest manifest = (*image)->manifest();
  EXPECT_EQ(manifest.version, 4);
  EXPECT_EQ(manifest.generation, 1);
  ASSERT_EQ(manifest.tensors.size(), model_->NamedParameters().size());
  const auto bytes = [&](size_t i) {
    const torch::Tensor& tensor = model_->NamedParameters()[i].second;
    return absl::string_view(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  };
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    EXPECT_EQ(manifest.tensors[i].name, model_->NamedParameters()[i].first);
    EXPECT_EQ((*image)->TensorBytes(manifest.tensors[i]), bytes(i));
  }
  TakeStep(*model_, *optimizer_, 3);
  EXPECT_NE((*image)->TensorBytes(manifest.tensors[0]), bytes(0));
  EXPECT_NE((*MakeImage(*model_, "add-1", 4, 1))->manifest().sha256, manifest.sha256);
}

}  // namespace
}  // namespace dtrpo::training
