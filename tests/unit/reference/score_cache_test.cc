#include "services/reference/score_cache.h"

#include <gtest/gtest.h>

#include <string>

namespace dtrpo::reference {
namespace {

// Room for two entries of ten scores.
int64_t BytesOfOne() {
  ScoreCache cache(1 << 20);
  cache.Insert("a", std::vector<float>(10));
  return cache.size_bytes();
}

TEST(ScoreCacheTest, WhatWasInsertedIsFound) {
  ScoreCache cache(1 << 20);
  std::vector<float> scores;
  EXPECT_FALSE(cache.Find("a", &scores));
  cache.Insert("a", {1, 2});
  ASSERT_TRUE(cache.Find("a", &scores));
  EXPECT_EQ(scores, (std::vector<float>{1, 2}));
}

TEST(ScoreCacheTest, TheEntryThatWasntUsedForLongestGoesFirst) {
  ScoreCache cache(2 * BytesOfOne());
  const std::vector<float> ten(10);
  std::vector<float> scores;
  cache.Insert("a", ten);
  cache.Insert("b", ten);
  EXPECT_TRUE(cache.Find("a", &scores));  // now b is the older one
  cache.Insert("c", ten);
  EXPECT_TRUE(cache.Find("a", &scores));
  EXPECT_FALSE(cache.Find("b", &scores));
  EXPECT_TRUE(cache.Find("c", &scores));
}

TEST(ScoreCacheTest, NeverHoldsMoreThanItsBound) {
  const int64_t bound = 3 * BytesOfOne() + 7;
  ScoreCache cache(bound);
  for (int i = 0; i < 100; ++i) {
    cache.Insert(std::to_string(i), std::vector<float>(i % 25));
    EXPECT_LE(cache.size_bytes(), bound);
  }
  EXPECT_GT(cache.size_bytes(), 0);
}

TEST(ScoreCacheTest, AnEntryLargerThanTheBoundIsLeftOutAndPushesNothingOut) {
  ScoreCache cache(BytesOfOne());
  cache.Insert("a", std::vector<float>(10));
  cache.Insert("b", std::vector<float>(1000));
  std::vector<float> scores;
  EXPECT_TRUE(cache.Find("a", &scores));
  EXPECT_FALSE(cache.Find("b", &scores));
}

TEST(ScoreCacheTest, InsertingAKeyAgainTakesNoMoreRoom) {
  ScoreCache cache(1 << 20);
  cache.Insert("a", std::vector<float>(10));
  cache.Insert("a", std::vector<float>(10));
  EXPECT_EQ(cache.size_bytes(), BytesOfOne());
  cache.Clear();
  std::vector<float> scores;
  EXPECT_FALSE(cache.Find("a", &scores));
  EXPECT_EQ(cache.size_bytes(), 0);
}

}  // namespace
}  // namespace dtrpo::reference
