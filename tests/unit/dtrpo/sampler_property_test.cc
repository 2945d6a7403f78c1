// The sampler under random models, parameters and mixes of requests. What must hold whatever they
// are: log-probabilities are recorded as exact scoring finds them, and a request's answer doesn't
// depend on who shares its batch, its prompt or the sampler before it. A test's number is its seed;
// DTRPO_SAMPLER_SEED=n makes it start from seed n instead of 1.
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/philox.h"
#include "common/diffusion/block_sampler.h"
#include "common/dtrpo/log_ratio.h"
#include "common/dtrpo/plan_weights.h"
#include "common/dtrpo/trajectory_scorer.h"
#include "tests/unit/dtrpo/near_tie.h"
#include "tests/unit/dtrpo/step_oracle.h"
#include "tests/unit/model/test_model.h"

namespace dtrpo::objective {
namespace {

using diffusion::BlockSampler;
using diffusion::SampleRequest;
using diffusion::SamplerOptions;
using trajectory::FirstToken;
using trajectory::Trajectory;

constexpr double kTolerance = 1e-4;  // of log-probabilities, and of what decisions hang on
constexpr int32_t kVocabulary = 29;
constexpr int32_t kMask = 28;

uint64_t FirstSeed() {
  const char* seed = std::getenv("DTRPO_SAMPLER_SEED");
  return seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10);
}

// Everything about one case, drawn from its seed.
class World {
 public:
  explicit World(uint64_t seed) : rng_(seed, /*stream=*/0) {
    MakeModel(seed);
    MakeParameters();
    MakeRequests();
  }

  const model::Transformer& model() const { return *model_; }
  const std::vector<SampleRequest>& requests() const { return requests_; }
  const trajectory::SamplerParameters& parameters() const { return parameters_; }

  // How the engine works, which must not show in what it gives.
  SamplerOptions Engine() {
    SamplerOptions options = AloneEngine();
    options.batch_sequences = 1 + Below(rng_.Uniform01() < 0.5 ? 3 : 20);
    options.max_prefill_rows = rng_.Uniform01() < 0.5 ? 4096 : 1 + Below(60);
    if (OneIn(2)) options.max_cache_bytes = CacheBytesNeeded() * (4 + Below(8)) / 4;
    return options;
  }
  SamplerOptions AloneEngine() const {
    SamplerOptions options;
    options.parameters = parameters_;
    options.model_id = "tiny";
    return options;
  }

  std::vector<size_t> Shuffled(size_t count) {
    std::vector<size_t> order(count);
    for (size_t i = 0; i < count; ++i) order[i] = i;
    for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[rng_.UniformInt(i)]);
    return order;
  }
  int32_t Below(int32_t n) { return static_cast<int32_t>(rng_.UniformInt(n)); }

  std::string Description() const {
    const checkpoint::ModelDescriptor& d = model_->descriptor();
    std::string prompts;
    for (const SampleRequest& request : requests_) {
      absl::StrAppend(&prompts, " ", request.id, ":", request.prompt_tokens.size(), "+",
                      request.max_new_tokens);
    }
    const trajectory::SamplerParameters& p = parameters_;
    return absl::StrCat(d.family, " shift ", d.logit_shift, " block ", d.block_size, " sub_block ",
                        p.sub_block, " ", p.unmask, " ", p.confidence, " temperature ",
                        p.temperature, " top_p ", p.top_p, " top_k ", p.top_k, " first_token ",
                        static_cast<int>(p.first_token), " guard ", p.repetition_guard,
                        " max_new_tokens ", p.max_new_tokens, " stops ",
                        absl::StrJoin(d.stop_ids, ","), " prompts", prompts);
  }

 private:
  bool OneIn(int32_t n) { return Below(n) == 0; }
  template <typename T>
  T OneOf(const std::vector<T>& values) {
    return values[Below(static_cast<int32_t>(values.size()))];
  }

  // By the request with the most positions, to the end of its last block.
  int64_t CacheBytesNeeded() const {
    const int64_t block = std::max(1, model_->descriptor().block_size);
    int64_t rows = 0;
    for (const SampleRequest& request : requests_) {
      const int64_t tokens =
          request.max_new_tokens > 0 ? request.max_new_tokens : int64_t{parameters_.max_new_tokens};
      rows = std::max<int64_t>(rows, request.prompt_tokens.size() + tokens + block - 1);
    }
    return rows / block * block * model::KvCache::RowBytes(model_->descriptor(), torch::kFloat32);
  }

  void MakeModel(uint64_t seed) {
    checkpoint::ModelDescriptor d = model::TinyDescriptor();
    const bool shift = OneIn(2);
    if (OneIn(3)) {
      d.family = shift ? "dream" : "llada";
      d.attention = checkpoint::Attention::kBidirectional;
      d.block_origin = checkpoint::BlockOrigin::kResponse;
    } else {
      d.family = shift ? "fast_dllm_v2" : "sdar";
    }
    d.logit_shift = shift ? 1 : 0;
    d.hidden_size = 16;
    d.num_key_value_heads = OneOf<int64_t>({1, 2, 4});
    d.qkv_bias = shift;
    d.qk_norm = d.family == "sdar";
    d.tie_word_embeddings = OneIn(2);
    d.vocab_size = kVocabulary;
    d.mask_id = kMask;
    d.stop_ids = {27};
    if (OneIn(2)) d.stop_ids.push_back(26);
    d.block_size = OneOf<int32_t>({1, 2, 3, 4, 5, 8, 16});
    if (d.attention == checkpoint::Attention::kBidirectional && OneIn(3)) d.block_size = 0;
    model_ = model::TinyTransformer(d, {}, seed);
  }

  void MakeParameters() {
    const checkpoint::ModelDescriptor& d = model_->descriptor();
    trajectory::SamplerParameters& p = parameters_;
    p.max_new_tokens = 1 + Below(OneIn(4) ? 40 : 14);
    const int32_t block = d.block_size > 0 ? d.block_size : p.max_new_tokens;
    p.sub_block = OneIn(2) ? 0 : 1 + Below(block);
    p.unmask = Unmask();
    p.temperature = OneOf<double>({0, 0, 0.4, 1, 1, 1.7});
    p.top_p = OneIn(3) ? 0.3 + 0.6 * rng_.Uniform01() : 1;
    p.top_k = OneIn(3) ? 1 + Below(12) : 0;
    p.confidence = OneIn(2) ? trajectory::kTempered : trajectory::kUntempered;
    if (d.attention == checkpoint::Attention::kBidirectional) return;
    if (d.logit_shift == 1 && OneIn(2)) p.first_token = FirstToken::kGreedy;
    if (OneIn(3)) p.repetition_guard = 3 + Below(4);
  }

  std::string Unmask() {
    const auto number = [this](double from, double to) {
      return absl::StrCat(from + (to - from) * rng_.Uniform01());
    };
    switch (Below(8)) {
      case 0:
        return absl::StrCat("steps:", 1 + Below(6));
      case 1:
        return absl::StrCat("threshold:", number(0.05, 1), OneIn(2) ? ",2" : "");
      case 2:
        return absl::StrCat("factor:", number(0.3, 2.5));
      case 3:
        return absl::StrCat("entropy:", number(0, 5));
      case 4:
        return absl::StrCat("sequential:", 1 + Below(3));
      case 5:
        return absl::StrCat("random:", 1 + Below(3));
      case 6:
        return absl::StrCat("dream:origin,", 1 + Below(12));
      default:
        return absl::StrCat(
            "dream:", OneOf<std::string>({"maskgit_plus", "topk_margin", "entropy"}), ",",
            1 + Below(12), ",0.001", OneIn(2) ? ",0.3" : "");
    }
  }

  // A few prompts, some of which begin alike; each asked for several times, side by side or apart.
  void MakeRequests() {
    std::vector<std::vector<int32_t>> prompts(1 + Below(5));
    for (std::vector<int32_t>& prompt : prompts) {
      const size_t length = 1 + Below(OneIn(3) ? 70 : 20);
      if (OneIn(3)) prompt = OneOf(prompts);  // or still empty
      if (prompt.size() > length && OneIn(2)) prompt.resize(length);
      while (prompt.size() < length) prompt.push_back(Below(kMask));
    }
    const int32_t count = 1 + Below(14);
    while (static_cast<int32_t>(requests_.size()) < count) {
      const std::vector<int32_t>& prompt = OneOf(prompts);
      for (int32_t again = OneIn(2) ? 1 + Below(4) : 1; again > 0; --again) {
        requests_.push_back({absl::StrCat("r", requests_.size()), prompt, rng_.Next(),
                             OneIn(3) ? 1 + Below(20) : 0});
      }
    }
  }

  base::CounterRng rng_;
  std::unique_ptr<model::Transformer> model_;
  trajectory::SamplerParameters parameters_;
  std::vector<SampleRequest> requests_;
};

std::vector<Trajectory> Sample(BlockSampler* sampler, const std::vector<SampleRequest>& requests) {
  auto trajectories = sampler->Sample(requests);
  EXPECT_TRUE(trajectories.ok()) << trajectories.status();
  return trajectories.ok() ? *std::move(trajectories) : std::vector<Trajectory>(requests.size());
}

std::unique_ptr<BlockSampler> Sampler(const World& world, const SamplerOptions& options) {
  auto sampler = BlockSampler::Create(&world.model(), options);
  DTRPO_CHECK_OK(sampler);
  return *std::move(sampler);
}

class SamplerPropertyTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  SamplerPropertyTest() {
    for (const SampleRequest& request : world_.requests()) {
      alone_.push_back(Sample(Sampler(world_, world_.AloneEngine()).get(), {request})[0]);
    }
  }

  // Equal to the request alone, or both are right but for decisions within the tolerance.
  void ExpectAsAlone(size_t request, const Trajectory& t) {
    const Trajectory& alone = alone_[request];
    EXPECT_EQ(t.id, alone.id);
    if (t.response_tokens != alone.response_tokens || t.unmask_step != alone.unmask_step) {
      EXPECT_EQ(WhyNotWithin(kTolerance, *twin_, t), "") << t.id << " in a batch";
      EXPECT_EQ(WhyNotWithin(kTolerance, *twin_, alone), "") << t.id << " alone";
      ++near_ties_;
      return;
    }
    EXPECT_EQ(t.stop_index, alone.stop_index) << t.id;
    EXPECT_EQ(t.finish_reason, alone.finish_reason) << t.id;
    for (size_t i = 0; i < t.behaviour_logprob.size(); ++i) {
      EXPECT_NEAR(t.behaviour_logprob[i], alone.behaviour_logprob[i], kTolerance) << t.id;
    }
  }

  void ExpectAllAsAlone(const std::vector<Trajectory>& all, const std::vector<size_t>& requests) {
    ASSERT_EQ(all.size(), requests.size());
    for (size_t i = 0; i < all.size(); ++i) ExpectAsAlone(requests[i], all[i]);
  }

  std::vector<SampleRequest> Pick(const std::vector<size_t>& which) const {
    std::vector<SampleRequest> picked;
    for (const size_t i : which) picked.push_back(world_.requests()[i]);
    return picked;
  }

  World world_{FirstSeed() - 1 + GetParam()};
  const ::testing::ScopedTrace trace_{
      __FILE__, __LINE__,
      absl::StrCat("seed ", FirstSeed() - 1 + GetParam(), ": ", world_.Description())};
  const std::unique_ptr<model::Transformer> twin_ = InDoublePrecision(world_.model());
  std::vector<Trajectory> alone_;  // each request by itself, by a sampler of its own
  int near_ties_ = 0;
};

// What `dtrpo score --exact` does, for targets and for the other committed tokens.
TEST_P(SamplerPropertyTest, ExactScoresEqualWhatWasRecorded) {
  const std::vector<Trajectory> all =
      Sample(Sampler(world_, world_.Engine()).get(), world_.requests());
  std::vector<Trajectory> committed = all;
  std::vector<trajectory::MaskPlan> plans;
  for (Trajectory& t : committed) {
    ASSERT_TRUE(Validate(t, kVocabulary).ok()) << Validate(t, kVocabulary);
    t.stop_index = -1;
    t.sampler.max_new_tokens = static_cast<int32_t>(t.response_tokens.size());
    plans.push_back(MakeMaskPlan(t, {.kind = trajectory::PlanKind::kExact}, 0));
  }
  std::vector<ScoreInput> inputs;
  for (size_t i = 0; i < all.size(); ++i) inputs.push_back({&committed[i], &plans[i]});
  torch::NoGradGuard no_grad;
  const auto scores = ScoreTargets(world_.model(), inputs, trajectory::Boundary::kClean);
  ASSERT_TRUE(scores.ok()) << scores.status();
  const std::vector<double> values = HostNumbers(*scores);
  size_t next = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    int64_t scored = 0;
    for (const PlannedTarget& target : PlannedTargets(plans[i])) {
      EXPECT_NEAR(values.at(next++), all[i].behaviour_logprob[target.index], kTolerance)
          << all[i].id << " response token " << target.index;
      ++scored;
    }
    EXPECT_EQ(scored, std::count_if(all[i].unmask_step.begin(), all[i].unmask_step.end(),
                                    [](int32_t step) { return step >= 0; }));
  }
  EXPECT_EQ(next, values.size());
}

// Independently of scorer, engine and cache: each state in a forward of its own.
TEST_P(SamplerPropertyTest, EveryTokenIsWhatItsStateGives) {
  for (const Trajectory& t : alone_) {
    EXPECT_EQ(WhyNotWithin(kTolerance, *twin_, t), "");
    const std::vector<double> expected = TokenLogProbs(*twin_, t);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(t.behaviour_logprob[i], expected[i], kTolerance) << t.id << " token " << i;
    }
  }
}

TEST_P(SamplerPropertyTest, TheBatchDoesNotShow) {
  for (int round = 0; round < 4; ++round) {
    const SamplerOptions engine = world_.Engine();
    SCOPED_TRACE(absl::StrCat("batch_sequences ", engine.batch_sequences, " max_prefill_rows ",
                              engine.max_prefill_rows, " max_cache_bytes ",
                              engine.max_cache_bytes));
    const std::vector<size_t> order = world_.Shuffled(alone_.size());
    ExpectAllAsAlone(Sample(Sampler(world_, engine).get(), Pick(order)), order);
  }
  if (near_ties_ > 0) std::cout << near_ties_ << " near ties\n";
}

TEST_P(SamplerPropertyTest, ObservedBlocksAreTheAnswersTargetsInOrder) {
  std::vector<std::vector<int32_t>> observed(alone_.size());
  std::vector<int> ends(alone_.size());
  const auto all =
      Sampler(world_, world_.Engine())->Sample(world_.requests(), nullptr, [&](const auto& block) {
        EXPECT_EQ(ends[block.request], 0) << block.request;
        std::vector<int32_t>& tokens = observed[block.request];
        EXPECT_EQ(block.begin, static_cast<int64_t>(tokens.size()));
        tokens.insert(tokens.end(), block.tokens.begin(), block.tokens.end());
        ends[block.request] += block.last;
      });
  ASSERT_TRUE(all.ok()) << all.status();
  for (size_t i = 0; i < alone_.size(); ++i) {
    const std::vector<int32_t>& response = (*all)[i].response_tokens;
    EXPECT_EQ(ends[i], 1);
    EXPECT_EQ(observed[i],
              std::vector<int32_t>(response.begin(), response.begin() + TargetCount((*all)[i])));
  }
}

// One sampler for several calls, one of them broken off: nothing of them is left in the next.
TEST_P(SamplerPropertyTest, WhatASamplerDidBeforeDoesNotShow) {
  const std::unique_ptr<BlockSampler> sampler = Sampler(world_, world_.Engine());
  for (int round = 0; round < 3; ++round) {
    std::vector<size_t> part = world_.Shuffled(alone_.size());
    int32_t forwards = world_.Below(20);
    const auto broken_off = sampler->Sample(Pick(part), [&] { return forwards-- > 0; });
    if (broken_off.ok()) {
      ExpectAllAsAlone(*broken_off, part);
    } else {
      EXPECT_EQ(broken_off.status().code(), absl::StatusCode::kCancelled);
    }
    part.resize(1 + world_.Below(static_cast<int32_t>(part.size())));
    ExpectAllAsAlone(Sample(sampler.get(), Pick(part)), part);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SamplerPropertyTest, ::testing::Range<uint64_t>(1, 17));

// The judge of near ties must not be one that lets everything pass.
TEST(NearTieTest, ATokenOrAnOrderThatNoStateGivesIsFoundOut) {
  int tokens = 0;
  int orders = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    World world(seed);
    const auto twin = InDoublePrecision(world.model());
    const Trajectory t =
        Sample(Sampler(world, world.AloneEngine()).get(), {world.requests()[0]})[0];
    ASSERT_EQ(WhyNotWithin(kTolerance, *twin, t), "") << "seed " << seed;
    Trajectory other_token = t;
    other_token.response_tokens[0] = (t.response_tokens[0] + 1) % 20;
    if (other_token.response_tokens[0] == t.response_tokens[0]) continue;
    tokens += WhyNotWithin(kTolerance, *twin, other_token).empty() ? 0 : 1;

    Trajectory other_order = t;
    for (size_t i = 1; i < t.unmask_step.size(); ++i) {
      if (t.unmask_step[i] < 1 || t.unmask_step[i - 1] < 1) continue;
      if (t.unmask_step[i] == t.unmask_step[i - 1]) continue;
      if ((t.prompt_tokens.size() + i) % t.block_size == 0) continue;
      std::swap(other_order.unmask_step[i - 1], other_order.unmask_step[i]);
      orders += WhyNotWithin(kTolerance, *twin, other_order).empty() ? 0 : 1;
      break;
    }
  }
  EXPECT_EQ(tokens, 40);
  EXPECT_GT(orders, 20);  // not all have two to swap, and some confidences are truly equal
}

}  // namespace
}  // namespace dtrpo::objective
