#include "common/wire/item_body.h"

#include "common/base/philox.h"
#include "common/wire/trajectory_codec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/replay/test_pair.h"

namespace dtrpo::replay {
namespace {

using wire::DecodeItemBody, wire::EncodeItemBody;

v1::ReplayItemBody Pair() {
  v1::ReplayItemBody body;
  wire::ToProto(TestPair("p", 3), body.mutable_pair());
  return body;
}

TEST(ItemBodyTest, ComesBackAsItWas) {
  const v1::ReplayItemBody pair = Pair();
  EXPECT_EQ(DecodeItemBody(EncodeItemBody(pair))->SerializeAsString(), pair.SerializeAsString());
  v1::ReplayItemBody group;
  for (int i = 0; i < 3; ++i) {
    *group.mutable_group()->add_trajectories() = pair.pair().chosen();
  }
  EXPECT_EQ(DecodeItemBody(EncodeItemBody(group))->SerializeAsString(), group.SerializeAsString());
}

TEST(ItemBodyTest, KeepsThePromptOnceHoweverManyTrajectoriesShareIt) {
  v1::ReplayItemBody one, many;
  base::CounterRng random(1, 0);
  v1::Trajectory t = Pair().pair().chosen();
  t.clear_prompt_tokens();
  for (int i = 0; i < 5000; ++i) t.add_prompt_tokens(static_cast<int>(random.UniformInt(1 << 17)));
  *one.mutable_group()->add_trajectories() = t;
  for (int i = 0; i < 8; ++i) *many.mutable_group()->add_trajectories() = t;
  EXPECT_LT(EncodeItemBody(many).size(), EncodeItemBody(one).size() + 1000);
}

TEST(ItemBodyTest, DamagedBytesAreDataLossAndNeverAnotherItem) {
  const v1::ReplayItemBody pair = Pair();
  const std::string bytes = EncodeItemBody(pair);
  EXPECT_EQ(DecodeItemBody("").status().code(), absl::StatusCode::kDataLoss);
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_FALSE(DecodeItemBody(absl::string_view(bytes).substr(0, i)).ok()) << i;
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    const auto decoded = DecodeItemBody(flipped);
    // A bit of the frame's header may mean nothing; then the content is as it was.
    EXPECT_TRUE(!decoded.ok() || decoded->SerializeAsString() == pair.SerializeAsString()) << i;
  }
}

}  // namespace
}  // namespace dtrpo::replay
