#include "engine/benchmark.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/synthetic.h"
#include "support/golden.h"

namespace facet {
namespace {

TEST(Benchmark, NamesAsLlamaBench) {
  EXPECT_EQ((BenchmarkTest{BenchmarkTest::Kind::kPrompt, 512, 0, 1}.name()), "pp512");
  EXPECT_EQ((BenchmarkTest{BenchmarkTest::Kind::kDecode, 128, 4096, 1}.name()), "tg128@d4096");
  EXPECT_EQ((BenchmarkTest{BenchmarkTest::Kind::kDecode, 128, 0, 4}.name()), "tg128 b4");
}

TEST(Benchmark, SamplesHaveMeanAndDeviation) {
  const Samples samples{{1, 2, 3, 6}};
  EXPECT_DOUBLE_EQ(samples.mean(), 3);
  EXPECT_NEAR(samples.stddev(), 2.1602, 1e-4);
  EXPECT_EQ(Samples{{5}}.stddev(), 0);
}

// The counts of E2B: 2.28 G weights a token, 3.75 GFLOP a prompt token through everything but the head (0.40
// G weights) and attention, 1.07 where only the cache is wanted.
TEST(Benchmark, CountsE2B) {
  const ModelSpec spec = make_synthetic("e2b", SyntheticQuant::k4Bit).spec;
  EXPECT_EQ(spec.layer_count(), 35);
  EXPECT_EQ(spec.last_kv_owner(), 14);
  const double attention = 2.0 * 2 * 8 * (28 * 256 + 7 * 512);  // one key a layer
  EXPECT_NEAR(ops_at(spec, 0, true) - attention, 4.56e9, 0.01e9);
  EXPECT_NEAR(ops_at(spec, 0, true) - attention - 2 * 1536.0 * 262144, 3.75e9, 0.01e9);
  // 1.07 counts the per-layer model projection of all 35 layers; a prompt token needs it for 14.
  EXPECT_NEAR(ops_at(spec, 0, false) + 2 * 1536.0 * 256 * (35 - 14), 1.07e9, 0.005e9);
  // 29 MB of 16-bit cache at 1k, 73 MB at 4k, 484 MB at 32k.
  EXPECT_NEAR(cache_bytes_at(spec, KvType::kBF16, 1023), 29e6, 1e6);
  EXPECT_NEAR(cache_bytes_at(spec, KvType::kBF16, 4095), 73e6, 1e6);
  EXPECT_NEAR(cache_bytes_at(spec, KvType::kBF16, 32767), 484e6, 2e6);
}

TEST(Benchmark, SyntheticMatricesAreWholeAndDiffer) {
  const Checkpoint checkpoint = make_synthetic("e4b", SyntheticQuant::k4Bit);
  const auto a = checkpoint.weights->matrix("model.layers.0.mlp.up_proj.weight");
  const auto b = checkpoint.weights->matrix("model.layers.1.mlp.up_proj.weight");
  const auto table = checkpoint.weights->matrix("model.embed_tokens_per_layer.weight");
  ASSERT_TRUE(a && b && table);
  EXPECT_EQ(a->encoding, Encoding::kAffine4);
  EXPECT_EQ(a->rows, 10240);
  EXPECT_EQ(a->cols, 2560);
  EXPECT_EQ(table->encoding, Encoding::kAffine8);
  EXPECT_NE(std::vector(a->data, a->data + 64), std::vector(b->data, b->data + 64));
  // The table's last byte can be read, and stays what it was when its pages were let go.
  const std::byte* last = table->data + table->rows * table->row_bytes() - 1;
  const std::byte before = *last;
  checkpoint.weights->release(*table);
  EXPECT_EQ(*last, before);
  EXPECT_FALSE(checkpoint.weights->matrix("nothing").has_value());
  EXPECT_THROW(static_cast<void>(make_synthetic("e3b", SyntheticQuant::k4Bit)), Error);
}

TEST(Benchmark, RunsOnAGolden) {
  const auto golden = testing::load_golden("tiny-e2b");
  EngineOptions options;
  options.backend = "cpu";  // whose operations are known
  options.sequences = 2;
  options.context = 64;
  options.chunk = 16;
  Profile profile;
  options.profile = &profile;
  Engine engine(open_checkpoint(golden.directory.string()), options);
  const BenchmarkResult prompt = run_benchmark(engine, {BenchmarkTest::Kind::kPrompt, 40, 8, 1}, 2, &profile);
  EXPECT_EQ(prompt.tokens_per_s.values.size(), 2U);
  EXPECT_GT(prompt.tokens_per_s.mean(), 0);
  EXPECT_EQ(profile.at("logits").calls, 2) << "not the warm-up's";
  const BenchmarkResult decode = run_benchmark(engine, {BenchmarkTest::Kind::kDecode, 4, 0, 2}, 3, &profile);
  EXPECT_EQ(decode.tokens_per_s.values.size(), 3U);
  EXPECT_GT(decode.bytes_per_step, weight_bytes_per_step(engine));
  EXPECT_EQ(profile.at("logits").calls, 3 * 4);
  EXPECT_EQ(engine.cache().open(), 0);  // all sequences were closed again
  EXPECT_THROW(static_cast<void>(run_benchmark(engine, {BenchmarkTest::Kind::kPrompt, 60, 8, 1}, 1)), Error);
  EXPECT_THROW(static_cast<void>(run_benchmark(engine, {BenchmarkTest::Kind::kDecode, 4, 0, 3}, 1)), Error);
}

}  // namespace
}  // namespace facet
