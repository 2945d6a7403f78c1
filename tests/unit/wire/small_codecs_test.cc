// Mask plans and weights manifests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "common/wire/mask_plan_codec.h"
#include "common/wire/weights_codec.h"

namespace dtrpo::wire {
namespace {

using testing::HasSubstr;

TEST(MaskPlanCodecTest, APlanComesBackAsItWas) {
  for (const auto boundary : {trajectory::Boundary::kClean, trajectory::Boundary::kNoisy,
                              trajectory::Boundary::kExclude}) {
    const trajectory::MaskPlanOptions sent = {
        .job_seed = uint64_t{1} << 63, .draws = 3, .boundary = boundary};
    v1::MaskPlan proto;
    ToProto(sent, &proto);
    const auto received = FromProto(proto);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->job_seed, sent.job_seed);
    EXPECT_EQ(received->draws, 3);
    EXPECT_EQ(received->kind, trajectory::PlanKind::kDtrpo);
    EXPECT_EQ(received->boundary, boundary);
  }
}

TEST(MaskPlanCodecTest, AnExactPlanNeedsNoDraws) {
  v1::MaskPlan proto;
  proto.set_kind("exact");
  ASSERT_TRUE(FromProto(proto).ok());
  EXPECT_EQ(FromProto(proto)->kind, trajectory::PlanKind::kExact);
  proto.set_kind("dtrpo");
  EXPECT_THAT(std::string(FromProto(proto).status().message()), HasSubstr("plan.draws"));
}

TEST(MaskPlanCodecTest, EveryObjectiveComesBackWithWhatItsPlanDependsOn) {
  using trajectory::PlanKind;
  for (const PlanKind kind :
       {PlanKind::kDtrpo, PlanKind::kExact, PlanKind::kVrpo, PlanKind::kRandomMask}) {
    for (const bool on : {true, false}) {
      const trajectory::MaskPlanOptions sent = {
          .kind = kind, .draws = 8, .antithetic = on, .behaviour_states = !on};
      v1::MaskPlan proto;
      ToProto(sent, &proto);
      const auto received = FromProto(proto);
      ASSERT_TRUE(received.ok()) << received.status();
      EXPECT_EQ(trajectory::PlanKey(*received), trajectory::PlanKey(sent));
      EXPECT_EQ(received->antithetic, on);
      EXPECT_EQ(received->behaviour_states, !on);
    }
  }
  v1::MaskPlan proto;
  EXPECT_EQ(FromProto(proto).status().code(), absl::StatusCode::kInvalidArgument);
  proto.set_draws(1);
  proto.set_kind("other");
  EXPECT_THAT(std::string(FromProto(proto).status().message()), HasSubstr("'other'"));
}

TEST(MaskPlanCodecTest, AnUnknownBoundaryIsRefused) {
  v1::MaskPlan proto;
  proto.set_draws(1);
  proto.set_boundary("foggy");
  EXPECT_TRUE(absl::IsInvalidArgument(FromProto(proto).status()));
}

TEST(MaskPlanCodecTest, WhatDrawsAreMadeFromComesBackAndDefaultsToTheBlock) {
  for (const auto draw_from : {trajectory::DrawFrom::kBlock, trajectory::DrawFrom::kSequence}) {
    v1::MaskPlan proto;
    ToProto({.draws = 2, .draw_from = draw_from}, &proto);
    ASSERT_TRUE(FromProto(proto).ok());
    EXPECT_EQ(FromProto(proto)->draw_from, draw_from);
  }
  v1::MaskPlan proto;
  proto.set_draws(1);
  EXPECT_EQ(FromProto(proto)->draw_from, trajectory::DrawFrom::kBlock);
  proto.set_draw_from("page");
  EXPECT_THAT(std::string(FromProto(proto).status().message()), HasSubstr("'page'"));
}

TEST(WeightsCodecTest, AManifestComesBackAsItWas) {
  weights::Manifest sent;
  sent.job_id = "add-1";
  sent.version = 3;
  sent.generation = 1;
  sent.sha256 = std::string(64, 'a');
  sent.tensors = {{.name = "w", .dtype = "F32", .shape = {2, 3}},
                  {.name = "b", .dtype = "BF16", .shape = {5}}};
  ASSERT_TRUE(weights::LayOut(sent).ok());
  v1::WeightsManifest proto;
  ToProto(sent, &proto);
  const auto received = FromProto(proto, /*max_bytes=*/1 << 20);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_TRUE(weights::SameBits(sent, *received));
  EXPECT_EQ(received->size_bytes, sent.size_bytes);
  EXPECT_EQ(received->chunk_size_bytes, sent.chunk_size_bytes);
  ASSERT_EQ(received->tensors.size(), 2u);
  EXPECT_EQ(received->tensors[1].name, "b");
  EXPECT_EQ(received->tensors[1].offset_bytes, sent.tensors[1].offset_bytes);
  EXPECT_EQ(received->tensors[0].shape, (std::vector<int64_t>{2, 3}));
}

TEST(WeightsCodecTest, AManifestLargerThanAllowedIsRefused) {
  weights::Manifest sent;
  sent.tensors = {{.name = "w", .dtype = "F32", .shape = {1000}}};
  ASSERT_TRUE(weights::LayOut(sent).ok());
  v1::WeightsManifest proto;
  ToProto(sent, &proto);
  EXPECT_FALSE(FromProto(proto, /*max_bytes=*/100).ok());
}

}  // namespace
}  // namespace dtrpo::wire
