#include "common/wire/trajectory_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/support/random_trajectory.h"

namespace dtrpo::wire {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using trajectory::Trajectory;

Trajectory Stopped(uint64_t seed = 1) {
  support::TrajectoryShape shape;
  shape.stop_index = 3;
  Trajectory t = support::RandomTrajectory(shape, seed);
  t.text = "55";
  t.reward = 1;
  t.reward_reason = "equal";
  t.sampler.temperature = 1;
  t.sampler.top_p = 0.9;
  t.sampler.top_k = 5;
  t.sampler.sub_block = 2;
  t.sampler.unmask = "dream:entropy,8";
  t.sampler.confidence = "tempered";
  t.sampler.repetition_guard = 30;
  t.seed = 18446744073709551615u;
  t.weights_version = {3};
  return t;
}

// Every field, bit by bit, by way of the only complete form there is.
void ExpectSame(const Trajectory& a, const Trajectory& b) {
  EXPECT_EQ(ToJsonLine(a), ToJsonLine(b));
}

TEST(TrajectoryCodecTest, ATrajectoryComesBackAsItWas) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Trajectory sent = Stopped(seed);
    v1::Trajectory proto;
    ToProto(sent, &proto);
    const auto received = FromProto(proto);
    ASSERT_TRUE(received.ok()) << received.status();
    ExpectSame(sent, *received);
    EXPECT_EQ(received->seed, sent.seed);
    EXPECT_EQ(received->behaviour_logprob, sent.behaviour_logprob);
    EXPECT_EQ(received->unmask_step, sent.unmask_step);
    EXPECT_EQ(received->sampler.top_k, 5);
  }
}

TEST(TrajectoryCodecTest, AnEncodedMessageHoldsNothingOfWhatWasInItBefore) {
  v1::Trajectory proto;
  ToProto(Stopped(1), &proto);
  Trajectory shorter = support::RandomTrajectory({}, 2);
  ToProto(shorter, &proto);
  EXPECT_EQ(proto.response_tokens_size(), static_cast<int>(shorter.response_tokens.size()));
  EXPECT_EQ(proto.stop_index(), -1);
}

TEST(TrajectoryCodecTest, WhatComesFromTheWireIsValidated) {
  const auto refusal = [](const std::function<void(v1::Trajectory&)>& spoil) {
    v1::Trajectory proto;
    ToProto(Stopped(), &proto);
    spoil(proto);
    const auto received = FromProto(proto, /*vocabulary_size=*/13);
    EXPECT_TRUE(absl::IsInvalidArgument(received.status())) << received.status();
    return std::string(received.status().message());
  };
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.clear_prompt_tokens(); }),
              HasSubstr("prompt_tokens"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.set_prompt_tokens(0, 13); }),
              HasSubstr("prompt_tokens"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.mutable_unmask_step()->RemoveLast(); }),
              HasSubstr("unmask_step"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.clear_block_origin(); }),
              HasSubstr("block_origin"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.clear_finish_reason(); }),
              HasSubstr("finish_reason"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.mutable_sampler()->clear_first_token(); }),
              HasSubstr("sampler.first_token"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.set_seed("-1"); }), HasSubstr("seed"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.set_format_version(2); }),
              HasSubstr("format_version"));
  EXPECT_THAT(refusal([](v1::Trajectory& t) { t.set_behaviour_logprob(0, NAN); }),
              HasSubstr("behaviour_logprob"));
}

TEST(TrajectoryCodecTest, ARefusalNamesTheTrajectory) {
  v1::Trajectory proto;
  ToProto(Stopped(), &proto);
  proto.clear_finish_reason();
  EXPECT_THAT(std::string(FromProto(proto).status().message()), HasSubstr("job/0/0/0/1"));
}

TEST(TrajectoryCodecTest, APairComesBackAsItWasAndItsAnswersMustShareThePrompt) {
  trajectory::PreferencePair pair;
  pair.id = "job/0/0/0/p0";
  pair.chosen = Stopped(1);
  pair.rejected = Stopped(2);
  pair.rejected.prompt_tokens = pair.chosen.prompt_tokens;
  v1::PreferencePair proto;
  ToProto(pair, &proto);
  const auto received = FromProto(proto);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->id, pair.id);
  ExpectSame(received->chosen, pair.chosen);
  ExpectSame(received->rejected, pair.rejected);

  proto.mutable_rejected()->set_prompt_tokens(0, (pair.chosen.prompt_tokens[0] + 1) % 11);
  EXPECT_TRUE(absl::IsInvalidArgument(FromProto(proto).status()));
}

TEST(TrajectoryCodecTest, AJsonLineHasTheProtosNamesAndItsZeros) {
  Trajectory t = support::RandomTrajectory({}, 1);
  const std::string line = ToJsonLine(t);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const json parsed = json::parse(line);
  EXPECT_EQ(parsed["id"], "job/0/0/0/1");
  EXPECT_EQ(parsed["prompt_tokens"].size(), t.prompt_tokens.size());
  EXPECT_TRUE(parsed["prompt_tokens"][0].is_number_integer());
  EXPECT_TRUE(parsed["unmask_step"][0].is_number_integer());
  EXPECT_EQ(parsed["stop_index"], -1);
  EXPECT_EQ(parsed["reward"], 0);
  EXPECT_EQ(parsed["external"], false);
  EXPECT_EQ(parsed["text"], "");
  EXPECT_EQ(parsed["sampler"]["top_k"], 0);
  EXPECT_EQ(parsed["finish_reason"], "LENGTH");
  EXPECT_EQ(parsed["weights_version"][0], "0");
  EXPECT_TRUE(parsed["seed"].is_string());
}

TEST(TrajectoryCodecTest, AStopIndexOfZeroIsPrinted) {
  support::TrajectoryShape shape;
  shape.stop_index = 0;
  const Trajectory t = support::RandomTrajectory(shape, 1);
  EXPECT_EQ(json::parse(ToJsonLine(t))["stop_index"], 0);
}

TEST(TrajectoryCodecTest, AJsonLineReadsBackToTheSameTrajectory) {
  const Trajectory t = Stopped();
  const auto read = FromJsonLine(ToJsonLine(t));
  ASSERT_TRUE(read.ok()) << read.status();
  ExpectSame(t, *read);
}

TEST(TrajectoryCodecTest, AHandWrittenLineNeedsOnlyItsTokensAndSteps) {
  const auto t = FromJsonLine(
      R"({"id": "x", "prompt_tokens": [1, 2, 3, 4], "response_tokens": [5, 6, 7, 8],
          "unmask_step": [0, 1, 1, 2], "block_size": 4, "note": "mine"})");
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_TRUE(t->external);
  EXPECT_EQ(t->stop_index, -1);
  EXPECT_EQ(t->finish_reason, trajectory::FinishReason::kLength);
  EXPECT_EQ(t->sampler.max_new_tokens, 4);
  EXPECT_EQ(t->sampler.first_token, trajectory::FirstToken::kSampled);
}

TEST(TrajectoryCodecTest, SomethingThatIsNoTrajectoryIsRefused) {
  for (const char* line : {"", "{", "[]", R"({"prompt_tokens": "five"})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(FromJsonLine(line).status())) << line;
  }
}

}  // namespace
}  // namespace dtrpo::wire
