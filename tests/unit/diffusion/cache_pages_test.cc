#include "common/diffusion/cache_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <vector>

#include "common/base/philox.h"

namespace dtrpo::diffusion {
namespace {

using Tokens = std::vector<int32_t>;
using Table = CachePages::Table;

TEST(CachePagesTest, PagesOfSequencesDoNotOverlap) {
  CachePages pages(2, 9);
  std::set<int32_t> taken;
  for (int32_t i = 0; i < 3; ++i) {
    const auto table = pages.Acquire(Tokens{i, i}, 2);
    ASSERT_TRUE(table.has_value());
    taken.insert(table->begin(), table->end());
  }
  EXPECT_EQ(taken.size(), 9u);
  EXPECT_EQ(pages.used(), 9);
  EXPECT_EQ(*taken.rbegin(), 8);
}

TEST(CachePagesTest, ASequenceWaitsUntilAllItsPagesAreFree) {
  CachePages pages(2, 5);
  const auto a = pages.Acquire({}, 3);
  EXPECT_FALSE(pages.Acquire({}, 3).has_value());
  EXPECT_TRUE(pages.Acquire({}, 2).has_value());
  pages.Release(*a);
  EXPECT_TRUE(pages.Acquire(Tokens{1, 2}, 2).has_value());
}

TEST(CachePagesTest, PromptsShareThePagesOfTheirCommonBlocks) {
  CachePages pages(2, 20);
  const Table a = *pages.Acquire(Tokens{1, 2, 3, 4}, 1);
  pages.set_filled(a[0]);
  const Table same = *pages.Acquire(Tokens{1, 2, 3, 4}, 1);
  EXPECT_EQ(same[0], a[0]);
  EXPECT_EQ(same[1], a[1]);
  EXPECT_NE(same[2], a[2]);
  const Table longer = *pages.Acquire(Tokens{1, 2, 5, 6, 3, 4}, 1);
  EXPECT_EQ(longer[0], a[0]);
  EXPECT_TRUE(pages.filled(longer[0]));
  EXPECT_FALSE(pages.filled(longer[1]));
  EXPECT_NE(longer[2], a[1]);  // the same tokens behind another block
}

TEST(CachePagesTest, AnUnusedPromptKeepsItsPagesUntilTheyAreNeeded) {
  CachePages pages(1, 4);
  const Table a = *pages.Acquire(Tokens{1, 2}, 0);
  const Table b = *pages.Acquire(Tokens{7, 8}, 0);
  for (const Table& table : {a, b}) {
    for (int32_t page : table) pages.set_filled(page);
  }
  EXPECT_EQ(pages.used(), 4);
  pages.Release(b);
  pages.Release(a);
  EXPECT_EQ(pages.used(), 0) << "what is kept for later has no user";

  EXPECT_EQ(*pages.Acquire(Tokens{7}, 0), Table{b[0]});  // in use again
  const Table c = *pages.Acquire({}, 2);  // the last of b, which nobody used longest, then of a
  EXPECT_EQ(c, (Table{b[1], a[1]}));
  EXPECT_FALSE(pages.filled(b[1]));
  EXPECT_FALSE(pages.Acquire({}, 2).has_value());
  const Table again = *pages.Acquire(Tokens{1}, 0);
  EXPECT_EQ(again, Table{a[0]});
  EXPECT_TRUE(pages.filled(a[0]));
}

// Against a plain account of who holds what: no page is given away twice or lost, and a shared page
// holds the tokens it was shared for.
TEST(CachePagesTest, RandomSequencesComeAndGo) {
  constexpr uint64_t kSeed = 11;
  base::CounterRng rng(kSeed, 0);
  const auto below = [&rng](int32_t n) { return static_cast<int32_t>(rng.Uniform01() * n); };
  constexpr int64_t kPages = 12;
  CachePages pages(2, kPages);
  struct Sequence {
    Tokens prompt;
    Table table;
  };
  std::vector<Sequence> held;
  int refused = 0, shared = 0;
  for (int round = 0; round < 3000; ++round) {
    SCOPED_TRACE(round);
    if (!held.empty() && rng.Uniform01() < 0.5) {
      const int32_t leaving = below(static_cast<int32_t>(held.size()));
      pages.Release(held[leaving].table);
      held.erase(held.begin() + leaving);
    } else {
      Tokens prompt;
      for (int32_t block = below(4); block > 0; --block) {
        const int32_t token = below(2);
        prompt.insert(prompt.end(), {token, token});
      }
      const auto table = pages.Acquire(prompt, 1 + below(4));
      refused += table.has_value() ? 0 : 1;
      if (table.has_value()) held.push_back({prompt, *table});
    }
    std::map<int32_t, Tokens> content;  // page -> prompt up to its block; own pages: nothing
    for (const Sequence& sequence : held) {
      for (int64_t block = 0; block < std::ssize(sequence.table); ++block) {
        const int32_t page = sequence.table[block];
        ASSERT_TRUE(page >= 0 && page < kPages);
        const bool own = block >= std::ssize(sequence.prompt) / 2;
        const Tokens before(sequence.prompt.begin(),
                            sequence.prompt.begin() + (own ? 0 : 2 * (block + 1)));
        const auto [it, added] = content.emplace(page, before);
        if (added) continue;
        ASSERT_FALSE(own);
        ASSERT_EQ(it->second, before);
        ++shared;
      }
    }
    ASSERT_EQ(pages.used(), std::ssize(content));
  }
  for (const Sequence& sequence : held) pages.Release(sequence.table);
  EXPECT_TRUE(pages.Acquire({}, kPages).has_value()) << "a page was lost";
  EXPECT_GT(refused, 100);
  EXPECT_GT(shared, 100);
}

}  // namespace
}  // namespace dtrpo::diffusion
