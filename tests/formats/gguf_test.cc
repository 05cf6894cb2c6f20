#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/checkpoint.h"
#include "formats/errors.h"
#include "formats/files.h"
#include "formats/gguf_bytes.h"
#include "formats/gguf_config.h"
#include "formats/golden_gguf.h"

namespace facet {
namespace {

using test::golden;
using test::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void expect_same(const ModelSpec& a, const ModelSpec& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.context_length, b.context_length);
  EXPECT_FLOAT_EQ(static_cast<float>(a.rms_eps), static_cast<float>(b.rms_eps));
  EXPECT_EQ(a.embed_scale, b.embed_scale);
  EXPECT_EQ(a.attention_scale, b.attention_scale);
  EXPECT_EQ(a.logit_softcap, b.logit_softcap);
  EXPECT_EQ(a.norm_weight_plus_one, b.norm_weight_plus_one);
  EXPECT_EQ(a.ple_dim, b.ple_dim);
  EXPECT_EQ(a.ple_vocab_size, b.ple_vocab_size);
  EXPECT_EQ(a.ple_embed_scale, b.ple_embed_scale);
  EXPECT_EQ(a.ple_projection_scale, b.ple_projection_scale);
  EXPECT_EQ(a.ple_combination_scale, b.ple_combination_scale);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const LayerSpec& x = a.layers[l];
    const LayerSpec& y = b.layers[l];
    EXPECT_EQ(x.kind, y.kind) << l;
    EXPECT_EQ(x.head_dim, y.head_dim) << l;
    EXPECT_EQ(x.q_heads, y.q_heads) << l;
    EXPECT_EQ(x.kv_heads, y.kv_heads) << l;
    EXPECT_EQ(x.window, y.window) << l;
    EXPECT_EQ(x.kv_source, y.kv_source) << l;
    EXPECT_EQ(x.ffn_dim, y.ffn_dim) << l;
    EXPECT_EQ(x.v_from_k, y.v_from_k) << l;
    EXPECT_EQ(x.v_norm, y.v_norm) << l;
    EXPECT_EQ(x.has_layer_scalar, y.has_layer_scalar) << l;
    EXPECT_EQ(x.moe.has_value(), y.moe.has_value()) << l;
    if (x.moe && y.moe) {
      EXPECT_EQ(x.moe->ffn_dim, y.moe->ffn_dim) << l;
    }
    EXPECT_EQ(a.ropes[static_cast<size_t>(x.rope)].inv_freq, b.ropes[static_cast<size_t>(y.rope)].inv_freq)
        << l;
  }
}

class GgufGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufGolden, IsTheSameModelAsTheCheckpointItCameFrom) {
  const Checkpoint original = open_checkpoint(golden(GetParam()).string());
  const TemporaryDirectory directory;
  test::write_gguf(original, directory / "model.gguf");
  const Checkpoint gguf = open_checkpoint((directory / "model.gguf").string());
  EXPECT_EQ(gguf.format, "GGUF bf16");
  EXPECT_EQ(gguf.tokenizer_file, std::nullopt);
  expect_same(gguf.spec, original.spec);
  for (const WeightRow& row : weight_table(original.spec)) {
    if (row.use == WeightRow::Use::kVector || row.use == WeightRow::Use::kScalar) {
      EXPECT_EQ(gguf.weights->vector(row.name), original.weights->vector(row.name)) << row.name;
      continue;
    }
    const auto a = gguf.weights->matrix(row.name);
    const auto b = original.weights->matrix(row.name);
    ASSERT_TRUE(a && b) << row.name;
    ASSERT_EQ(a->rows, b->rows) << row.name;
    ASSERT_EQ(a->cols, b->cols) << row.name;
    ASSERT_EQ(a->bytes(), b->bytes()) << row.name;
    EXPECT_EQ(std::memcmp(a->data, b->data, static_cast<size_t>(a->bytes())), 0) << row.name;
  }
  // A directory with nothing else opens, too.
  EXPECT_EQ(open_checkpoint(directory.path().string()).spec.layer_count(), original.spec.layer_count());
}

INSTANTIATE_TEST_SUITE_P(All, GgufGolden,
                         ::testing::Values("tiny-e2b", "tiny-e4b", "tiny-31b", "tiny-26b-a4b", "real-heads"),
                         [](const auto& name) {
                           std::string text = name.param;
                           std::ranges::replace(text, '-', '_');
                           return text;
                         });

TEST(GgufFile, OpensWithoutReadingTheTensors) {
  const TemporaryDirectory directory;
  const auto path = directory / "sparse.gguf";
  GgufPairs pairs;
  pairs.add("general.architecture", "gemma4");
  {
    // Only the declaration matters; the data is a hole.
    const std::string head =
        test::with_data(test::gguf_header(1, 0) + test::gguf_tensor("t", {1024, uint64_t{1} << 28}, 0, 0), 0);
    test::write_file(path, head);
    std::filesystem::resize_file(path, head.size() + (uint64_t{1} << 40));
  }
  EXPECT_THAT(GgufFile(path).find("t")->shape, ElementsAre(1 << 28, 1024));
}

TEST(GgufWriter, RefusesWhatGgufCannotHold) {
  const TemporaryDirectory directory;
  const auto writing = [&](GgufDeclaration tensor) {
    return [&, tensor] { GgufWriter(directory / "x.gguf", {}, {tensor}); };
  };
  const auto says = [](std::string_view part) {
    return ::testing::ThrowsMessage<Error>(HasSubstr(std::string(part)));
  };
  EXPECT_THAT(writing({"t", Encoding::kAffine4, {32}}), says("impossible shape [32] of affine4"));
  EXPECT_THAT(writing({"t", Encoding::kQ4_0, {2, 33}}), says("impossible shape"));
  EXPECT_THAT(writing({"t", Encoding::kF32, {}}), says("impossible shape"));
  EXPECT_THAT(writing({"t", Encoding::kF32, {0}}), says("impossible shape"));
  GgufWriter writer(directory / "x.gguf", {}, {{"a", Encoding::kF32, {1}}, {"b", Encoding::kF32, {1}}});
  EXPECT_THAT([&] { writer.write("b", test::bytes_of("1234")); }, says("it is the turn of a"));
  EXPECT_THAT([&] { writer.write("a", test::bytes_of("12345")); }, says("expected 4 more bytes, got 5"));
  EXPECT_THAT([&] { writer.finish(); }, says("expected 4 bytes, got 0"));
  EXPECT_FALSE(std::filesystem::exists(directory / "x.gguf"));
}

}  // namespace
}  // namespace facet
