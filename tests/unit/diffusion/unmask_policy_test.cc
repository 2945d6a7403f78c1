// What all policies have in common.
#include "common/diffusion/unmask_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <typeinfo>

#include "common/base/philox.h"
#include "common/diffusion/unmask_confidence.h"
#include "common/diffusion/unmask_dream.h"
#include "common/diffusion/unmask_entropy_bound.h"
#include "common/diffusion/unmask_position.h"
#include "tests/unit/diffusion/masked_positions.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<UnmaskPolicy> Policy(const std::string& text) {
  auto policy = ParseUnmaskPolicy(text);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

template <typename Expected>
bool Makes(const std::string& text) {
  const auto policy = Policy(text);
  const UnmaskPolicy& made = *policy;
  return typeid(made) == typeid(Expected);
}

TEST(UnmaskPolicyTest, EveryNameMakesItsPolicy) {
  EXPECT_TRUE(Makes<StaticSteps>("steps:2"));
  EXPECT_TRUE(Makes<Threshold>("threshold:0.5,2"));
  EXPECT_TRUE(Makes<Factor>("factor:1"));
  EXPECT_TRUE(Makes<EntropyBound>("entropy:0.35"));
  EXPECT_TRUE(Makes<Dream>("dream:origin"));
  EXPECT_TRUE(Makes<Sequential>("sequential:1"));
  EXPECT_TRUE(Makes<RandomPositions>("random:1"));
}

TEST(UnmaskPolicyTest, QuotesWhatItCannotRead) {
  const auto policy = ParseUnmaskPolicy("threshold:1.5");
  EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(policy.status().message()), HasSubstr("'threshold:1.5'"));
}

// Each step commits at least one position, each position is committed once, and all of them are in
// the end, whatever the numbers say.
TEST(UnmaskPolicyTest, StepsPartitionTheMasksWhateverTheNumbers) {
  base::CounterRng rng(20, 0);
  for (const std::string text : {"steps:1",
                                 "steps:3",
                                 "steps:50",
                                 "threshold:0.9",
                                 "threshold:0.5,3",
                                 "threshold:0",
                                 "factor:0.1",
                                 "factor:1",
                                 "factor:9",
                                 "entropy:0",
                                 "entropy:0.7",
                                 "entropy:100",
                                 "dream:origin,1",
                                 "dream:origin,5",
                                 "dream:origin",
                                 "dream:maskgit_plus,7",
                                 "dream:topk_margin,64,0.1",
                                 "dream:entropy,3,0.5,0.2",
                                 "dream:entropy",
                                 "sequential:1",
                                 "sequential:3",
                                 "random:1",
                                 "random:5"}) {
    const auto policy = Policy(text);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      std::vector<MaskedPosition> masked(1 + rng.UniformInt(40));
      for (size_t i = 0; i < masked.size(); ++i) {
        // Few distinct values: ties are common. 0 and 1 are among them.
        masked[i] = {.position = 100 + static_cast<int64_t>(3 * i),
                     .confidence = static_cast<float>(rng.UniformInt(9)) / 8,
                     .entropy = static_cast<float>(rng.UniformInt(5)),
                     .margin = static_cast<float>(rng.UniformInt(5)) / 4};
      }
      std::set<int64_t> committed;
      size_t total = 0;
      for (const auto& positions : PositionsPerStep(*policy, masked, seed)) {
        EXPECT_FALSE(positions.empty()) << text;
        EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end())) << text;
        committed.insert(positions.begin(), positions.end());
        total += positions.size();
      }
      EXPECT_EQ(total, masked.size()) << text;
      EXPECT_EQ(committed.size(), masked.size()) << text;
    }
  }
}

TEST(OrderUniformTest, IsTheDocumentedWordOfTheDocumentedStream) {
  const base::CounterRng rng(5, (uint64_t{1} << 63) + 17);
  EXPECT_EQ(OrderUniform(5, 17, 3), rng.Uniform01At(3));
}

TEST(OrderUniformTest, SharesNoNumberWithTheTokensDraws) {
  for (int64_t position = 0; position < 50; ++position) {
    const base::CounterRng tokens(5, static_cast<uint64_t>(position));
    for (int32_t step = 0; step < 50; ++step) {
      EXPECT_NE(OrderUniform(5, position, step), tokens.Uniform01At(step));
    }
  }
}

}  // namespace
}  // namespace dtrpo::diffusion
