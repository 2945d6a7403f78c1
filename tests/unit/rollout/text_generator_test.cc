#include "services/rollout/text_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/retry_after.h"
#include "common/base/simulated_clock.h"
#include "google/protobuf/stubs/common.h"
#include "tests/unit/rollout/generate_harness.h"

namespace dtrpo::rollout {
namespace {

using ::testing::HasSubstr;
using Answer = GenerateHarness::Answer;

// In the example's vocabulary a byte is the token of its number: "é" takes these two.
constexpr int32_t kLead = 0xC3;
constexpr int32_t kTail = 0xA9;

std::vector<int32_t> Prompt(int length) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back('a' + i);
  return tokens;
}

GenerateTask TokensTask(int length = 5) {
  GenerateTask task;
  task.prompt = TokenPrompt{Prompt(length)};
  return task;
}

GenerateTask TextTask(const std::string& text, bool raw = false) {
  GenerateTask task;
  task.prompt = TextPrompt{text, raw};
  return task;
}

std::vector<int32_t> Targets(const trajectory::Trajectory& t) {
  return {t.response_tokens.begin(), t.response_tokens.begin() + trajectory::TargetCount(t)};
}

TEST(TextGeneratorTest, BlocksPutTogetherAreWhatTheSamplerAnswersForTheSameSeed) {
  GenerateHarness harness;
  harness.Serve();
  for (int length = 1; length <= 9; ++length) {
    GenerateTask task = TokensTask(length);
    task.temperature = 1;
    task.seed = 40 + length;
    const Answer answer = harness.Ask(task);
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_EQ(answer.starts, 1);
    EXPECT_EQ(answer.start.prompt_tokens, length);
    EXPECT_EQ(answer.start.seed, task.seed);
    const trajectory::Trajectory expected =
        harness.Expected(0, Prompt(length), answer.start.parameters, task.seed);
    EXPECT_EQ(answer.tokens, Targets(expected)) << length;
    EXPECT_EQ(answer.end.tokens, trajectory::TargetCount(expected));
    EXPECT_EQ(answer.end.finish_reason, expected.finish_reason);
    EXPECT_GT(answer.end.forwards, 0);
    EXPECT_GE(answer.blocks, static_cast<int>(answer.tokens.size() / 4));
  }
}

// Block-causal with and without token shift, and bidirectional, where the canvas is one block.
TEST(TextGeneratorTest, EveryFamilyAnswersInItsOwnBlocks) {
  for (const std::string family : {"fast_dllm_4_2_tied", "sdar", "llada", "dream"}) {
    GenerateHarness harness;
    harness.UseCheckpoint(absl::StrCat(DTRPO_SOURCE_DIR, "/tests/golden/model/", family));
    harness.Serve();
    GenerateTask task;
    task.prompt = TokenPrompt{{5, 6, 7, 8, 9}};
    task.temperature = 1;
    task.ignore_stop = true;
    task.seed = 3;
    const Answer answer = harness.Ask(task);
    ASSERT_TRUE(answer.status.ok()) << family << answer.status;
    EXPECT_EQ(answer.tokens.size(), 22u) << family;
    EXPECT_FALSE(answer.start.has_text);
    const bool bidirectional = family == "llada" || family == "dream";
    // Blocks of 4: the first shares 3 places with the response, the last holds 3 of it.
    EXPECT_EQ(answer.blocks, bidirectional ? 1 : 6) << family;
    EXPECT_EQ(answer.start.parameters.first_token, family == "fast_dllm_4_2_tied"
                                                       ? trajectory::FirstToken::kSampled
                                                       : trajectory::FirstToken::kNone);
    task.ignore_stop = false;
    const Answer stopping = harness.Ask(task);
    EXPECT_EQ(stopping.tokens,
              Targets(harness.Expected(0, {5, 6, 7, 8, 9}, stopping.start.parameters, 3)))
        << family;
  }
}

TEST(TextGeneratorTest, TextPutTogetherIsTheAnswersAndNoPieceEndsInsideACharacter) {
  GenerateHarness harness;
  harness.MakeUnigram({{kLead, 0.0}, {kTail, 0.0}, {kStop, -3.0}});
  harness.Serve();
  bool some_character = false;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    GenerateTask task = TokensTask();
    task.temperature = 1;
    task.seed = seed;
    const Answer answer = harness.Ask(task);
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    std::vector<int32_t> spoken = answer.tokens;
    if (answer.end.finish_reason == trajectory::FinishReason::kStop) {
      EXPECT_EQ(spoken.back(), kStop);
      spoken.pop_back();
    }
    EXPECT_EQ(answer.text, *harness.encoder().Decode(spoken)) << seed;
    for (const std::string& piece : answer.pieces) {
      EXPECT_TRUE(google::protobuf::internal::IsStructurallyValidUTF8(
          piece.data(), static_cast<int>(piece.size())))
          << seed;
    }
    some_character = some_character || answer.text.find("\xC3\xA9") != std::string::npos;
  }
  EXPECT_TRUE(some_character);
}

TEST(TextGeneratorTest, WhatIsNotSetIsAsInTheJobsEvaluations) {
  GenerateHarness harness;
  harness.spec().sampling.temperature = 1;
  harness.spec().sampling.top_k = 7;
  harness.spec().sampling.sub_block = 2;
  harness.spec().evaluation.unmask = "threshold:0.7";
  harness.Serve();
  const Answer plain = harness.Ask(TokensTask());
  ASSERT_TRUE(plain.status.ok()) << plain.status;
  EXPECT_EQ(plain.start.parameters.unmask, "threshold:0.7");
  EXPECT_EQ(plain.start.parameters.temperature, 0);
  EXPECT_EQ(plain.start.parameters.top_k, 7);
  EXPECT_EQ(plain.start.parameters.sub_block, 2);
  EXPECT_EQ(plain.start.parameters.max_new_tokens, 22);

  GenerateTask task = TokensTask();
  task.unmask = "sequential:1";
  task.sub_block = 0;
  task.temperature = 0.5;
  task.top_p = 0.9;
  task.top_k = 0;
  task.max_new_tokens = 6;
  task.confidence = "tempered";
  task.repetition_guard = 9;
  const Answer set = harness.Ask(task);
  ASSERT_TRUE(set.status.ok()) << set.status;
  EXPECT_EQ(set.start.parameters.unmask, "sequential:1");
  EXPECT_EQ(set.start.parameters.sub_block, 0);
  EXPECT_EQ(set.start.parameters.temperature, 0.5);
  EXPECT_EQ(set.start.parameters.top_p, 0.9);
  EXPECT_EQ(set.start.parameters.top_k, 0);
  EXPECT_EQ(set.start.parameters.max_new_tokens, 6);
  EXPECT_EQ(set.start.parameters.confidence, "tempered");
  EXPECT_EQ(set.start.parameters.repetition_guard, 9);
  EXPECT_LE(set.tokens.size(), 6u);
}

TEST(TextGeneratorTest, StopTokensEndTheAnswerUnlessTheyAreIgnored) {
  GenerateHarness harness;
  harness.MakeUnigram({{kStop, 0.0}});
  harness.Serve();
  const Answer stopped = harness.Ask(TokensTask());
  ASSERT_TRUE(stopped.status.ok()) << stopped.status;
  EXPECT_EQ(stopped.end.finish_reason, trajectory::FinishReason::kStop);
  EXPECT_EQ(stopped.tokens, std::vector<int32_t>{kStop});
  EXPECT_EQ(stopped.text, "");
  GenerateTask task = TokensTask();
  task.ignore_stop = true;
  const Answer whole = harness.Ask(task);
  ASSERT_TRUE(whole.status.ok()) << whole.status;
  EXPECT_EQ(whole.end.finish_reason, trajectory::FinishReason::kLength);
  EXPECT_EQ(whole.tokens.size(), 22u);
}

TEST(TextGeneratorTest, TextIsWrappedAsTheJobWrapsItsPromptsUnlessItIsRaw) {
  GenerateHarness harness;
  harness.Serve();
  const int64_t raw = harness.Ask(TextTask("2+2=", /*raw=*/true)).start.prompt_tokens;
  EXPECT_EQ(raw, 4);
  GenerateTask chat;
  chat.prompt = ChatPrompt{{{"user", "2+2="}}};
  const Answer wrapped = harness.Ask(TextTask("2+2=")), talked = harness.Ask(chat);
  EXPECT_GT(wrapped.start.prompt_tokens, raw);
  EXPECT_EQ(talked.start.prompt_tokens, wrapped.start.prompt_tokens);
  EXPECT_EQ(talked.tokens, wrapped.tokens);

  GenerateHarness bare;
  bare.spec().data.apply_chat_template = false;
  bare.Serve();
  EXPECT_EQ(bare.Ask(TextTask("2+2=")).start.prompt_tokens, raw);
  EXPECT_EQ(bare.Ask(chat).start.prompt_tokens, wrapped.start.prompt_tokens);
}

TEST(TextGeneratorTest, ACheckpointWithoutATokenizerAnswersTokensWithTokens) {
  GenerateHarness harness;
  harness.MakeTextless();
  harness.Serve();
  GenerateTask task;
  task.prompt = TokenPrompt{{1, 2, 3}};
  const Answer answer = harness.Ask(task);
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_FALSE(answer.start.has_text);
  EXPECT_GT(answer.tokens.size(), 0u);
  EXPECT_EQ(answer.text, "");
  const absl::Status text = harness.Ask(TextTask("2+2=")).status;
  EXPECT_TRUE(absl::IsFailedPrecondition(text)) << text;
  EXPECT_THAT(std::string(text.message()), HasSubstr("no tokenizer.json"));
}

TEST(TextGeneratorTest, TheNewestVersionAnswersUnlessAnotherOneThatIsHeldIsAskedFor) {
  GenerateHarness harness;
  harness.Serve();
  harness.Install(1);
  harness.Install(3);
  GenerateTask task = TokensTask();
  const Answer newest = harness.Ask(task);
  EXPECT_EQ(newest.start.version, 3);
  for (const int64_t version : {0, 1, 3}) {
    task.version = version;
    const Answer answer = harness.Ask(task);
    ASSERT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_EQ(answer.start.version, version);
    EXPECT_EQ(answer.tokens,
              Targets(harness.Expected(version, Prompt(5), answer.start.parameters, 0)));
  }
  task.version = 2;
  const Answer unknown = harness.Ask(task);
  EXPECT_TRUE(absl::IsNotFound(unknown.status)) << unknown.status;
  EXPECT_THAT(std::string(unknown.status.message()), HasSubstr("held are: 0, 1, 3"));
  EXPECT_EQ(unknown.starts, 0);
}

TEST(TextGeneratorTest, WeightsInUseOutliveTheJobAndAreLetGoAfterwards) {
  GenerateHarness harness;
  harness.Serve();
  std::weak_ptr<const weights::Image> image = harness.Install(1);
  const Answer answer = harness.Ask(
      TokensTask(), [] { return true; },
      [&] {
        harness.slot().Clear("works on no job");
        harness.policies().KeepOnly({});
        harness.versions().Clear();
        EXPECT_FALSE(image.expired());
      });
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.tokens, Targets(harness.Expected(1, Prompt(5), answer.start.parameters, 0)));
  EXPECT_TRUE(image.expired());
}

TEST(TextGeneratorTest, PoliciesOfVersionsThatTheStoreLetGoAreNotKept) {
  GenerateHarness harness;
  harness.Serve();
  std::weak_ptr<const weights::Image> one = harness.Install(1);
  ASSERT_TRUE(harness.Ask(TokensTask()).status.ok());
  harness.Install(2);
  harness.versions().KeepOnly({});
  EXPECT_FALSE(one.expired());
  ASSERT_TRUE(harness.Ask(TokensTask()).status.ok());
  EXPECT_TRUE(one.expired());
}

TEST(TextGeneratorTest, WithoutAJobItSaysWhatTheRolloutDoes) {
  GenerateHarness harness;
  EXPECT_EQ(harness.Ask(TokensTask()).status,
            absl::FailedPreconditionError("this rollout works on no job"));
  harness.slot().Clear("is loading job add-1");
  EXPECT_EQ(harness.Ask(TokensTask()).status,
            absl::FailedPreconditionError("this rollout is loading job add-1"));
  harness.Serve();
  GenerateTask task = TokensTask();
  task.job_id = "other-2";
  EXPECT_EQ(harness.Ask(task).status,
            absl::FailedPreconditionError("job_id other-2: this rollout works on add-1"));
  task.job_id = GenerateHarness::kJob;
  EXPECT_TRUE(harness.Ask(task).status.ok());
  harness.versions().Clear();  // what the worker does just after it has cleared the slot
  EXPECT_TRUE(absl::IsFailedPrecondition(harness.Ask(task).status));
}

TEST(TextGeneratorTest, RefusalsNameTheField) {
  GenerateHarness harness({.calls = 1, .prompt_tokens = 8, .new_tokens = 30});
  harness.Serve();
  const auto refusal = [&](const std::function<void(GenerateTask&)>& change) {
    GenerateTask task = TokensTask();
    change(task);
    const Answer answer = harness.Ask(task);
    EXPECT_TRUE(absl::IsInvalidArgument(answer.status)) << answer.status;
    EXPECT_EQ(answer.starts, 0);
    return std::string(answer.status.message());
  };
  EXPECT_THAT(refusal([](GenerateTask& t) { t.unmask = "often"; }), HasSubstr("often"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.sub_block = 9; }), HasSubstr("sub_block 9"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.temperature = -1; }), HasSubstr("temperature -1"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.top_p = 0; }), HasSubstr("top_p 0"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.top_k = -1; }), HasSubstr("top_k -1"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.max_new_tokens = 0; }),
              HasSubstr("max_new_tokens 0"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.max_new_tokens = 31; }),
              HasSubstr("max_new_tokens 31: this rollout makes at most 30"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.confidence = "some"; }), HasSubstr("some"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.repetition_guard = 1; }),
              HasSubstr("repetition_guard 1"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.prompt = TokenPrompt{}; }),
              HasSubstr("prompt: has no tokens"));
  EXPECT_THAT(refusal([](GenerateTask& t) {
                t.prompt = TokenPrompt{{1, 280}};
              }),
              HasSubstr("tokens.ids[1] 280: the vocabulary has ids below 280"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.prompt = TokenPrompt{{-1}}; }),
              HasSubstr("tokens.ids[0] -1"));
  EXPECT_THAT(refusal([](GenerateTask& t) { t.prompt = TokenPrompt{Prompt(9)}; }),
              HasSubstr("has 9 tokens, this rollout takes 8"));
  EXPECT_THAT(refusal([](GenerateTask& t) {
                t.prompt = TextPrompt{"\xC3", true};
              }),
              HasSubstr("text"));
  EXPECT_THAT(refusal([](GenerateTask& t) {
                t.prompt = TextPrompt{std::string(513, 'a'), true};
              }),
              HasSubstr("513 bytes"));
  EXPECT_EQ(harness.Calls("refused"), 15);
  EXPECT_TRUE(harness.Ask(TokensTask()).status.ok());  // none of them holds its place
}

TEST(TextGeneratorTest, AJobsLongAnswersAreCutToTheLimit) {
  GenerateHarness harness({.new_tokens = 10});
  harness.Serve();
  EXPECT_EQ(harness.Ask(TokensTask()).start.parameters.max_new_tokens, 10);
}

TEST(TextGeneratorTest, CallsBeyondTheLimitAreToldToComeAgain) {
  GenerateHarness harness({.calls = 2});
  harness.Serve();
  absl::Status third;
  // Each asks the next from inside its first block.
  const Answer first = harness.Ask(
      TokensTask(), [] { return true; },
      [&] {
        harness.Ask(
            TokensTask(), [] { return true; },
            [&] {
              EXPECT_EQ(harness.registry().Value("dtrpo_rollout_generate_running"), 2);
              third = harness.Ask(TokensTask()).status;
            });
      });
  EXPECT_TRUE(first.status.ok()) << first.status;
  EXPECT_TRUE(absl::IsResourceExhausted(third)) << third;
  EXPECT_THAT(std::string(third.message()), HasSubstr("max_generate_calls is 2"));
  EXPECT_EQ(base::GetReason(third), "generate_busy");
  EXPECT_TRUE(base::GetRetryAfter(third).has_value());
  EXPECT_EQ(harness.registry().Value("dtrpo_rollout_generate_running"), 0);
  EXPECT_TRUE(harness.Ask(TokensTask()).status.ok());

  GenerateHarness none({.calls = 0});
  none.Serve();
  EXPECT_TRUE(absl::IsFailedPrecondition(none.Ask(TokensTask()).status));
}

TEST(TextGeneratorTest, SamplingStopsAtTheForwardAfterTheCallerHasGone) {
  GenerateHarness harness;
  harness.MakeUnigram({{'7', 0.0}});
  harness.Serve();
  bool here = true;
  int asked_after = 0;
  const Answer answer = harness.Ask(
      TokensTask(),
      [&] {
        asked_after += here ? 0 : 1;
        return here;
      },
      [&] { here = false; });
  EXPECT_TRUE(absl::IsCancelled(answer.status)) << answer.status;
  EXPECT_EQ(answer.blocks, 1);
  EXPECT_EQ(asked_after, 1);
  EXPECT_EQ(harness.Calls("cancelled"), 1);
}

TEST(TextGeneratorTest, DrainingRefusesNewCallsAndBreaksOffThoseThatTakeTooLong) {
  base::SimulatedClock clock;
  GenerateHarness harness({}, &clock);
  harness.MakeUnigram({{'7', 0.0}});
  harness.Serve();
  const Answer in_time = harness.Ask(
      TokensTask(), [] { return true; },
      [&] { harness.generator().StartDraining(clock.Now() + absl::Seconds(5)); });
  EXPECT_TRUE(in_time.status.ok()) << in_time.status;
  const absl::Status refused = harness.Ask(TokensTask()).status;
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_EQ(base::GetReason(refused), "draining");

  GenerateHarness late({}, &clock);
  late.Serve();
  const Answer broken_off = late.Ask(
      TokensTask(), [] { return true; }, [&] { late.generator().StartDraining(clock.Now()); });
  EXPECT_TRUE(absl::IsUnavailable(broken_off.status)) << broken_off.status;
  EXPECT_EQ(broken_off.blocks, 1);
  EXPECT_EQ(late.Calls("cancelled"), 1);
}

TEST(TextGeneratorTest, MetricsCountCallsTokensAndSeconds) {
  GenerateHarness harness;
  harness.Serve();
  const Answer answer = harness.Ask(TokensTask());
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(harness.Calls("answered"), 1);
  EXPECT_EQ(harness.registry().Value("dtrpo_rollout_generate_tokens_total"), answer.tokens.size());
  EXPECT_EQ(harness.registry().Observations("dtrpo_rollout_generate_seconds").size(), 1u);
  EXPECT_EQ(harness.registry().Value("dtrpo_rollout_generated_tokens_total"), 0)
      << "training's own counter";
}

}  // namespace
}  // namespace dtrpo::rollout
