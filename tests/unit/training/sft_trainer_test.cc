#include "common/training/sft_trainer.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dtrpo::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

checkpoint::ModelDescriptor TinyDescriptor() {
  checkpoint::ModelDescriptor d;
  d.family = "fast_dllm_v2";
  d.hidden_size = 16;
  d.num_layers = 2;
  d.num_heads = 4;
  d.num_key_value_heads = 2;
  d.head_dim = 4;
  d.intermediate_size = 24;
  d.vocab_size = 12;
  d.rope_theta = 10000;
  d.rms_norm_eps = 1e-6;
  d.initializer_range = 0.2;
  d.tie_word_embeddings = true;
  d.qkv_bias = true;
  d.block_size = 4;
  d.logit_shift = 1;
  d.mask_id = 11;
  d.pad_id = 10;
  d.stop_ids = {10};
  return d;
}

// Repeat the prompt's token twice.
std::vector<objective::SftExample> CopyTask() {
  std::vector<objective::SftExample> examples;
  for (int32_t token = 0; token < 10; ++token) {
    examples.push_back({{9, token, 9}, {token, token, 10}});
  }
  return examples;
}

SftOptions FastOptions() {
  SftOptions options;
  options.steps = 60;
  options.batch_examples = 8;
  options.learning_rate = 0.01;
  options.warmup_steps = 10;
  options.seed = 5;
  return options;
}

std::unique_ptr<SftTrainer> MakeTrainer(
    const SftOptions& options, std::vector<objective::SftExample> examples = CopyTask(),
    torch::Dtype dtype = torch::kFloat32,
    const checkpoint::ModelDescriptor& descriptor = TinyDescriptor()) {
  auto model = model::Transformer::Random(descriptor, 1, {.requires_grad = true});
  EXPECT_TRUE(model.ok()) << model.status();
  auto trained = TrainedModel::Create(*std::move(model), dtype);
  EXPECT_TRUE(trained.ok()) << trained.status();
  auto trainer = SftTrainer::Create(*std::move(trained), std::move(examples), options);
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

// Losses of all steps.
std::vector<double> Train(SftTrainer& trainer) {
  std::vector<double> losses;
  SftHooks hooks;
  hooks.report = [&losses](const SftStep& step) { losses.push_back(step.loss); };
  EXPECT_TRUE(trainer.Run(hooks).ok());
  return losses;
}

std::vector<torch::Tensor> Weights(const SftTrainer& trainer) {
  std::vector<torch::Tensor> copies;
  for (const torch::Tensor& p : trainer.model().Parameters()) copies.push_back(p.detach().clone());
  return copies;
}

bool SameBits(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!torch::equal(a[i], b[i])) return false;
  }
  return true;
}

double Mean(const std::vector<double>& values, size_t begin, size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += values[i];
  return sum / static_cast<double>(end - begin);
}

TEST(SftTrainerTest, TheLossFallsToLessThanHalf) {
  const auto trainer = MakeTrainer(FastOptions());
  const std::vector<double> losses = Train(*trainer);
  ASSERT_EQ(losses.size(), 60u);
  EXPECT_LT(Mean(losses, 50, 60), Mean(losses, 0, 10) / 2);
}

TEST(SftTrainerTest, ABfloat16ModelLearnsAsWell) {
  const auto trainer = MakeTrainer(FastOptions(), CopyTask(), torch::kBFloat16);
  const std::vector<double> losses = Train(*trainer);
  EXPECT_LT(Mean(losses, 50, 60), Mean(losses, 0, 10) / 2);
  EXPECT_EQ(trainer->model().HeadWeight().scalar_type(), torch::kBFloat16);
}

checkpoint::ModelDescriptor Bidirectional(int32_t logit_shift) {
  checkpoint::ModelDescriptor d = TinyDescriptor();
  d.family = logit_shift == 1 ? "dream" : "llada";
  d.attention = checkpoint::Attention::kBidirectional;
  d.block_origin = checkpoint::BlockOrigin::kResponse;
  d.block_size = 0;
  d.logit_shift = logit_shift;
  return d;
}

TEST(SftTrainerTest, BidirectionalModelsLearnWithAndWithoutTokenShift) {
  for (const int32_t shift : {0, 1}) {
    std::vector<objective::SftExample> examples = CopyTask();
    examples[0].answer_tokens = {0, 10};  // shorter than the others: padded
    const auto trainer =
        MakeTrainer(FastOptions(), examples, torch::kFloat32, Bidirectional(shift));
    const std::vector<double> losses = Train(*trainer);
    EXPECT_LT(Mean(losses, 50, 60), Mean(losses, 0, 10) / 2) << shift;
  }
}

TEST(SftTrainerTest, TheSameSeedGivesTheSameWeightsBitForBitAndAnotherDoesNot) {
  SftOptions options = FastOptions();
  options.steps = 15;
  const auto a = MakeTrainer(options), b = MakeTrainer(options);
  EXPECT_EQ(Train(*a), Train(*b));
  EXPECT_TRUE(SameBits(Weights(*a), Weights(*b)));
  options.seed = 6;
  const auto c = MakeTrainer(options);
  EXPECT_NE(Train(*a), Train(*c));
  EXPECT_FALSE(SameBits(Weights(*a), Weights(*c)));
}

TEST(SftTrainerTest, WatchingAndEvaluatingChangesNothing) {
  SftOptions options = FastOptions();
  options.steps = 10;
  const auto unwatched = MakeTrainer(options);
  ASSERT_TRUE(unwatched->Run({}).ok());
  options.evaluate_every = 2;
  const auto watched = MakeTrainer(options);
  SftHooks hooks;
  hooks.evaluate = [](const model::Transformer&) { return 0.5; };
  ASSERT_TRUE(watched->Run(hooks).ok());
  EXPECT_TRUE(SameBits(Weights(*unwatched), Weights(*watched)));
}

TEST(SftTrainerTest, StopsAtTheFirstEvaluationThatReachesTheAccuracy) {
  SftOptions options = FastOptions();
  options.evaluate_every = 3;
  options.stop_at_accuracy = 0.5;
  const auto trainer = MakeTrainer(options);
  const double accuracies[] = {0.125, 0.25, 0.5, 0.75};
  int evaluations = 0;
  std::vector<int64_t> evaluated;
  SftHooks hooks;
  hooks.evaluate = [&](const model::Transformer&) { return accuracies[evaluations++]; };
  hooks.report = [&](const SftStep& step) {
    if (step.heldout_accuracy) evaluated.push_back(step.step);
  };
  const auto last = trainer->Run(hooks);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->step, 9);
  EXPECT_EQ(last->heldout_accuracy, 0.5);
  EXPECT_THAT(evaluated, ElementsAre(3, 6, 9));
}

TEST(SftTrainerTest, AFailedEvaluationEndsTheRun) {
  SftOptions options = FastOptions();
  options.evaluate_every = 1;
  const auto trainer = MakeTrainer(options);
  SftHooks hooks;
  hooks.evaluate = [](const model::Transformer&) -> absl::StatusOr<double> {
    return absl::InternalError("no sampler");
  };
  EXPECT_EQ(trainer->Run(hooks).status(), absl::InternalError("no sampler"));
}

// One answer of one token: about half of the batches have no masked token.
TEST(SftTrainerTest, ABatchWithoutAMaskedTokenLeavesTheWeightsAlone) {
  SftOptions options = FastOptions();
  options.batch_examples = 1;
  options.warmup_steps = 0;
  const auto trainer = MakeTrainer(options, {{{1, 2}, {10}}});
  int idle = 0, updates = 0;
  for (int i = 0; i < 20; ++i) {
    const std::vector<torch::Tensor> before = Weights(*trainer);
    const auto step = trainer->Step();
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_EQ(SameBits(before, Weights(*trainer)), step->loss == 0) << step->step;
    step->loss == 0 ? ++idle : ++updates;
  }
  EXPECT_GT(idle, 0);
  EXPECT_GT(updates, 0);
}

TEST(SftTrainerTest, ALossThatIsNotFiniteEndsTheRunBeforeTheUpdate) {
  const auto trainer = MakeTrainer(FastOptions());
  ASSERT_TRUE(trainer->Step().ok());
  {
    torch::NoGradGuard no_grad;
    trainer->model().Parameters()[0].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  const std::vector<torch::Tensor> before = Weights(*trainer);
  const absl::Status status = trainer->Step().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("step 2: loss nan"));
  EXPECT_TRUE(torch::equal(before[1], Weights(*trainer)[1]));
}

TEST(SftTrainerTest, ExamplesThatCannotBeTrainedOnAreNamed) {
  const auto refusal = [](std::vector<objective::SftExample> examples) {
    auto model = model::Transformer::Random(TinyDescriptor(), 1, {.requires_grad = true});
    return std::string(
        SftTrainer::Create(TrainedModel::Of(*std::move(model)), std::move(examples), {})
            .status()
            .message());
  };
  EXPECT_THAT(refusal({}), HasSubstr("no training examples"));
  EXPECT_THAT(refusal({{{1}, {2}}, {{}, {2}}}), HasSubstr("example 1: its prompt is empty"));
  EXPECT_THAT(refusal({{{1}, {}}}), HasSubstr("example 0: its answer is empty"));
}

}  // namespace
}  // namespace dtrpo::training
