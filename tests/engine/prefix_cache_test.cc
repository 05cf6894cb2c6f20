#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "backend/reference/reference.h"
#include "formats/checkpoint.h"
#include "support/golden.h"

namespace facet {
namespace {

using Tokens = std::vector<int32_t>;

class PrefixCacheTest : public ::testing::Test {
 protected:
  ModelSpec spec_ = open_checkpoint(testing::load_golden("tiny-e2b").directory.string()).spec;
  ReferenceBackend backend_;

  KvCache make(int shared) {
    KvOptions options;
    options.type = KvType::kF32;
    options.sequences = 2;
    options.context = 1024;
    options.chunk = 64;
    options.shared_pages = shared;
    return {spec_, backend_, options};
  }

  /// Tokens from, from + 1, …
  static Tokens count(int32_t from, size_t length) {
    Tokens tokens(length);
    std::iota(tokens.begin(), tokens.end(), from);
    return tokens;
  }

  static Tokens join(Tokens a, const Tokens& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  /// Runs `tokens` through a sequence as the scheduler does, block by block, and stores them.
  static void feed(PrefixCache& prefixes, KvCache& cache, const Tokens& tokens) {
    const int s = cache.open();
    int stored = prefixes.attach(tokens, s);
    while (cache.length(s) < static_cast<int>(tokens.size())) {
      const int piece = std::min(50, static_cast<int>(tokens.size()) - cache.length(s));
      ASSERT_TRUE(cache.extend(s, piece));
      const auto length = static_cast<size_t>(cache.length(s));
      prefixes.store(std::span(tokens).first(length), s, stored, length == tokens.size());
      stored = cache.length(s) / kPageTokens * kPageTokens;
    }
    cache.close(s);
  }
};

TEST_F(PrefixCacheTest, FindsTheLongestPrefixToTheToken) {
  KvCache cache = make(64);
  PrefixCache prefixes(cache, 64);
  const Tokens prompt = count(0, 300);
  feed(prefixes, cache, prompt);
  EXPECT_EQ(prefixes.blocks(), 5);
  EXPECT_EQ(prefixes.match(prompt), 300);
  EXPECT_EQ(prefixes.match(count(0, 299)), 299);
  EXPECT_EQ(prefixes.match(count(0, 500)), 300);
  EXPECT_EQ(prefixes.match(join(count(0, 130), count(900, 100))), 130);
  EXPECT_EQ(prefixes.match(count(1, 300)), 0);
  EXPECT_EQ(prefixes.match({}), 0);
}

TEST_F(PrefixCacheTest, BranchesShareTheirTrunkAndAFullBlockReplacesItsBeginning) {
  KvCache cache = make(64);
  PrefixCache prefixes(cache, 64);
  const Tokens trunk = count(0, 200);  // 3 blocks and 8 tokens
  feed(prefixes, cache, trunk);
  EXPECT_EQ(prefixes.blocks(), 4);
  const Tokens left = join(trunk, count(500, 100));
  const Tokens right = join(trunk, count(700, 100));
  feed(prefixes, cache, left);
  EXPECT_EQ(prefixes.blocks(), 5) << "the trunk's 8 tokens are in the left branch's block";
  feed(prefixes, cache, right);
  EXPECT_EQ(prefixes.blocks(), 7);
  EXPECT_EQ(prefixes.match(left), 300);
  EXPECT_EQ(prefixes.match(right), 300);
  EXPECT_EQ(prefixes.match(join(trunk, count(510, 9))), 200);
  prefixes.clear();
  EXPECT_EQ(cache.free_pages(), cache.total_pages());
  EXPECT_EQ(cache.free_ring_pages(), cache.total_ring_pages());
}

TEST_F(PrefixCacheTest, TheLeastRecentlyUsedGoesFirstFromItsEndBackwards) {
  KvCache cache = make(6);
  PrefixCache prefixes(cache, 6);
  const Tokens a = count(0, 192);
  const Tokens b = count(300, 192);
  feed(prefixes, cache, a);
  feed(prefixes, cache, b);
  EXPECT_EQ(prefixes.blocks(), 6);
  const int s = cache.open();
  EXPECT_EQ(prefixes.attach(a, s), 192);  // now b is older
  cache.close(s);
  feed(prefixes, cache, count(600, 64));
  EXPECT_EQ(prefixes.match(a), 192);
  EXPECT_EQ(prefixes.match(b), 128);
  EXPECT_EQ(prefixes.blocks(), 6);
}

TEST_F(PrefixCacheTest, APromptLargerThanTheMemoryKeepsItsBeginning) {
  KvCache cache = make(3);
  PrefixCache prefixes(cache, 3);
  const Tokens prompt = count(0, 512);
  feed(prefixes, cache, prompt);
  EXPECT_EQ(prefixes.blocks(), 3);
  EXPECT_EQ(prefixes.match(prompt), 192);
}

TEST_F(PrefixCacheTest, WithoutMemoryNothingIsKept) {
  KvCache cache = make(0);
  PrefixCache prefixes(cache, 0);
  feed(prefixes, cache, count(0, 200));
  EXPECT_EQ(prefixes.match(count(0, 200)), 0);
  EXPECT_EQ(cache.free_pages(), cache.total_pages());
}

// Against the definition: a set of everything stored, when nothing is ever evicted.
TEST_F(PrefixCacheTest, RandomPrefixesMatchASearchThroughAllOfThem) {
  KvCache cache = make(4096);
  PrefixCache prefixes(cache, 4096);
  std::mt19937 random(7);
  std::vector<Tokens> stored;
  for (int round = 0; round < 60; ++round) {
    Tokens tokens;
    if (!stored.empty() && random() % 4 != 0) {
      const Tokens& base = stored[random() % stored.size()];
      tokens.assign(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(random() % (base.size() + 1)));
    }
    const size_t more = 1 + random() % 150;
    for (size_t i = 0; i < more; ++i) tokens.push_back(static_cast<int32_t>(random() % 3));
    if (tokens.size() > 1000) continue;
    int best = 0;
    for (const Tokens& other : stored) {
      int common = 0;
      while (static_cast<size_t>(common) < std::min(other.size(), tokens.size()) &&
             other[static_cast<size_t>(common)] == tokens[static_cast<size_t>(common)])
        ++common;
      best = std::max(best, common);
    }
    ASSERT_EQ(prefixes.match(tokens), best) << "round " << round;
    feed(prefixes, cache, tokens);
    stored.push_back(std::move(tokens));
  }
  prefixes.clear();
  EXPECT_EQ(cache.free_pages(), cache.total_pages());
  EXPECT_EQ(cache.free_ring_pages(), cache.total_ring_pages());
}

}  // namespace
}  // namespace facet
