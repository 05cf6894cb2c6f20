#include "model/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// S S F S S F, the last three sharing.
ModelSpec small_spec() {
  ModelSpec spec;
  spec.vocab_size = 32;
  spec.hidden_size = 8;
  spec.context_length = 64;
  spec.ropes = {RopeSpec::make(1e4, 4, 2), RopeSpec::make(1e6, 8, 1)};
  for (int l = 0; l < 6; ++l) {
    LayerSpec& layer = spec.layers.emplace_back();
    layer.kind = l % 3 == 2 ? LayerKind::kFull : LayerKind::kSliding;
    layer.head_dim = layer.is_full() ? 8 : 4;
    layer.rope = layer.is_full() ? 1 : 0;
    layer.window = layer.is_full() ? 0 : 16;
    layer.q_heads = 2;
    layer.kv_heads = 1;
    layer.ffn_dim = 16 + l;
  }
  resolve_kv_sharing(spec, 3);
  return spec;
}

TEST(RopeSpec, TurnsTheFirstPairsWithTheExponentOverTheWholeHead) {
  const RopeSpec all = RopeSpec::make(10000, 256, 128);
  ASSERT_EQ(all.inv_freq.size(), 128U);
  EXPECT_EQ(all.inv_freq[0], 1.0F);
  EXPECT_FLOAT_EQ(all.inv_freq[127], std::pow(10000.0F, -254.0F / 256));
  const RopeSpec partial = RopeSpec::make(1e6, 512, 64);
  ASSERT_EQ(partial.inv_freq.size(), 256U);
  EXPECT_FLOAT_EQ(partial.inv_freq[63], std::pow(1e6F, -126.0F / 512));
  EXPECT_EQ(partial.inv_freq[64], 0.0F);
  EXPECT_EQ(partial.inv_freq[255], 0.0F);
}

TEST(KvSharing, ReadsTheLastOwnerOfTheSameKind) {
  const ModelSpec spec = small_spec();
  std::vector<int> sources;
  for (const LayerSpec& l : spec.layers) sources.push_back(l.kv_source);
  EXPECT_THAT(sources, ElementsAre(0, 1, 2, 1, 1, 2));
  EXPECT_EQ(spec.last_kv_owner(), 2);
  EXPECT_TRUE(spec.owns_kv(2));
  EXPECT_FALSE(spec.owns_kv(3));
}

TEST(KvSharing, RefusesALayerWithoutAnOwner) {
  ModelSpec spec = small_spec();
  EXPECT_THAT([&] { resolve_kv_sharing(spec, 6); }, ThrowsMessage<Error>(HasSubstr("expected 0 to 5")));
  EXPECT_THAT([&] { resolve_kv_sharing(spec, -1); }, ThrowsMessage<Error>(HasSubstr("got -1")));
  EXPECT_THAT([&] { resolve_kv_sharing(spec, 4); },
              ThrowsMessage<Error>(HasSubstr("layer 2: expected a full-attention layer before layer 2")));
}

TEST(ModelSpec, KnowsItsWidestLayers) {
  const ModelSpec spec = small_spec();
  EXPECT_NO_THROW(validate(spec));
  EXPECT_EQ(spec.max_q_width(), 16);
  EXPECT_EQ(spec.max_kv_width(), 8);
  EXPECT_EQ(spec.max_ffn_dim(), 21);
}

TEST(ModelSpec, ValidateNamesTheFieldThatIsWrong) {
  const auto broken = [](const std::function<void(ModelSpec&)>& breaking, const std::string& says) {
    ModelSpec spec = small_spec();
    breaking(spec);
    EXPECT_THAT([&] { validate(spec); }, ThrowsMessage<Error>(HasSubstr(says)));
  };
  broken([](ModelSpec& s) { s.layers.clear(); }, "num_hidden_layers: expected 1 to 1024, got 0");
  broken([](ModelSpec& s) { s.vocab_size = 0; }, "vocab_size: expected 1 to");
  broken([](ModelSpec& s) { s.hidden_size = -1; }, "hidden_size: expected 1 to");
  broken([](ModelSpec& s) { s.rms_eps = std::numeric_limits<double>::quiet_NaN(); }, "rms_norm_eps");
  broken([](ModelSpec& s) { s.attention_scale = 0; },
         "attention scale: expected a positive finite number, got 0");
  broken([](ModelSpec& s) { s.ple_dim = 4; }, "per-layer embedding vocabulary: expected 1");
  broken([](ModelSpec& s) { s.eos_ids = {1, 32}; }, "eos_token_id: expected a token id below 32, got 32");
  broken([](ModelSpec& s) { s.bos_id = -2; }, "bos_token_id: expected a token id below 32, got -2");
  broken([](ModelSpec& s) { s.layers[1].head_dim = 5; }, "layer 1: head_dim: expected an even number, got 5");
  broken([](ModelSpec& s) { s.layers[1].kv_heads = 3; },
         "layer 1: key/value heads: expected a divisor of the 2");
  broken([](ModelSpec& s) { s.layers[0].window = 0; }, "layer 0: sliding_window: expected 1 to");
  broken([](ModelSpec& s) { s.layers[2].window = 8; },
         "layer 2: window of a full layer: expected 0 to 0, got 8");
  broken([](ModelSpec& s) { s.layers[2].rope = 2; }, "layer 2: rope index: expected 0 to 1, got 2");
  broken([](ModelSpec& s) { s.layers[2].rope = 0; },
         "layer 2: rope: expected 4 frequencies (head_dim / 2), got 2");
  broken([](ModelSpec& s) { s.ropes[0].inv_freq[1] = INFINITY; },
         "layer 0: rope: expected finite frequencies");
  broken([](ModelSpec& s) { s.layers[3].kv_source = 4; }, "layer 3: kv source: expected 0 to 3, got 4");
  broken([](ModelSpec& s) { s.layers[3].kv_source = 2; },
         "layer 3: kv source: expected a layer with its own K/V");
  broken([](ModelSpec& s) { s.layers[5].kv_source = 3; },
         "layer 5: kv source: expected a layer with its own K/V");
  broken([](ModelSpec& s) { s.layers[4].ffn_dim = 0; }, "layer 4: intermediate_size: expected 1");
  broken(
      [](ModelSpec& s) {
        s.layers[0].moe = MoeSpec{4, 5, 8};
      },
      "layer 0: top_k_experts: expected 1 to 4, got 5");
}

}  // namespace
}  // namespace facet
