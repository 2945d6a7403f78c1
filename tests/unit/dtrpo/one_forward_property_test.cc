// The packed forward against the plain implementation (tests/support/plain_scorer.h) in float32:
// terms and gradients to 1e-5, whatever the lengths, for each residue of the prompt, several pairs
// a forward. And what the forward costs: rows, and memory that grows with them alone.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/dtrpo/remask.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/support/plain_scorer.h"
#include "tests/unit/dtrpo/step_oracle.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::objective {
namespace {

using trajectory::MaskPlan;
using trajectory::MaskPlanOptions;
using trajectory::Trajectory;

constexpr double kTolerance = 1e-5;

std::unique_ptr<model::Transformer> Model(checkpoint::ModelDescriptor descriptor) {
  descriptor.qk_norm = descriptor.logit_shift == 0;  // as SDAR
  return model::TinyTransformer(descriptor, {.requires_grad = true});
}

struct Answers {
  std::vector<Trajectory> trajectories;
  std::vector<MaskPlan> plans;
  std::vector<ScoreInput> inputs;
  std::string what;
};

// Two pairs: the first one's prompt has `residue` tokens more than whole blocks. K is 1 to 4, or
// the plan is exact.
std::unique_ptr<Answers> RandomPairs(uint64_t seed, int32_t block, int64_t residue, bool shift,
                                     bool bidirectional) {
  base::CounterRng rng(seed, /*stream=*/7);
  const auto up_to = [&](uint64_t n) { return static_cast<int64_t>(rng.UniformInt(n + 1)); };
  auto answers = std::make_unique<Answers>();
  MaskPlanOptions options{
      .job_seed = seed,
      .draws = static_cast<int32_t>(1 + up_to(3)),
      .draw_from = bidirectional ? trajectory::DrawFrom::kSequence : trajectory::DrawFrom::kBlock};
  if (up_to(4) == 0) options.kind = trajectory::PlanKind::kExact;
  answers->what = absl::StrCat("seed ", seed, ", block ", block, ", residue ", residue, ", shift ",
                               shift, ", draws ", options.draws);
  for (int pair = 0; pair < 2; ++pair) {
    const int64_t tail = pair == 0 ? residue : up_to(block - 1);
    const int64_t prompt = std::max<int64_t>(1, block * up_to(2) + tail);
    std::vector<int32_t> prompt_tokens;
    for (int which = 0; which < 2; ++which) {
      const auto length = static_cast<int32_t>(1 + up_to(2 * block));
      Trajectory t = support::RandomTrajectory(
          {.prompt_tokens = prompt,
           .max_new_tokens = length,
           .block_size = block,
           .max_steps = 4,
           .token_shift = shift,
           .stop_index = up_to(1) == 0 ? -1 : static_cast<int32_t>(up_to(length - 1)),
           .bidirectional = bidirectional},
          seed * 10 + static_cast<uint64_t>(2 * pair + which));
      if (which == 0) prompt_tokens = t.prompt_tokens;
      t.prompt_tokens = prompt_tokens;
      answers->trajectories.push_back(std::move(t));
    }
  }
  for (const Trajectory& t : answers->trajectories) {
    EXPECT_TRUE(Validate(t).ok()) << Validate(t);
    answers->plans.push_back(MakeMaskPlan(t, options, 0));
  }
  for (size_t i = 0; i < answers->plans.size(); ++i) {
    answers->inputs.push_back({&answers->trajectories[i], &answers->plans[i]});
  }
  return answers;
}

std::vector<torch::Tensor> TakeGradients(const model::Transformer& model) {
  std::vector<torch::Tensor> gradients;
  for (torch::Tensor parameter : model.Parameters()) {
    gradients.push_back(parameter.grad().defined() ? parameter.grad()
                                                   : torch::zeros_like(parameter));
    parameter.mutable_grad() = torch::Tensor();
  }
  return gradients;
}

// Terms, and the gradients of a weighted sum of them that is of the size of one term.
void ExpectEqualToPlain(const model::Transformer& model, const Answers& answers) {
  SCOPED_TRACE(answers.what);
  const auto terms = ScoreTargets(model, answers.inputs, trajectory::Boundary::kClean);
  ASSERT_TRUE(terms.ok()) << terms.status();
  if (terms->numel() == 0) return;
  std::vector<torch::Tensor> plain;
  for (size_t i = 0; i < answers.plans.size(); ++i) {
    plain.push_back(
        support::PlainScores(model, answers.trajectories[i], answers.plans[i]).to(torch::kFloat32));
  }
  const torch::Tensor expected = torch::cat(plain);
  ASSERT_EQ(terms->numel(), expected.numel());
  EXPECT_LE(model::MaxDifference(*terms, expected), kTolerance);

  const auto count = static_cast<double>(terms->numel());
  const torch::Tensor weights = torch::linspace(-1, 1, terms->numel()) / count;
  (*terms * weights).sum().backward();
  const std::vector<torch::Tensor> gradients = TakeGradients(model);
  (expected * weights).sum().backward();
  const std::vector<torch::Tensor> expected_gradients = TakeGradients(model);
  double largest = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    EXPECT_LE(model::MaxDifference(gradients[i], expected_gradients[i]), kTolerance)
        << model.NamedParameters()[i].first;
    largest = std::max(largest, expected_gradients[i].abs().max().item<double>());
  }
  if (count > 1) {
    EXPECT_GT(largest, 100 * kTolerance) << "nothing to compare";
  }
}

class OneForwardTest : public ::testing::TestWithParam<int32_t> {};

TEST_P(OneForwardTest, TermsAndGradientsEqualThePlainOnesForEachResidueOfThePrompt) {
  const int32_t block = GetParam();
  for (const bool shift : {true, false}) {
    checkpoint::ModelDescriptor descriptor = ScoredDescriptor(shift);
    descriptor.block_size = block;
    const auto model = Model(descriptor);
    for (int64_t residue = 0; residue < block; ++residue) {
      const auto seed = static_cast<uint64_t>(1000 * block + 2 * residue + (shift ? 1 : 0));
      const auto answers = RandomPairs(seed, block, residue, shift, /*bidirectional=*/false);
      ASSERT_NO_FATAL_FAILURE(ExpectEqualToPlain(*model, *answers));
    }
  }
}

TEST_P(OneForwardTest, BidirectionalTermsAndGradientsEqualThePlainOnes) {
  const int32_t block = GetParam();
  for (const bool shift : {true, false}) {
    checkpoint::ModelDescriptor descriptor = BidirectionalDescriptor(shift);
    descriptor.block_size = block;
    const auto model = Model(descriptor);
    for (uint64_t i = 0; i < 6; ++i) {
      const auto answers =
          RandomPairs(i, block, static_cast<int64_t>(i) % block, shift, /*bidirectional=*/true);
      ASSERT_NO_FATAL_FAILURE(ExpectEqualToPlain(*model, *answers));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Blocks, OneForwardTest, ::testing::Values(4, 8, 32),
                         [](const auto& block) { return absl::StrCat("Of", block.param); });

// Whole prompt blocks once for both answers, all clean blocks but the last, K noisy ones each.
TEST(OneForwardCostTest, APairHasTheRowsOfOnePromptAndOfItsAnswersCleanAndNoisyBlocks) {
  for (const int32_t draws : {1, 2, 3}) {
    Trajectory chosen = support::RandomTrajectory({.prompt_tokens = 9, .max_new_tokens = 19}, 1);
    Trajectory rejected = support::RandomTrajectory({.prompt_tokens = 9, .max_new_tokens = 11}, 2);
    rejected.prompt_tokens = chosen.prompt_tokens;
    int64_t rows = 8;  // of the two whole blocks
    std::vector<MaskPlan> plans;
    for (const Trajectory* t : {&chosen, &rejected}) {
      plans.push_back(MakeMaskPlan(*t, {.draws = draws}, 0));
      for (const trajectory::BlockPlan& block : plans.back().blocks) {
        rows += t->block_size * (1 + static_cast<int64_t>(block.states.size()));
      }
      rows -= t->block_size;  // the last clean one
    }
    const std::vector<ScoreInput> inputs = {{&chosen, &plans[0]}, {&rejected, &plans[1]}};
    const auto batch = Remask(inputs, {.mask_id = 12, .vocabulary_size = 13});
    ASSERT_TRUE(batch.ok()) << batch.status();
    EXPECT_EQ(static_cast<int64_t>(batch->rows.token_ids.size()), rows);
    // No mask exists: what a segment sees is two ranges of rows at most, and itself.
    for (const model::Segment& segment : batch->rows.segments) EXPECT_LE(segment.keys.size(), 3u);
  }
}

// Counts the bytes of tensors that exist at once on this thread.
class PeakBytes : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    now_ += size;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0, peak_ = 0;
};

struct Cost {
  double rows, bytes;
};

constexpr double kIndexBytes = 8;  // of a key that a segment gathers

// Of forward and backward of one answer of so many blocks, without the plan's indices: one for all
// layers and one for the last, a number for each key of each segment.
Cost CostOf(const model::Transformer& model, int32_t blocks) {
  const Trajectory t =
      support::RandomTrajectory({.prompt_tokens = 4, .max_new_tokens = 4 * blocks}, 1);
  const MaskPlan plan = MakeMaskPlan(t, {}, 0);
  const ScoreInput input{&t, &plan};
  const auto batch = Remask({&input, 1}, {.mask_id = 12, .vocabulary_size = 13});
  EXPECT_TRUE(batch.ok()) << batch.status();
  TakeGradients(model);
  const auto bytes = std::make_shared<PeakBytes>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
    const auto terms = ScoreTargets(model, {&input, 1}, trajectory::Boundary::kClean);
    EXPECT_TRUE(terms.ok()) << terms.status();
    terms->sum().backward();
  }
  double keys = 0;
  for (const model::Segment& segment : batch->rows.segments) {
    for (const model::KeyRange& range : segment.keys) {
      keys += static_cast<double>(range.end - range.begin);
    }
  }
  return {static_cast<double>(batch->rows.token_ids.size()),
          static_cast<double>(bytes->peak()) - 2 * kIndexBytes * keys};
}

TEST(OneForwardCostTest, MemoryGrowsWithTheRowsAndNotWithTheirSquare) {
  const auto model = Model(ScoredDescriptor());
  const Cost brief = CostOf(*model, 32), longer = CostOf(*model, 64), longest = CostOf(*model, 256);
  const auto more = [](const Cost& a, const Cost& b) {
    return (b.bytes - a.bytes) / (b.rows - a.rows);
  };
  const double first = more(brief, longer), second = more(longer, longest);
  EXPECT_GT(first, 100) << "bytes a row";
  EXPECT_LT(second, 1.1 * first);
}

}  // namespace
}  // namespace dtrpo::objective
