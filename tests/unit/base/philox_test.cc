#include "common/base/philox.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace dtrpo::base {
namespace {

// The "philox4x32 10" lines of kat_vectors in Random123 1.14.
TEST(PhiloxTest, AgreesWithTheKnownAnswersOfRandom123) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRngTest, WordsAreTheBlocksOfPhiloxLowHalfFirst) {
  CounterRng rng(/*seed=*/0, /*stream=*/0);
  EXPECT_EQ(rng.Next(), 0xe169c58d6627e8d5ULL);
  EXPECT_EQ(rng.Next(), 0x9b00dbd8bc57ac4cULL);
  CounterRng other(/*seed=*/0x299f31d0a4093822ULL, /*stream=*/0x0370734413198a2eULL);
  const PhiloxCounter block = Philox4x32({5, 0, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
  EXPECT_EQ(other.At(11), uint64_t{block[3]} << 32 | block[2]);
}

TEST(CounterRngTest, NextIsAtOfThePosition) {
  CounterRng rng(7, 11);
  std::vector<uint64_t> words;
  for (int i = 0; i < 9; ++i) words.push_back(rng.Next());
  for (int i = 8; i >= 0; --i) EXPECT_EQ(rng.At(i), words[i]);
  rng.set_position(4);
  EXPECT_EQ(rng.Next(), words[4]);
  EXPECT_EQ(rng.position(), 5u);
}

TEST(CounterRngTest, SeedsAndStreamsGiveDifferentWords) {
  std::set<uint64_t> words;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t stream = 0; stream < 10; ++stream) {
      for (uint64_t i = 0; i < 10; ++i) words.insert(CounterRng(seed, stream).At(i));
    }
  }
  EXPECT_EQ(words.size(), 1000u);
}

TEST(CounterRngTest, Uniform01StaysBelowOneAndHasTheRightMean) {
  EXPECT_EQ(CounterRng::ToUniform01(0), 0.0);
  EXPECT_LT(CounterRng::ToUniform01(~uint64_t{0}), 1.0);
  CounterRng rng(1, 2);
  double sum = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) sum += rng.Uniform01();
  EXPECT_NEAR(sum / kDraws, 0.5, 0.01);  // standard error 0.002
}

TEST(CounterRngTest, UniformIntCoversItsRangeEvenly) {
  CounterRng rng(3, 4);
  constexpr int kDraws = 30000;
  std::vector<int> counts(6, 0);
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t value = rng.UniformInt(6);
    ASSERT_LT(value, 6u);
    ++counts[value];
  }
  for (int count : counts) EXPECT_NEAR(count, kDraws / 6, 330);  // five standard deviations
  EXPECT_EQ(rng.UniformInt(1), 0u);
}

TEST(CounterRngTest, UniformIntRefusesTheWordsThatWouldBiasIt) {
  // n = 2^63 + 1 refuses nearly half of all words; without refusal value 0 would come twice as
  // often as others, and no word would be skipped.
  CounterRng rng(5, 6);
  const uint64_t n = (uint64_t{1} << 63) + 1;
  for (int i = 0; i < 1000; ++i) ASSERT_LT(rng.UniformInt(n), n);
  EXPECT_GT(rng.position(), 1800u);
  EXPECT_LT(rng.position(), 2200u);
}

TEST(CounterRngDeathTest, UniformIntOfNothingIsAProgrammerError) {
  CounterRng rng(0, 0);
  EXPECT_DEATH(rng.UniformInt(0), "0 vs. 1");
}

}  // namespace
}  // namespace dtrpo::base
