// One call of Sample: how sequences share forwards and the cache, and what its caller hears.
#include "common/diffusion/sampling_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/trajectory/block_layout.h"
#include "tests/unit/diffusion/tiny_sampler.h"

namespace dtrpo::diffusion {
namespace {

using ::testing::HasSubstr;
using trajectory::FinishReason;

TEST(SamplingRunTest, ASmallCacheMakesSequencesWaitAndChangesNothing) {
  const auto model = TinyModel();
  SamplerOptions options = Options("threshold:0.5", 1);
  const std::vector<SampleRequest> requests = Requests({3, 13, 6, 13, 9, 4}, 3);
  const std::vector<Trajectory> roomy = SampleAll(*model, options, requests);
  // Canvas and prompt of the longest request take 24 rows of keys and values.
  const int64_t row = model::KvCache::RowBytes(model->descriptor(), torch::kFloat32);
  for (const int64_t rows : {24, 30, 61}) {
    options.max_cache_bytes = rows * row;
    const std::vector<Trajectory> tight = SampleAll(*model, options, requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(tight[i].response_tokens, roomy[i].response_tokens) << rows;
      EXPECT_EQ(tight[i].unmask_step, roomy[i].unmask_step) << rows;
    }
  }
  options.max_cache_bytes = 24 * row - 1;
  auto sampler = BlockSampler::Create(model.get(), options);
  ASSERT_TRUE(sampler.ok());
  const auto refused = (*sampler)->Sample(requests);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("'p13/0'"));
  EXPECT_THAT(refused.status().message(), HasSubstr("max_cache_bytes"));
}

TEST(SamplingRunTest, ASamplerIsUsedAgainAndAgain) {
  const auto model = TinyModel();
  auto sampler = BlockSampler::Create(model.get(), Options("steps:2", 1));
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  const auto large = (*sampler)->Sample(Requests({9, 17}, 3));
  const auto small = (*sampler)->Sample(Requests({9}, 3));  // fits the cache that is there
  ASSERT_TRUE(large.ok() && small.ok());
  for (size_t i = 0; i < small->size(); ++i) ExpectSameTrajectory((*small)[i], (*large)[i]);
  const auto none = (*sampler)->Sample({});
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->empty());
}

TEST(SamplingRunTest, CountsForwardsTokensAndSequences) {
  for (const int32_t shift : {0, 1}) {
    const auto model = TinyModel(shift);
    SamplerOptions options = Options("steps:2", 0);
    options.parameters.max_new_tokens = 8;
    auto sampler = BlockSampler::Create(model.get(), options);
    ASSERT_TRUE(sampler.ok()) << sampler.status();
    const auto t = (*sampler)->Sample(Requests({4}, 1));
    ASSERT_TRUE(t.ok()) << t.status();
    ASSERT_EQ((*t)[0].finish_reason, FinishReason::kLength);
    const SampleStatistics& statistics = (*sampler)->statistics();
    EXPECT_EQ(statistics.sequences, 1);
    EXPECT_EQ(statistics.tokens, 8);
    EXPECT_EQ(statistics.cache_bytes,  // prompt and canvas
              12 * model::KvCache::RowBytes(model->descriptor(), model->dtype()));
    // Two steps a block. The prompt runs with the first of them, and so does the finished block
    // when its last row isn't needed for a first token: then both are forwards of their own.
    EXPECT_EQ(statistics.forwards, shift == 0 ? 4 : 6);
    EXPECT_EQ(statistics.sequence_forwards, shift == 0 ? 4 : 5);
  }
}

TEST(SamplingRunTest, ObserverSeesEachTargetOnceInTheBlockThatEndsIt) {
  const auto model = TinyModel();
  auto sampler = BlockSampler::Create(model.get(), Options("threshold:0.5", 1));
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  const std::vector<SampleRequest> requests = Requests({3, 4, 6, 9}, 3);
  std::vector<std::vector<int32_t>> seen(requests.size());
  std::vector<int> ends(requests.size());
  const auto trajectories = (*sampler)->Sample(requests, nullptr, [&](const FinishedBlock& block) {
    std::vector<int32_t>& tokens = seen[block.request];
    EXPECT_EQ(block.begin, static_cast<int64_t>(tokens.size()));
    EXPECT_EQ(ends[block.request], 0);
    tokens.insert(tokens.end(), block.tokens.begin(), block.tokens.end());
    const int64_t position = requests[block.request].prompt_tokens.size() + tokens.size();
    EXPECT_TRUE(block.last || position % kBlock == 0) << position;
    ends[block.request] += block.last ? 1 : 0;
  });
  ASSERT_TRUE(trajectories.ok()) << trajectories.status();
  for (size_t i = 0; i < requests.size(); ++i) {
    const Trajectory& t = (*trajectories)[i];
    const std::vector<int32_t> targets(t.response_tokens.begin(),
                                       t.response_tokens.begin() + trajectory::TargetCount(t));
    EXPECT_EQ(seen[i], targets) << t.id;
    EXPECT_EQ(ends[i], 1) << t.id;
  }
}

TEST(SamplingRunTest, ARequestMayHaveItsOwnLength) {
  const auto model = TinyModel();
  std::vector<SampleRequest> requests = Requests({3, 5}, 4);
  for (size_t i = 0; i < requests.size(); ++i) requests[i].max_new_tokens = 3 * i;
  const std::vector<Trajectory> together = SampleAll(*model, Options("steps:2", 1), requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    SamplerOptions alone = Options("steps:2", 1);
    if (i > 0) alone.parameters.max_new_tokens = 3 * i;
    const std::vector<Trajectory> expected =
        SampleAll(*model, alone, {{requests[i].id, requests[i].prompt_tokens, requests[i].seed}});
    EXPECT_EQ(together[i].response_tokens, expected[0].response_tokens) << i;
    EXPECT_EQ(together[i].sampler.max_new_tokens, alone.parameters.max_new_tokens) << i;
  }
}

TEST(SamplingRunTest, StopsWhenToldTo) {
  const auto model = TinyModel();
  auto sampler = BlockSampler::Create(model.get(), Options("steps:2", 1));
  ASSERT_TRUE(sampler.ok()) << sampler.status();
  int asked = 0;
  const auto result = (*sampler)->Sample(Requests({4}, 1), [&asked] { return ++asked < 3; });
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace dtrpo::diffusion
