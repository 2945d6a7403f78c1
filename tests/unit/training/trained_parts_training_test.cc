// Training a part of a model: who gets gradients, masters and optimizer state, and going on from a
// checkpoint to the last bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <set>

#include "common/base/check.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/model/adapter_folder.h"
#include "common/training/preference_trainer.h"
#include "common/training/training_state.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::HasSubstr;

constexpr int kPairs = 4;

struct Case {
  std::string name;
  std::vector<std::string> trainable = {};
  job::LoraSpec lora = {};
  torch::Dtype dtype = torch::kFloat32;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class TrainedPartsTrainingTest : public ::testing::TestWithParam<Case> {
 protected:
  TrainedPartsTrainingTest() : base_(support::TestFolder() + "/base") {
    support::WriteTinyCheckpoint(base_);
    for (uint64_t seed = 1; seed <= kPairs; ++seed) pairs_.push_back(support::TinyPair(seed));
    spec_.training.steps = 10;
    spec_.training.learning_rate = 1e-2;
    spec_.training.schedule = job::Schedule::kConstant;
    spec_.training.trainable = GetParam().trainable;
    spec_.training.lora = GetParam().lora;
    spec_.objective.sft_weight = 0;
  }

  checkpoint::CheckpointFolder Open(const std::string& path) const {
    auto folder = checkpoint::CheckpointFolder::Open(path);
    DTRPO_CHECK_OK(folder);
    return *std::move(folder);
  }
  TrainedModel Load(const std::string& path) const {
    auto trained = TrainedModel::Load(Open(path), TrainingOptionsOf(spec_, GetParam().dtype));
    DTRPO_CHECK_OK(trained);
    return *std::move(trained);
  }
  std::unique_ptr<PreferenceTrainer> Trainer(TrainedModel model) const {
    auto trainer = PreferenceTrainer::Create(std::move(model), spec_);
    DTRPO_CHECK_OK(trainer);
    return *std::move(trainer);
  }

  // Scored by the frozen base, in the dtype of the training.
  StepInput Input(int64_t step) const {
    torch::NoGradGuard no_grad;
    const auto reference = model::Transformer::Load(Open(base_), {.dtype = GetParam().dtype});
    DTRPO_CHECK_OK(reference);
    const auto options = *PlanOptions(spec_, (*reference)->descriptor().attention);
    const auto score = [&](const trajectory::Trajectory& t) -> std::vector<float> {
      const auto plan = trajectory::MakeMaskPlan(t, options, static_cast<int32_t>(step));
      const objective::ScoreInput input{&t, &plan};
      const auto scores =
          objective::ScoreTargets(**reference, {&input, 1}, trajectory::Boundary::kClean);
      DTRPO_CHECK_OK(scores);
      const torch::Tensor flat = scores->to(torch::kFloat32);
      return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
    };
    StepInput input{.step = step, .policy_version = step - 1, .global_pairs = kPairs, .pairs = {}};
    for (const trajectory::PreferencePair& pair : pairs_) {
      input.pairs.push_back({.pair = &pair,
                             .use_index = static_cast<int32_t>(step),
                             .reference_chosen = score(pair.chosen),
                             .reference_rejected = score(pair.rejected)});
    }
    return input;
  }

  StepOutcome Step(PreferenceTrainer& trainer, int64_t step) const {
    const auto outcome = trainer.Step(Input(step));
    DTRPO_CHECK_OK(outcome);
    EXPECT_FALSE(outcome->skipped);
    return *outcome;
  }

  absl::Status Write(const PreferenceTrainer& trainer, AdamW* optimizer, const std::string& path,
                     int64_t step) const {
    return WriteTrainingCheckpoint(base::PosixFileSystem(), path, trainer.model(), Open(base_),
                                   optimizer,
                                   {.job_id = "a",
                                    .job_hash = "b",
                                    .step = step,
                                    .trained = model::Describe(TrainedPartsOf(spec_))},
                                   {.adapter_only = spec_.training.lora.save == "adapter"});
  }

  bool adapters() const { return spec_.training.lora.rank > 0; }

  const std::string base_;
  job::JobSpec spec_;
  std::vector<trajectory::PreferencePair> pairs_;
};

TEST_P(TrainedPartsTrainingTest, TheFirstLossIsLogTwoAndOnlyTheTrainedPartsMove) {
  const auto trainer = Trainer(Load(base_));
  EXPECT_NEAR(Step(*trainer, 1).values.at("loss"), std::log(2.0), 1e-6);
  EXPECT_LT(Step(*trainer, 2).values.at("loss"), std::log(2.0));

  const auto before = model::Transformer::Load(Open(base_), {.dtype = GetParam().dtype});
  std::set<std::string> trained;
  for (const auto& [name, tensor] : trainer->trained().trained()) {
    trained.insert(name);
    EXPECT_EQ(tensor.scalar_type(), GetParam().dtype);
  }
  for (size_t i = 0; i < (*before)->NamedParameters().size(); ++i) {
    const auto& [name, tensor] = trainer->model().NamedParameters()[i];
    EXPECT_NE(torch::equal(tensor, (*before)->NamedParameters()[i].second), trained.contains(name))
        << name;
    EXPECT_EQ(tensor.requires_grad(), trained.contains(name)) << name;
  }
  for (const auto& [name, tensor] : trainer->model().NamedAdapters()) {
    EXPECT_GT(tensor.detach().abs().max().item<float>(), 0) << name;
  }
  // Three tensors of state for each one that is trained, none for the others.
  EXPECT_EQ(trainer->optimizer().State().size(), 3 * trained.size());
  const auto& optimized = trainer->trained().parameters();
  ASSERT_EQ(optimized.size(), trained.size());
  for (const auto& [name, tensor] : optimized) {
    EXPECT_TRUE(trained.contains(name)) << name;
    EXPECT_EQ(tensor.scalar_type(), torch::kFloat32) << name;
  }
}

TEST_P(TrainedPartsTrainingTest, ResumedFromACheckpointItIsTheSameToTheLastBit) {
  const auto straight = Trainer(Load(base_));
  for (int64_t step = 1; step <= 2; ++step) Step(*straight, step);
  const std::string saved = base_ + "-saved";
  ASSERT_TRUE(Write(*straight, &straight->optimizer(), saved, 2).ok());

  TrainedModel model = Load(adapters() ? base_ : saved);
  ASSERT_EQ(model.parameters_are_state(), adapters() || GetParam().dtype == torch::kBFloat16);
  if (model.parameters_are_state()) {
    const absl::Status restored = RestoreMasters(saved, model);
    ASSERT_TRUE(restored.ok()) << restored;
  }
  const auto resumed = Trainer(std::move(model));
  ASSERT_TRUE(RestoreOptimizer(saved, resumed->optimizer()).ok());
  for (int64_t step = 3; step <= 4; ++step) {
    const StepOutcome a = Step(*straight, step), b = Step(*resumed, step);
    EXPECT_EQ(a.values, b.values);
  }
  for (size_t i = 0; i < straight->trained().parameters().size(); ++i) {
    const auto& [name, tensor] = straight->trained().parameters()[i];
    EXPECT_TRUE(torch::equal(tensor, resumed->trained().parameters()[i].second)) << name;
  }
  const auto progress = ReadTrainingProgress(base::PosixFileSystem(), saved);
  ASSERT_TRUE(progress.ok()) << progress.status();
  EXPECT_EQ(progress->trained, model::Describe(TrainedPartsOf(spec_)));
}

TEST_P(TrainedPartsTrainingTest, TheSavedFolderComputesWhatWasTrained) {
  torch::manual_seed(1);
  const auto trainer = Trainer(Load(base_));
  for (int64_t step = 1; step <= 3; ++step) Step(*trainer, step);
  const std::string saved = base_ + "-saved";
  ASSERT_TRUE(Write(*trainer, nullptr, saved, 3).ok());
  const bool adapter_only = adapters() && spec_.training.lora.save == "adapter";
  auto loaded =
      model::Transformer::Load(Open(adapter_only ? base_ : saved), {.dtype = GetParam().dtype});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  if (adapter_only) {
    loaded = model::WithAdapterFolder(**loaded, saved);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
  }
  torch::NoGradGuard no_grad;
  model::RowBatch rows;
  rows.token_ids = {1, 5, 9, 39};
  rows.positions = {0, 1, 2, 3};
  rows.segments = {{0, 4, {{0, 4}}}};
  const torch::Tensor trained = trainer->model().Head(trainer->model().Forward(rows));
  const torch::Tensor found = (*loaded)->Head((*loaded)->Forward(rows));
  if (adapters() && !adapter_only) {  // merged: a sum in another order
    const double tolerance = GetParam().dtype == torch::kFloat32 ? 1e-5 : 0.1;
    EXPECT_LT((found - trained).abs().max().item<double>(), tolerance);
  } else {
    EXPECT_TRUE(torch::equal(found, trained));
  }
}

TEST_P(TrainedPartsTrainingTest, MicroBatchesWithRecomputedLayersGiveTheStepOfOneBatch) {
  const auto whole = Trainer(Load(base_));
  spec_.training.micro_batch_pairs = 1;
  spec_.training.activation_checkpointing = true;
  const auto cut = Trainer(Load(base_));
  for (int64_t step = 1; step <= 2; ++step) {
    const StepOutcome a = Step(*whole, step), b = Step(*cut, step);
    const double tolerance = GetParam().dtype == torch::kFloat32 ? 1e-5 : 2e-2;
    EXPECT_NEAR(a.values.at("loss"), b.values.at("loss"), tolerance);
    EXPECT_NEAR(a.values.at("gradient_norm"), b.values.at("gradient_norm"),
                tolerance * a.values.at("gradient_norm"));
  }
}

job::LoraSpec Lora(int32_t rank, std::vector<std::string> targets, std::string save) {
  return {.rank = rank, .alpha = 6, .targets = std::move(targets), .save = std::move(save)};
}

INSTANTIATE_TEST_SUITE_P(
    Parts, TrainedPartsTrainingTest,
    ::testing::Values(
        Case{.name = "group", .trainable = {"*.mlp.*", "*.o_proj.weight"}},
        Case{.name = "group_bfloat16", .trainable = {"*.mlp.*"}, .dtype = torch::kBFloat16},
        Case{.name = "lora_merged", .lora = Lora(2, {}, "merged")},
        Case{.name = "lora_adapter", .lora = Lora(3, {"q_proj", "down_proj"}, "adapter")},
        Case{.name = "lora_merged_bfloat16",
             .lora = Lora(2, {"v_proj"}, "merged"),
             .dtype = torch::kBFloat16},
        Case{.name = "lora_adapter_bfloat16",
             .lora = Lora(2, {}, "adapter"),
             .dtype = torch::kBFloat16}),
    [](const auto& info) { return info.param.name; });

TEST(TrainedPartsRestoreTest, AdaptersOfAnotherRankOrTargetAreRefusedByName) {
  const std::string base = support::TestFolder() + "/base";
  support::WriteTinyCheckpoint(base);
  const auto folder = checkpoint::CheckpointFolder::Open(base);
  ASSERT_TRUE(folder.ok());
  const auto load = [&](int64_t rank, std::vector<std::string> targets) {
    auto trained = TrainedModel::Load(
        *folder, {.parts = {.lora = {.rank = rank, .alpha = 4, .targets = std::move(targets)}}});
    DTRPO_CHECK_OK(trained);
    return *std::move(trained);
  };
  const TrainedModel saved = load(2, {"q_proj"});
  AdamW optimizer(saved.parameters(), {});
  const std::string path = base + "-saved";
  ASSERT_TRUE(WriteTrainingCheckpoint(base::PosixFileSystem(), path, saved.model(), *folder,
                                      &optimizer, {.job_id = "a", .job_hash = "b", .step = 1})
                  .ok());
  TrainedModel same = load(2, {"q_proj"}), wider = load(3, {"q_proj"}), other = load(2, {"v_proj"});
  EXPECT_TRUE(RestoreMasters(path, same).ok());
  EXPECT_THAT(std::string(RestoreMasters(path, wider).message()),
              HasSubstr("q_proj.lora_A.weight has another shape"));
  EXPECT_THAT(std::string(RestoreMasters(path, other).message()),
              HasSubstr("v_proj.lora_A.weight is missing"));
}

}  // namespace
}  // namespace dtrpo::training
