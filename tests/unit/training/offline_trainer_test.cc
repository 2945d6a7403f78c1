#include "common/training/offline_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/trajectory/external_pair.h"
#include "tests/support/tiny_checkpoint.h"

namespace dtrpo::training {
namespace {

using ::testing::HasSubstr;
using trajectory::PreferencePair;

class OfflineTrainerTest : public ::testing::Test {
 protected:
  OfflineTrainerTest() : path_(support::TestFolder() + "/base") {
    support::WriteTinyCheckpoint(path_);
    reference_ = support::LoadModel(path_);
    spec_.training.learning_rate = 5e-3;
    spec_.training.schedule = job::Schedule::kConstant;
    spec_.training.pairs_per_batch = 4;
    spec_.data.epochs = 1;
  }

  // Chosen answers are made of small tokens, rejected ones of large ones.
  std::vector<PreferencePair> Pairs(int count, int first = 0) const {
    const checkpoint::ModelDescriptor& d = reference_->descriptor();
    trajectory::CanvasRules rules;
    rules.block_size = d.block_size;
    rules.first_tokens = true;
    rules.mask_id = d.mask_id;
    rules.stop_ids = d.stop_ids;
    rules.vocabulary_size = d.vocab_size;
    rules.max_new_tokens = 8;
    std::vector<PreferencePair> pairs;
    for (int32_t i = first; i < first + count; ++i) {
      const int32_t a = i % 7, b = i % 5;
      const auto pair = MakeExternalPair(
          {absl::StrCat(i), {1 + i % 30, 2, 3}, {a, b, a, b, a}, {20 + a, 20 + b, 20 + a, 20 + b}},
          rules, {.steps = 2});
      DTRPO_CHECK_OK(pair);
      pairs.push_back(*pair);
    }
    return pairs;
  }

  std::unique_ptr<OfflineTrainer> Trainer(int pairs) const {
    auto trainer =
        OfflineTrainer::Create(TrainedModel::Of(support::LoadModel(path_, /*requires_grad=*/true)),
                               reference_.get(), Pairs(pairs), spec_);
    DTRPO_CHECK_OK(trainer);
    return *std::move(trainer);
  }

  const std::string path_;
  std::unique_ptr<model::Transformer> reference_;
  job::JobSpec spec_;
};

TEST_F(OfflineTrainerTest, LearnsThePreferenceAlsoWhereItIsNotTrained) {
  spec_.data.epochs = 6;
  const auto trainer = Trainer(16);
  const std::vector<PreferencePair> heldout = Pairs(8, /*first=*/100);
  const auto before = trainer->Evaluate(heldout);
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->pairs, 8);
  EXPECT_NEAR(before->margin, 0, 1e-5);
  EXPECT_NEAR(before->loss, std::log(2.0), 1e-5);
  double first = 0, last = 0;
  while (trainer->step() < trainer->steps()) {
    const auto outcome = trainer->Step();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    last = outcome->values.at("preference_loss");
    if (trainer->step() == 1) first = last;
  }
  EXPECT_NEAR(first, std::log(2.0), 1e-5);
  EXPECT_LT(last, 0.5);
  const auto after = trainer->Evaluate(heldout);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_GT(after->margin, 0.5);
  EXPECT_EQ(after->accuracy, 1);
  EXPECT_GE(after->chosen_likelier, before->chosen_likelier);
  EXPECT_EQ(after->chosen_likelier, 1);
}

TEST_F(OfflineTrainerTest, EpochsUseEachPairAndTheLastBatchIsWhatIsLeft) {
  spec_.data.epochs = 3;
  const auto trainer = Trainer(7);
  EXPECT_EQ(trainer->steps(), 6);  // 21 uses, 4 at a time
  double pairs = 0;
  while (trainer->step() < trainer->steps()) {
    const auto outcome = trainer->Step();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    pairs = outcome->values.at("pairs");
  }
  EXPECT_EQ(pairs, 1);
  EXPECT_EQ(trainer->uses(), 21);
  spec_.training.steps = 2;  // says more than the epochs
  EXPECT_EQ(Trainer(7)->steps(), 2);
}

TEST_F(OfflineTrainerTest, TheReferenceScoresNoStateTwice) {
  spec_.training.steps = 40;
  const auto trainer = Trainer(4);
  int64_t states = 0;
  for (const PreferencePair& pair : Pairs(4)) {
    for (const trajectory::Trajectory* t : {&pair.chosen, &pair.rejected}) {
      for (const auto& block :
           trajectory::MakeMaskPlan(*t, {.kind = trajectory::PlanKind::kExact}, 0).blocks) {
        states += static_cast<int64_t>(block.states.size()) + (block.first_token >= 0 ? 1 : 0);
      }
    }
  }
  while (trainer->step() < 40) ASSERT_TRUE(trainer->Step().ok());
  EXPECT_EQ(trainer->reference().scored_states(), states);
}

TEST_F(OfflineTrainerTest, TheSameSeedGivesTheSameWeightsAndAnotherOneOthers) {
  const auto weights = [this] {
    const auto trainer = Trainer(16);
    while (trainer->step() < trainer->steps()) DTRPO_CHECK_OK(trainer->Step());
    return trainer->model().NamedParameters().front().second.detach().clone();
  };
  const torch::Tensor first = weights();
  EXPECT_TRUE(torch::equal(first, weights()));
  spec_.seed = 2;
  EXPECT_FALSE(torch::equal(first, weights()));
}

TEST_F(OfflineTrainerTest, StepsThatAreNotFiniteAreSkippedUntilThereAreTooMany) {
  spec_.training.steps = 10;
  spec_.training.max_skipped_steps = 2;
  spec_.objective.beta = std::numeric_limits<double>::infinity();
  const auto trainer = Trainer(8);
  for (int i = 0; i < 2; ++i) {
    const auto outcome = trainer->Step();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_TRUE(outcome->skipped);
  }
  EXPECT_THAT(std::string(trainer->Step().status().message()),
              HasSubstr("3 steps in a row gave numbers that aren't finite; last at step 3, pair"));
}

TEST_F(OfflineTrainerTest, WithoutPairsThereIsNothingToDo) {
  const auto trainer = OfflineTrainer::Create(TrainedModel::Of(support::LoadModel(path_, true)),
                                              reference_.get(), {}, spec_);
  EXPECT_THAT(std::string(trainer.status().message()), HasSubstr("no pairs"));
}

}  // namespace
}  // namespace dtrpo::training
