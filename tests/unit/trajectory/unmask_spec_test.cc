#include "common/trajectory/unmask_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace dtrpo::trajectory {
namespace {

using ::testing::HasSubstr;

template <typename Spec>
Spec Parsed(const std::string& text) {
  const auto spec = ParseUnmaskSpec(text);
  EXPECT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec.ok() && std::holds_alternative<Spec>(*spec)) << text;
  return spec.ok() && std::holds_alternative<Spec>(*spec) ? std::get<Spec>(*spec) : Spec();
}

TEST(UnmaskSpecTest, ReadsEachForm) {
  EXPECT_EQ(Parsed<StepsSpec>("steps:4").steps, 4);
  EXPECT_EQ(Parsed<ThresholdSpec>("threshold:0.85,2").threshold, 0.85);
  EXPECT_EQ(Parsed<ThresholdSpec>("threshold:0.85,2").at_least, 2);
  EXPECT_EQ(Parsed<FactorSpec>("factor:1.5").factor, 1.5);
  EXPECT_EQ(Parsed<EntropySpec>("entropy:0.35").bound, 0.35);
  EXPECT_EQ(Parsed<SequentialSpec>("sequential:3").tokens, 3);
  EXPECT_EQ(Parsed<RandomSpec>("random:2").tokens, 2);
  const DreamSpec dream = Parsed<DreamSpec>("dream:topk_margin,64,0.01,0.2");
  EXPECT_EQ(dream.order, DreamOrder::kTopkMargin);
  EXPECT_EQ(dream.steps, 64);
  EXPECT_EQ(dream.eps, 0.01);
  EXPECT_EQ(dream.alg_temp, 0.2);
}

TEST(UnmaskSpecTest, WhatIsLeftOutTakesThePublishedDefault) {
  EXPECT_EQ(Parsed<ThresholdSpec>("threshold:0.9").at_least, 1);
  const DreamSpec dream = Parsed<DreamSpec>("dream:origin");
  EXPECT_EQ(dream.order, DreamOrder::kOrigin);
  EXPECT_EQ(dream.steps, 512);
  EXPECT_EQ(dream.eps, 1e-3);
  EXPECT_EQ(dream.alg_temp, 0);
}

TEST(UnmaskSpecTest, QuotesTheTextAndThePartItCannotRead) {
  for (const auto& [text, part] : {std::pair<std::string, std::string>{"", ""},
                                   {"greedy", "greedy"},
                                   {"Steps:2", "Steps"},
                                   {"steps", ""},
                                   {"steps:", ""},
                                   {"steps:0", "0"},
                                   {"steps:-1", "-1"},
                                   {"steps:2.5", "2.5"},
                                   {"steps:4000000000", "4000000000"},
                                   {"steps:2,3", "3"},
                                   {"threshold:", ""},
                                   {"threshold:1.5", "1.5"},
                                   {"threshold:-0.1", "-0.1"},
                                   {"threshold:nan", "nan"},
                                   {"threshold:0.9,", ""},
                                   {"threshold:0.9,0", "0"},
                                   {"threshold:0.9,1,1", "1"},
                                   {"factor:0", "0"},
                                   {"factor:inf", "inf"},
                                   {"entropy:-1", "-1"},
                                   {"entropy:x", "x"},
                                   {"dream:", ""},
                                   {"dream:maskgit", "maskgit"},
                                   {"dream:entropy,0", "0"},
                                   {"dream:entropy,8,0", "0"},
                                   {"dream:entropy,8,1", "1"},
                                   {"dream:entropy,8,0.1,-1", "-1"},
                                   {"dream:origin,8,0.1,0.5", "origin"},
                                   {"dream:entropy,8,0.1,0.5,6", "6"},
                                   {"sequential:0", "0"},
                                   {"random:x", "x"}}) {
    const auto spec = ParseUnmaskSpec(text);
    ASSERT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("unmask '" + text + "'"));
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("at '" + part + "'"));
  }
}

TEST(UnmaskSpecTest, AnUnknownNameIsToldWhichThereAre) {
  EXPECT_THAT(std::string(ParseUnmaskSpec("greedy:1").status().message()), HasSubstr(kUnmaskForms));
}

TEST(UnmaskSpecTest, ConfidenceIsOneOfTwo) {
  EXPECT_TRUE(CheckConfidence("untempered").ok());
  EXPECT_TRUE(CheckConfidence("tempered").ok());
  EXPECT_THAT(std::string(CheckConfidence("hot").message()), HasSubstr("confidence 'hot'"));
}

}  // namespace
}  // namespace dtrpo::trajectory
