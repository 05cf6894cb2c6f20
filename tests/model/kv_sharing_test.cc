// Blocks of one sequence's cache, kept and taken up by others.
#include <gtest/gtest.h>

#include "backend/reference/reference.h"
#include "formats/checkpoint.h"
#include "model/kv_cache.h"
#include "support/golden.h"

namespace facet {
namespace {

class KvSharingTest : public ::testing::Test {
 protected:
  // Windows of 8 tokens; layer 4 is the first full one.
  ModelSpec spec_ = open_checkpoint(testing::load_golden("tiny-e2b").directory.string()).spec;
  ReferenceBackend backend_;
  static constexpr int kSliding = 0;
  static constexpr int kFull = 4;

  KvCache make(int sequences, int context, int chunk, int shared) {
    KvOptions options;
    options.type = KvType::kF32;
    options.sequences = sequences;
    options.context = context;
    options.chunk = chunk;
    options.shared_pages = shared;
    return {spec_, backend_, options};
  }

  static float& at(const KvCache& cache, int layer, int sequence, int position) {
    const KvView& kv = cache.view(layer);
    return reinterpret_cast<float*>(kv.k)[kv.slot(sequence, position, 0) * kv.head_dim];
  }

  /// Appends `count` tokens, each marked with `base` + its position.
  static void append(KvCache& cache, int sequence, int count, float base) {
    const int from = cache.length(sequence);
    ASSERT_TRUE(cache.extend(sequence, count));
    cache.upload_tables();
    for (int p = from; p < from + count; ++p)
      for (const int layer : {kSliding, kFull}) at(cache, layer, sequence, p) = base + static_cast<float>(p);
  }

  static void expect_all_free(const KvCache& cache) {
    EXPECT_EQ(cache.free_pages(), cache.total_pages());
    EXPECT_EQ(cache.free_ring_pages(), cache.total_ring_pages());
  }
};

TEST_F(KvSharingTest, BlocksOutliveTheirSequenceAndServeAnother) {
  KvCache cache = make(2, 512, 64, 8);
  const int a = cache.open();
  std::vector<KvBlock> blocks;
  for (int i = 0; i < 5; ++i) {
    append(cache, a, 64, 1000);
    const auto block = cache.share(a, i);
    ASSERT_TRUE(block);
    blocks.push_back(*block);
  }
  append(cache, a, 20, 1000);  // the rings, of 3 pages, have come round to shared ones by now
  const auto last = cache.share(a, 5);
  ASSERT_TRUE(last);
  blocks.push_back(*last);
  cache.close(a);

  const int b = cache.open();
  cache.attach(b, blocks, 330);
  EXPECT_EQ(cache.length(b), 330);
  append(cache, b, 1, 2000);
  for (int p = 0; p < 330; ++p) ASSERT_EQ(at(cache, kFull, b, p), 1000 + static_cast<float>(p));
  for (int p = 330 - 7; p < 330; ++p) ASSERT_EQ(at(cache, kSliding, b, p), 1000 + static_cast<float>(p));

  // What was appended went to a copy of the last block.
  const int c = cache.open();
  cache.attach(c, blocks, 340);
  cache.upload_tables();
  for (const int layer : {kSliding, kFull}) {
    EXPECT_EQ(at(cache, layer, b, 330), 2330);
    EXPECT_EQ(at(cache, layer, c, 330), 1330);
  }
  cache.close(b);
  cache.close(c);
  for (const KvBlock& block : blocks) cache.release(block);
  expect_all_free(cache);
}

TEST_F(KvSharingTest, TheRingsNoLongerHoldOldBlocks) {
  KvCache cache = make(1, 512, 64, 8);
  const int a = cache.open();
  for (int i = 0; i < 5; ++i) append(cache, a, 64, 0);
  EXPECT_FALSE(cache.share(a, 0)) << "the rings hold 3 blocks";
  EXPECT_FALSE(cache.share(a, 1));
  EXPECT_FALSE(cache.share(a, 5)) << "not stored yet";
  EXPECT_FALSE(cache.share(a, -1));
  const auto block = cache.share(a, 2);
  ASSERT_TRUE(block);
  cache.release(*block);
  cache.close(a);
  expect_all_free(cache);
}

TEST_F(KvSharingTest, AnAttachedSequenceTruncatesWithinWhatTheRingsHold) {
  KvCache cache = make(2, 512, 64, 8);
  const int a = cache.open();
  std::vector<KvBlock> blocks;
  for (int i = 0; i < 6; ++i) {
    append(cache, a, 64, 1000);
    blocks.push_back(*cache.share(a, i));
  }
  const int b = cache.open();
  cache.attach(b, blocks, 384);
  EXPECT_EQ(cache.truncate(b, 210), 210) << "the window before it, 203 …, is in block 3";
  append(cache, b, 10, 3000);
  for (int p = 203; p < 210; ++p) EXPECT_EQ(at(cache, kSliding, b, p), 1000 + static_cast<float>(p));
  EXPECT_EQ(at(cache, kSliding, a, 350), 1350);
  EXPECT_EQ(at(cache, kFull, a, 212), 1212) << "the other's own";
  EXPECT_EQ(cache.truncate(b, 195), 0) << "189 is in block 2, which was not taken up";
  cache.close(a);
  cache.close(b);
  for (const KvBlock& block : blocks) cache.release(block);
  expect_all_free(cache);
}

TEST_F(KvSharingTest, SequencesAlwaysFitBesideTheSharedBlocks) {
  KvCache cache = make(3, 256, 64, 4);
  std::vector<KvBlock> blocks;
  const int a = cache.open();
  for (int i = 0; i < 4; ++i) {
    append(cache, a, 64, 0);
    blocks.push_back(*cache.share(a, i));
  }
  cache.close(a);
  for (int i = 0; i < 3; ++i) {
    const int s = cache.open();
    cache.attach(s, blocks, 100 * i);
    while (cache.length(s) < 256) ASSERT_TRUE(cache.extend(s, 1)) << i;
  }
}

}  // namespace
}  // namespace facet
