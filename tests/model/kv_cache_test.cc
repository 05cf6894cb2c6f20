#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>

#include "backend/reference/reference.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

class KvCacheTest : public ::testing::Test {
 protected:
  // Layers 0 … 3 slide over 8 tokens, layer 4 is full.
  ModelSpec spec_ = testing::tiny_spec({});
  ReferenceBackend backend_;

  KvCache make(int sequences, int context, int chunk, int pages = 0) {
    return KvCache(spec_, backend_, {KvType::kF32, sequences, context, chunk, pages});
  }

  static float& at(const KvCache& cache, int layer, int sequence, int position) {
    const KvView& kv = cache.view(layer);
    return reinterpret_cast<float*>(kv.k)[kv.slot(sequence, position, 0) * kv.head_dim];
  }

  /// Marks every stored position of a sequence with `base` + position.
  static void fill(KvCache& cache, int sequence, int from, int to, float base) {
    cache.upload_tables();
    for (int p = from; p < to; ++p)
      for (const int layer : {0, 4}) at(cache, layer, sequence, p) = base + static_cast<float>(p);
  }
};

TEST_F(KvCacheTest, GrowsByPagesAndRefusesWhatDoesNotFit) {
  KvCache cache = make(2, 200, 64);
  const int a = cache.open();
  EXPECT_EQ(cache.free_pages(), 8);  // two sequences of 200 tokens: 4 pages each
  EXPECT_TRUE(cache.extend(a, 64));
  EXPECT_EQ(cache.free_pages(), 7);
  EXPECT_TRUE(cache.extend(a, 1));
  EXPECT_EQ(cache.free_pages(), 6);
  EXPECT_FALSE(cache.extend(a, 65)) << "more than a chunk";
  EXPECT_TRUE(cache.extend(a, 64));
  EXPECT_TRUE(cache.extend(a, 64));
  EXPECT_EQ(cache.length(a), 193);
  EXPECT_FALSE(cache.extend(a, 8)) << "more than the context";
  EXPECT_TRUE(cache.extend(a, 7)) << "exactly full";
  EXPECT_FALSE(cache.extend(a, 1)) << "one over";
  EXPECT_EQ(cache.length(a), 200);
  cache.close(a);
  EXPECT_EQ(cache.free_pages(), 8);
}

TEST_F(KvCacheTest, APoolThatIsShortRefusesWithoutAChange) {
  KvCache cache = make(2, 256, 64, /*pages=*/2);
  const int a = cache.open();
  const int b = cache.open();
  EXPECT_TRUE(cache.extend(a, 64));
  EXPECT_TRUE(cache.extend(b, 64));
  EXPECT_FALSE(cache.extend(a, 1));
  EXPECT_EQ(cache.length(a), 64);
  cache.close(b);
  EXPECT_TRUE(cache.extend(a, 1));
}

TEST_F(KvCacheTest, SlotsRunOutAndComeBack) {
  KvCache cache = make(2, 64, 64);
  const int a = cache.open();
  EXPECT_GE(cache.open(), 0);
  EXPECT_EQ(cache.open(), -1);
  EXPECT_EQ(cache.fork(a), -1);
  cache.close(a);
  EXPECT_EQ(cache.open(), a);
}

TEST_F(KvCacheTest, AForkSeesTheSameAndThenGoesItsOwnWay) {
  KvCache cache = make(3, 256, 64);
  const int a = cache.open();
  ASSERT_TRUE(cache.extend(a, 64));
  ASSERT_TRUE(cache.extend(a, 6));
  fill(cache, a, 0, 70, 1000);
  const int before = cache.free_pages();
  const int b = cache.fork(a);
  ASSERT_GE(b, 0);
  EXPECT_EQ(cache.free_pages(), before) << "pages are shared";
  ASSERT_TRUE(cache.extend(b, 1));
  EXPECT_EQ(cache.free_pages(), before - 1) << "the partly filled one is copied when it is written to";
  fill(cache, b, 70, 71, 2000);
  ASSERT_TRUE(cache.extend(a, 1));
  fill(cache, a, 70, 71, 3000);
  for (int p = 0; p < 70; ++p) EXPECT_EQ(at(cache, 4, b, p), 1000 + static_cast<float>(p));
  for (int p = 63; p < 70; ++p) EXPECT_EQ(at(cache, 0, b, p), 1000 + static_cast<float>(p));
  for (const int layer : {0, 4}) {
    EXPECT_EQ(at(cache, layer, a, 70), 3070);
    EXPECT_EQ(at(cache, layer, b, 70), 2070);
  }
  cache.close(a);
  cache.close(b);
  EXPECT_EQ(cache.free_pages(), cache.total_pages());
}

TEST_F(KvCacheTest, TruncatingAForkDoesNotLetItWriteIntoTheOthersPages) {
  KvCache cache = make(2, 256, 128);
  const int a = cache.open();
  ASSERT_TRUE(cache.extend(a, 128));
  fill(cache, a, 0, 128, 1000);
  const int b = cache.fork(a);
  ASSERT_EQ(cache.truncate(b, 100), 100);
  ASSERT_TRUE(cache.extend(b, 1));
  fill(cache, b, 100, 101, 5000);
  EXPECT_EQ(at(cache, 4, a, 100), 1100);
  EXPECT_EQ(at(cache, 4, b, 99), 1099) << "the copy holds what came before";
}

TEST_F(KvCacheTest, TruncateKeepsOnlyWhatTheRingsStillHold) {
  KvCache cache = make(1, 1024, 56);  // rings of 64 tokens: window 8 + chunk 56
  const int a = cache.open();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(cache.extend(a, 20));
  EXPECT_EQ(cache.truncate(a, 150), 150) << "the window before it, 143 … 149, is still there";
  EXPECT_EQ(cache.truncate(a, 120), 0) << "position 113 was overwritten by 177";
  EXPECT_EQ(cache.free_pages(), cache.total_pages());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(cache.extend(a, 20));
  EXPECT_EQ(cache.truncate(a, 3), 3) << "nothing has been overwritten yet";
}

}  // namespace
}  // namespace facet
