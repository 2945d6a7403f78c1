#include "services/replay/table_options.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/replay/table_harness.h"

namespace dtrpo::replay {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(void (*spoil)(TableOptions&)) {
  TableOptions options = SmallJob();
  spoil(options);
  return std::string(Complete(options).status().message());
}

TEST(TableOptionsTest, NamesTheFieldThatIsOutOfRange) {
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.pairs_per_batch = 0; }),
              HasSubstr("pairs_per_batch"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.publish_every = 0; }), HasSubstr("publish_every"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.max_staleness = -1; }), HasSubstr("max_staleness"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.max_uses = -1; }), HasSubstr("max_uses"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.total_steps = 0; }), HasSubstr("total_steps"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.max_bytes = -1; }), HasSubstr("max_bytes"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.first_batch = 102; }), HasSubstr("first_batch"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) { o.max_pairs_per_prompt = 0; }),
              HasSubstr("max_pairs_per_prompt"));
  EXPECT_THAT(ErrorOf([](TableOptions& o) {
                o.publish_every = 1 << 20;
                o.max_staleness = 1 << 20;
              }),
              HasSubstr("max_staleness"));
}

TEST(TableOptionsTest, RefusesLimitsThatCannotHoldTheJob) {
  TableOptions options = SmallJob();
  options.max_items = 2 * (10 + 2) + 2 * 1 * 2 + 2;  // 30
  EXPECT_TRUE(Complete(options).ok());
  --options.max_items;
  EXPECT_THAT(Complete(options).status().message(), HasSubstr("max_items: 29"));
}

TEST(TableOptionsTest, FillsWhatWasLeftOut) {
  TableOptions options = *Complete({.pairs_per_batch = 4,
                                    .publish_every = 1,
                                    .max_staleness = 0,
                                    .max_pairs_per_prompt = 1,
                                    .total_steps = 10});
  EXPECT_EQ(options.max_uses, 1);
  EXPECT_EQ(options.first_batch, 1);
  EXPECT_EQ(options.max_bytes, int64_t{1} << 30);
  EXPECT_EQ(options.max_items, 4 * (1 + 2) + 4 * 1 + 1);
  EXPECT_EQ(*Complete(options), options);
}

}  // namespace
}  // namespace dtrpo::replay
