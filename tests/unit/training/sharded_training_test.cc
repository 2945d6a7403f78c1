// Several ranks, as threads over Gloo on this machine, against one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/collectives/rendezvous_store.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "common/training/preference_trainer.h"
#include "common/training/training_state.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::HasSubstr;

constexpr int kPairs = 5;  // doesn't divide by 2 nor 4

class ShardedTrainingTest : public ::testing::Test {
 protected:
  ShardedTrainingTest() : folder_(support::TestFolder()), base_(folder_ + "/base") {
    support::WriteTinyCheckpoint(base_);
    spec_.training.steps = 100;
    spec_.training.learning_rate = 1e-2;
    spec_.training.schedule = job::Schedule::kConstant;
    spec_.training.weight_decay = 0.1;
    for (uint64_t seed = 1; seed <= kPairs; ++seed) pairs_.push_back(support::TinyPair(seed));
    const auto model = support::LoadModel(base_);
    const auto options = PlanOptions(spec_, model->descriptor().attention);
    DTRPO_CHECK_OK(options);
    torch::NoGradGuard no_grad;
    for (const trajectory::PreferencePair& pair : pairs_) {
      for (const trajectory::Trajectory* t : {&pair.chosen, &pair.rejected}) {
        const auto plan = trajectory::MakeMaskPlan(*t, *options, 0);
        const objective::ScoreInput input{t, &plan};
        const auto scores = objective::ScoreTargets(*model, {&input, 1}, options->boundary);
        DTRPO_CHECK_OK(scores);
        reference_.emplace_back(scores->const_data_ptr<float>(),
                                scores->const_data_ptr<float>() + scores->numel());
      }
    }
  }

  // As a rank of a job begins, or a job of one (no group).
  std::unique_ptr<PreferenceTrainer> Trainer(torch::Dtype dtype,
                                             collectives::ProcessGroup* group) const {
    auto folder = checkpoint::CheckpointFolder::Open(base_);
    DTRPO_CHECK_OK(folder);
    auto full = model::Transformer::Load(*folder, {.requires_grad = true});
    DTRPO_CHECK_OK(full);
    auto trained = TrainedModel::Create(*std::move(full), dtype);
    DTRPO_CHECK_OK(trained);
    auto trainer = PreferenceTrainer::Create(*std::move(trained), spec_, group);
    DTRPO_CHECK_OK(trainer);
    return *std::move(trainer);
  }

  // Rank r's slice of the batch, as replay cuts it.
  StepInput Input(int64_t step, int rank = 0, int world = 1) const {
    StepInput input{.step = step, .policy_version = step - 1, .global_pairs = kPairs, .pairs = {}};
    for (int i = kPairs * rank / world; i < kPairs * (rank + 1) / world; ++i) {
      input.pairs.push_back({.pair = &pairs_[i],
                             .use_index = 0,
                             .reference_chosen = reference_[2 * i],
                             .reference_rejected = reference_[2 * i + 1]});
    }
    return input;
  }

  using Body = std::function<void(collectives::ProcessGroup& group, PreferenceTrainer& trainer)>;
  void AsRanks(int world, torch::Dtype dtype, const Body& body) const {
    auto store = collectives::RendezvousStore::Listen("127.0.0.1:0");
    DTRPO_CHECK_OK(store);
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < world; ++rank) {
      ranks.emplace_back([&, rank] {
        collectives::ProcessGroup group(
            {.rank = rank, .world = world, .name = "job/1", .store = (*store)->address()});
        ASSERT_TRUE(group.Join().ok());
        const auto trainer = Trainer(dtype, &group);
        body(group, *trainer);
      });
    }
    for (std::thread& rank : ranks) rank.join();
  }

  static std::vector<torch::Tensor> Copies(const NamedTensors& tensors) {
    std::vector<torch::Tensor> copies;
    for (const auto& [name, tensor] : tensors) copies.push_back(tensor.detach().clone());
    return copies;
  }
  static double LargestDifference(const std::vector<torch::Tensor>& a,
                                  const std::vector<torch::Tensor>& b) {
    double largest = 0;
    DTRPO_CHECK_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      const torch::Tensor difference = a[i].to(torch::kFloat64) - b[i].to(torch::kFloat64);
      largest = std::max(largest, difference.abs().max().item<double>());
    }
    return largest;
  }

  static double Distance(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
    double squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      squares +=
          (a[i].to(torch::kFloat64) - b[i].to(torch::kFloat64)).square().sum().item<double>();
    }
    return std::sqrt(squares);
  }

  // Writes the checkpoint of a group: the parts of the others, then rank 0's.
  absl::Status Save(collectives::ProcessGroup& group, PreferenceTrainer& trainer,
                    const std::string& path) const {
    if (group.rank() > 0) {
      DTRPO_CHECK_OK(
          WriteCheckpointPart(base::PosixFileSystem(), path, *trainer.sharded_optimizer()));
    }
    DTRPO_CHECK_OK(group.AllGatherBytes("written"));
    if (group.rank() > 0) return absl::OkStatus();
    auto base = checkpoint::CheckpointFolder::Open(base_);
    DTRPO_CHECK_OK(base);
    return WriteTrainingCheckpoint(base::PosixFileSystem(), path, trainer.model(), *base, nullptr,
                                   {.job_id = "job", .job_hash = "hash", .step = 3},
                                   {.sharded = trainer.sharded_optimizer()});
  }
  absl::Status SaveAlone(PreferenceTrainer& trainer, const std::string& path) const {
    auto base = checkpoint::CheckpointFolder::Open(base_);
    DTRPO_CHECK_OK(base);
    return WriteTrainingCheckpoint(base::PosixFileSystem(), path, trainer.model(), *base,
                                   &trainer.optimizer(),
                                   {.job_id = "job", .job_hash = "hash", .step = 3});
  }

  // First moments after one step without clipping: a tenth of the gradients.
  std::vector<torch::Tensor> MomentsOf(const std::string& path) const {
    const auto saved = SavedOptimizer::Open(base::PosixFileSystem(), path);
    DTRPO_CHECK_OK(saved);
    NamedTensors like;
    const auto model = support::LoadModel(base_);
    for (const auto& [name, tensor] : model->NamedParameters()) {
      like.emplace_back(kFirstMoment + name, torch::empty(tensor.sizes()));
    }
    auto all = saved->ReadAll(like);
    DTRPO_CHECK_OK(all);
    return Copies(*all);
  }

  const std::string folder_, base_;
  job::JobSpec spec_;
  std::vector<trajectory::PreferencePair> pairs_;
  std::vector<std::vector<float>> reference_;
};

TEST_F(ShardedTrainingTest, GradientsAreThoseOfOneRankForAnyMicroBatches) {
  spec_.training.max_gradient_norm = 0;
  const auto alone = Trainer(torch::kFloat32, nullptr);
  const auto expected = alone->Step(Input(1));
  ASSERT_TRUE(expected.ok()) << expected.status();
  ASSERT_TRUE(SaveAlone(*alone, folder_ + "/alone").ok());
  const std::vector<torch::Tensor> whole = MomentsOf(folder_ + "/alone");
  double norm = 0;
  for (const torch::Tensor& t : whole) norm += t.to(torch::kFloat64).square().sum().item<double>();
  norm = std::sqrt(norm);
  ASSERT_GT(norm, 0);
  for (const int world : {2, 4}) {
    for (const int micro : {0, 1, 2}) {
      SCOPED_TRACE(absl::StrCat(world, " ranks, micro-batches of ", micro));
      spec_.training.micro_batch_pairs = micro;
      const std::string path = absl::StrCat(folder_, "/", world, "-", micro);
      AsRanks(world, torch::kFloat32, [&](auto& group, PreferenceTrainer& trainer) {
        const auto outcome = trainer.Step(Input(1, group.rank(), world));
        ASSERT_TRUE(outcome.ok()) << outcome.status();
        // Every rank reports the whole step.
        for (const auto& [name, value] : expected->values) {
          ASSERT_TRUE(outcome->values.contains(name)) << name;
          EXPECT_NEAR(outcome->values.at(name), value, 1e-5 * (1 + std::abs(value))) << name;
        }
        ASSERT_TRUE(Save(group, trainer, path).ok());
      });
      EXPECT_LT(Distance(MomentsOf(path), whole), 1e-6 * norm);
    }
  }
}

TEST_F(ShardedTrainingTest, TwentyStepsEndAtTheWeightsOfOneRank) {
  const auto alone = Trainer(torch::kFloat32, nullptr);
  const std::vector<torch::Tensor> before = Copies(alone->model().NamedParameters());
  for (int64_t step = 1; step <= 20; ++step) ASSERT_TRUE(alone->Step(Input(step)).ok());
  const std::vector<torch::Tensor> expected = Copies(alone->model().NamedParameters());
  ASSERT_GT(LargestDifference(expected, before), 0.05) << "nothing was trained";
  for (const int world : {2, 4}) {
    std::vector<std::vector<torch::Tensor>> of_rank(world);
    AsRanks(world, torch::kFloat32, [&](auto& group, PreferenceTrainer& trainer) {
      for (int64_t step = 1; step <= 20; ++step) {
        ASSERT_TRUE(trainer.Step(Input(step, group.rank(), world)).ok());
      }
      of_rank[group.rank()] = Copies(trainer.model().NamedParameters());
    });
    for (const auto& weights : of_rank) {
      EXPECT_EQ(LargestDifference(weights, of_rank[0]), 0) << "the ranks differ";
    }
    // Adam divides by the root of the second moment, so where a gradient is nearly nothing its
    // rounding is a part of the step: a hundredth of one step of 1e-2.
    EXPECT_LT(LargestDifference(of_rank[0], expected), 1e-4) << world << " ranks";
  }
}

TEST_F(ShardedTrainingTest, Bfloat16ComputesWithRoundedShardedMasters) {
  const auto alone = Trainer(torch::kBFloat16, nullptr);
  const std::vector<torch::Tensor> before = Copies(alone->model().NamedParameters());
  for (int64_t step = 1; step <= 5; ++step) ASSERT_TRUE(alone->Step(Input(step)).ok());
  const std::vector<torch::Tensor> expected = Copies(alone->model().NamedParameters());
  AsRanks(2, torch::kBFloat16, [&](auto& group, PreferenceTrainer& trainer) {
    for (int64_t step = 1; step <= 5; ++step) {
      ASSERT_TRUE(trainer.Step(Input(step, group.rank(), 2)).ok());
    }
    EXPECT_EQ(trainer.model().dtype(), torch::kBFloat16);
    // Gradients of slices are rounded to bfloat16 before they are added up, so single weights go
    // another way; together they hardly do.
    const std::vector<torch::Tensor> ours = Copies(trainer.model().NamedParameters());
    EXPECT_LT(Distance(ours, expected), 0.05 * Distance(before, expected));
  });
}

TEST_F(ShardedTrainingTest, ARankThatMeetsANumberThatIsntFiniteMakesAllSkipAndNamesThePair) {
  AsRanks(2, torch::kFloat32, [&](auto& group, PreferenceTrainer& trainer) {
    const std::vector<torch::Tensor> before = Copies(trainer.model().NamedParameters());
    StepInput bad = Input(1, group.rank(), 2);
    if (group.rank() == 1) {
      bad.pairs[1].reference_chosen[0] = std::numeric_limits<float>::quiet_NaN();
    }
    const auto skipped = trainer.Step(bad);
    ASSERT_TRUE(skipped.ok()) << skipped.status();
    EXPECT_TRUE(skipped->skipped);
    EXPECT_EQ(skipped->offending_pair, pairs_[3].id);
    EXPECT_EQ(LargestDifference(Copies(trainer.model().NamedParameters()), before), 0);
    const auto next = trainer.Step(Input(2, group.rank(), 2));
    ASSERT_TRUE(next.ok()) << next.status();
    EXPECT_FALSE(next->skipped);
    EXPECT_GT(LargestDifference(Copies(trainer.model().NamedParameters()), before), 0);
  });
}

TEST_F(ShardedTrainingTest, MoreRanksThanPairsTrainToo) {
  AsRanks(4, torch::kFloat32, [&](auto& group, PreferenceTrainer& trainer) {
    StepInput input = Input(1, group.rank(), 4);
    if (group.rank() != 2) input.pairs.clear();
    input.global_pairs = 1;
    const auto outcome = trainer.Step(input);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_GT(outcome->values.at("gradient_norm"), 0);
  });
}

// The state of two ranks is read by one, two and four, in each case to the same next step.
TEST_F(ShardedTrainingTest, ACheckpointOfTwoRanksIsResumedByAnyNumber) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const std::string path = absl::StrCat(folder_, "/saved-", static_cast<int>(dtype));
    std::vector<torch::Tensor> saved, after;
    AsRanks(2, dtype, [&](auto& group, PreferenceTrainer& trainer) {
      for (int64_t step = 1; step <= 3; ++step) {
        ASSERT_TRUE(trainer.Step(Input(step, group.rank(), 2)).ok());
      }
      ASSERT_TRUE(Save(group, trainer, path).ok());
      if (group.rank() == 0) saved = Copies(trainer.model().NamedParameters());
      ASSERT_TRUE(trainer.Step(Input(4, group.rank(), 2)).ok());
      if (group.rank() == 0) after = Copies(trainer.model().NamedParameters());
    });
    EXPECT_TRUE(
        checkpoint::CheckComplete(base::PosixFileSystem(), path, checkpoint::Verify::kChecksums)
            .ok());
    EXPECT_FALSE(base::PosixFileSystem()->Exists(PartPath(path, 1)));

    const auto alone = [&] {
      auto folder = checkpoint::CheckpointFolder::Open(path);
      DTRPO_CHECK_OK(folder);
      auto full = model::Transformer::Load(*folder, {.requires_grad = true});
      DTRPO_CHECK_OK(full);
      auto trained = TrainedModel::Create(*std::move(full), dtype);
      DTRPO_CHECK_OK(trained);
      if (trained->has_masters()) {
        const absl::Status restored = RestoreMasters(path, *trained);
        DTRPO_CHECK(restored.ok()) << restored;
      }
      auto trainer = PreferenceTrainer::Create(*std::move(trained), spec_);
      DTRPO_CHECK_OK(trainer);
      return *std::move(trainer);
    }();
    ASSERT_EQ(LargestDifference(Copies(alone->model().NamedParameters()), saved), 0);
    const absl::Status restored = RestoreOptimizer(path, alone->optimizer());
    ASSERT_TRUE(restored.ok()) << restored;
    ASSERT_TRUE(alone->Step(Input(4)).ok());
    const double tolerance = dtype == torch::kFloat32 ? 1e-5 : 0.02;
    EXPECT_LT(LargestDifference(Copies(alone->model().NamedParameters()), after), tolerance);

    for (const int world : {2, 4}) {
      AsRanks(world, dtype, [&](auto& group, PreferenceTrainer&) {
        // What isn't saved as a master comes from the weights' file.
        auto folder = checkpoint::CheckpointFolder::Open(path);
        DTRPO_CHECK_OK(folder);
        auto full = model::Transformer::Load(*folder, {.requires_grad = true});
        DTRPO_CHECK_OK(full);
        auto trained = TrainedModel::Create(*std::move(full), dtype);
        DTRPO_CHECK_OK(trained);
        auto resumed = PreferenceTrainer::Create(*std::move(trained), spec_, &group);
        DTRPO_CHECK_OK(resumed);
        const auto state = SavedOptimizer::Open(base::PosixFileSystem(), path);
        DTRPO_CHECK_OK(state);
        const absl::Status status = (*resumed)->sharded_optimizer()->Restore(*state);
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_TRUE((*resumed)->Step(Input(4, group.rank(), world)).ok());
        const double difference =
            LargestDifference(Copies((*resumed)->model().NamedParameters()), after);
        if (world == 2) {
          EXPECT_EQ(difference, 0) << "resumed by as many ranks: bit for bit";
        } else {
          EXPECT_LT(difference, tolerance);
        }
      });
    }
  }
}

TEST_F(ShardedTrainingTest, ASetWithAMissingFileIsRefusedByName) {
  const std::string path = folder_ + "/saved";
  AsRanks(2, torch::kFloat32, [&](auto& group, PreferenceTrainer& trainer) {
    ASSERT_TRUE(trainer.Step(Input(1, group.rank(), 2)).ok());
    ASSERT_TRUE(Save(group, trainer, path).ok());
  });
  ASSERT_TRUE(base::PosixFileSystem()->RemoveFile(path + "/" + OptimizerFileOf(1, 2)).ok());
  EXPECT_THAT(std::string(SavedOptimizer::Open(base::PosixFileSystem(), path).status().message()),
              HasSubstr("optimizer-00002-of-00002.safetensors"));
}

TEST(ShardedLayoutTest, EveryElementIsOwnedOnce) {
  const std::vector<int64_t> lengths = {7, 1, 100, 3, 64, 2};
  for (const int world : {1, 2, 3, 4, 8}) {
    for (const int64_t size : {1, 50, 1000}) {
      std::vector<std::vector<int>> owners;
      for (const int64_t length : lengths) owners.emplace_back(length, 0);
      for (const Bucket& bucket : MakeBuckets(lengths, world, size)) {
        EXPECT_EQ(bucket.length % world, 0);
        for (int rank = 0; rank < world; ++rank) {
          for (const Piece& piece : PiecesOf(bucket, lengths, rank, world)) {
            for (int64_t e = piece.begin; e < piece.end; ++e) ++owners[piece.parameter][e];
            EXPECT_LE(piece.offset + piece.end - piece.begin, bucket.length / world);
          }
        }
      }
      for (const auto& owned : owners) EXPECT_THAT(owned, ::testing::Each(1));
    }
  }
}

}  // namespace
}  // namespace dtrpo::training
