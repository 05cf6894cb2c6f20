// Metadata of a Gemma in GGUF: every key wrong in turn.
#include "formats/gguf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <numbers>

#include "formats/files.h"
#include "formats/gguf_bytes.h"
#include "support/errors.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using testing::expect_bad_input;
using testing::gguf_pair;
using testing::gguf_text;
using testing::raw;

std::string u32(uint32_t value) {
  return raw<uint32_t>(4) + raw(value);
}
std::string f32(float value) {
  return raw<uint32_t>(6) + raw(value);
}
std::string text(std::string_view value) {
  return raw<uint32_t>(8) + gguf_text(value);
}
std::string u32s(std::initializer_list<uint32_t> values) {
  std::string bytes = raw<uint32_t>(9) + raw<uint32_t>(4) + raw<uint64_t>(values.size());
  for (const uint32_t v : values) bytes += raw(v);
  return bytes;
}
std::string bools(std::initializer_list<bool> values) {
  std::string bytes = raw<uint32_t>(9) + raw<uint32_t>(7) + raw<uint64_t>(values.size());
  for (const bool v : values) bytes += raw<uint8_t>(v ? 1 : 0);
  return bytes;
}
std::string strings(std::initializer_list<std::string_view> values) {
  std::string bytes = raw<uint32_t>(9) + raw<uint32_t>(8) + raw<uint64_t>(values.size());
  for (const std::string_view v : values) bytes += gguf_text(v);
  return bytes;
}

struct TensorData {
  std::vector<uint64_t> shape;  // outermost first
  std::vector<float> values;    // f32; empty: zeros
};

/// A file as keys and f32 tensors.
struct Model {
  std::map<std::string, std::string> keys;  // key → type and value
  std::map<std::string, TensorData> tensors;

  [[nodiscard]] std::string bytes() const {
    std::string head = testing::gguf_header(tensors.size(), keys.size());
    for (const auto& [key, value] : keys) head += gguf_text(key) + value;
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      uint64_t elements = 1;
      head += gguf_text(name) + raw<uint32_t>(static_cast<uint32_t>(tensor.shape.size()));
      for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) {
        head += raw(*dim);
        elements *= *dim;
      }
      head += raw<uint32_t>(0) + raw<uint64_t>(data.size());
      const size_t begin = data.size();
      data.resize(begin + elements * 4, '\0');
      for (size_t i = 0; i < tensor.values.size(); ++i)
        std::memcpy(&data[begin + 4 * i], &tensor.values[i], 4);
      data.resize((data.size() + 31) / 32 * 32, '\0');
    }
    return testing::with_data(head, 0) + data;
  }
  [[nodiscard]] ModelSpec spec() const {
    const std::string file = bytes();
    return gguf_model_spec(GgufFile(testing::bytes_of(file), "m.gguf"));
  }
};

/// S S F S F, the last two sharing; heads 8 and 16.
Model gemma4() {
  Model m;
  m.keys = {{"general.architecture", text("gemma4")},
            {"gemma4.block_count", u32(5)},
            {"gemma4.context_length", u32(1024)},
            {"gemma4.embedding_length", u32(16)},
            {"gemma4.embedding_length_per_layer_input", u32(4)},
            {"gemma4.feed_forward_length", u32s({32, 32, 32, 64, 64})},
            {"gemma4.attention.head_count", u32(4)},
            {"gemma4.attention.head_count_kv", u32(1)},
            {"gemma4.attention.key_length", u32(16)},
            {"gemma4.attention.value_length", u32(16)},
            {"gemma4.attention.key_length_swa", u32(8)},
            {"gemma4.attention.value_length_swa", u32(8)},
            {"gemma4.attention.sliding_window", u32(32)},
            {"gemma4.attention.sliding_window_pattern", bools({true, true, false, true, false})},
            {"gemma4.attention.shared_kv_layers", u32(2)},
            {"gemma4.attention.layer_norm_rms_epsilon", f32(1e-6F)},
            {"gemma4.rope.freq_base", f32(1e6F)},
            {"gemma4.rope.freq_base_swa", f32(1e4F)},
            {"gemma4.rope.dimension_count", u32(16)},
            {"gemma4.rope.dimension_count_swa", u32(8)},
            {"gemma4.final_logit_softcapping", f32(30)},
            {"tokenizer.ggml.tokens", strings({"<pad>", "<eos>", "<bos>", "<turn|>", "a", "b", "c", "d"})},
            {"tokenizer.ggml.bos_token_id", u32(2)},
            {"tokenizer.ggml.eos_token_id", u32(1)}};
  m.tensors = {{"token_embd.weight", {{8, 16}, {}}},
               {"per_layer_token_embd.weight", {{8, 20}, {}}},
               {"rope_freqs.weight", {{8}, {1, 1, 1e30F, 1e30F, 1e30F, 1e30F, 1e30F, 1e30F}}},
               {"blk.0.attn_v.weight", {{8, 16}, {}}},
               {"blk.1.attn_v.weight", {{8, 16}, {}}},
               {"blk.0.layer_output_scale.weight", {{1}, {}}},
               {"blk.3.layer_output_scale.weight", {{1}, {}}}};
  return m;
}

/// 270M-like: S S F, as gemma3 files are written, without a pattern or the sliding base.
Model gemma3() {
  Model m;
  m.keys = {{"general.architecture", text("gemma3")},
            {"gemma3.block_count", u32(7)},
            {"gemma3.context_length", u32(1024)},
            {"gemma3.embedding_length", u32(16)},
            {"gemma3.feed_forward_length", u32(32)},
            {"gemma3.attention.head_count", u32(4)},
            {"gemma3.attention.head_count_kv", u32(1)},
            {"gemma3.attention.key_length", u32(256)},
            {"gemma3.attention.value_length", u32(256)},
            {"gemma3.attention.sliding_window", u32(512)},
            {"gemma3.attention.layer_norm_rms_epsilon", f32(1e-6F)},
            {"gemma3.rope.freq_base", f32(1e6F)}};
  m.tensors = {{"token_embd.weight", {{8, 16}, {}}}};
  return m;
}

TEST(GgufConfig, ReadsGemma4) {
  const ModelSpec spec = gemma4().spec();
  std::vector<int> sources;
  std::vector<bool> scalars;
  std::vector<bool> v_from_k;
  for (const LayerSpec& l : spec.layers) {
    sources.push_back(l.kv_source);
    scalars.push_back(l.has_layer_scalar);
    v_from_k.push_back(l.v_from_k);
  }
  EXPECT_THAT(sources, ElementsAre(0, 1, 2, 1, 2));
  EXPECT_THAT(scalars, ElementsAre(true, false, false, true, false));
  EXPECT_THAT(v_from_k, ElementsAre(false, false, true, false, false));  // layer 2 has no attn_v
  EXPECT_EQ(spec.layers[4].ffn_dim, 64);
  EXPECT_EQ(spec.layers[2].head_dim, 16);
  EXPECT_EQ(spec.ple_vocab_size, 8);
  EXPECT_THAT(spec.eos_ids, ElementsAre(1, 3));  // <turn|> by its spelling
  const std::vector<float>& full = spec.ropes[static_cast<size_t>(spec.layers[2].rope)].inv_freq;
  EXPECT_FLOAT_EQ(full[1], std::pow(1e6F, -2.0F / 16));
  EXPECT_EQ(full[2], 0);
}

TEST(GgufConfig, ReadsGemma3) {
  const ModelSpec spec = gemma3().spec();
  EXPECT_EQ(spec.architecture, "gemma3_text");
  std::vector<bool> full;
  for (const LayerSpec& l : spec.layers) full.push_back(l.is_full());
  EXPECT_THAT(full, ElementsAre(false, false, false, false, false, true, false));
  EXPECT_EQ(spec.attention_scale, 1.0 / 16);
  EXPECT_FALSE(spec.norm_weight_plus_one);  // the file has the 1 added
  EXPECT_FALSE(spec.layers[0].v_norm);
  EXPECT_FALSE(spec.layers[0].has_layer_scalar);
  EXPECT_FALSE(spec.layers[0].v_from_k);
  EXPECT_EQ(spec.ple_dim, 0);
  EXPECT_EQ(spec.logit_softcap, 0);
  EXPECT_EQ(spec.ropes[static_cast<size_t>(spec.layers[0].rope)].theta, 1e4);
  EXPECT_EQ(spec.ropes[static_cast<size_t>(spec.layers[5].rope)].theta, 1e6);
}

TEST(GgufConfig, DividesTheFullLayersPositionsOfLargerGemma3) {
  Model m = gemma3();
  m.keys["gemma3.rope.scaling.type"] = text("linear");
  m.keys["gemma3.rope.scaling.factor"] = f32(8);
  const ModelSpec spec = m.spec();
  EXPECT_EQ(spec.ropes[static_cast<size_t>(spec.layers[5].rope)].inv_freq[0], 0.125F);
  EXPECT_EQ(spec.ropes[static_cast<size_t>(spec.layers[0].rope)].inv_freq[0], 1);
}

TEST(GgufConfig, Gemma3With128WideHeadsScalesByHiddenOverHeads) {
  Model m = gemma3();
  m.keys["gemma3.attention.key_length"] = u32(128);
  m.keys["gemma3.attention.value_length"] = u32(128);
  EXPECT_EQ(m.spec().attention_scale, 0.5);  // 16 hidden / 4 heads
}

TEST(GgufConfig, ReadsSampling) {
  Model m = gemma4();
  m.keys["general.sampling.temp"] = f32(1);
  m.keys["general.sampling.top_k"] = u32(64);
  m.keys["general.sampling.top_p"] = f32(0.95F);
  const std::string file = m.bytes();
  const GenerationConfig g = gguf_generation_config(GgufFile(testing::bytes_of(file), "m.gguf"));
  EXPECT_EQ(g.temperature, 1);
  EXPECT_EQ(g.top_k, 64);
  EXPECT_FLOAT_EQ(static_cast<float>(*g.top_p), 0.95F);
}

struct BadModel {
  std::string name;
  std::function<void(Model&)> breaking;
  std::string says;
};

void PrintTo(const BadModel& bad, std::ostream* out) {
  *out << bad.name;
}

std::function<void(Model&)> set(std::string key, std::string value) {
  return [key = std::move(key), value = std::move(value)](Model& m) { m.keys[key] = value; };
}
std::function<void(Model&)> drop(std::string key) {
  return [key = std::move(key)](Model& m) { m.keys.erase(key); };
}

std::vector<BadModel> bad_models() {
  return {
      {"NoArchitecture", drop("general.architecture"), "general.architecture: expected a value, got nothing"},
      {"OtherArchitecture", set("general.architecture", text("llama")),
       "general.architecture: expected gemma4 or gemma3, got \"llama\""},
      {"ArchitectureIsNumber", set("general.architecture", u32(4)),
       "general.architecture: expected a string, got u32"},
      {"PartOfASplit", set("split.count", u32(3)), "split.count: expected a whole file, got one of 3 parts"},
      {"NoLayers", drop("gemma4.block_count"), "gemma4.block_count: expected a value, got nothing"},
      {"ZeroLayers", set("gemma4.block_count", u32(0)),
       "gemma4.block_count: expected an integer from 1 to 1024, got 0"},
      {"BillionLayers", set("gemma4.block_count", u32(1000000000)),
       "block_count: expected an integer from 1 to 1024"},
      {"LayersIsFloat", set("gemma4.block_count", f32(5)), "gemma4.block_count: expected integers, got f32"},
      {"PatternShort", set("gemma4.attention.sliding_window_pattern", bools({true, false})),
       "sliding_window_pattern: expected 5 bools, got an array of 2 bool"},
      {"PatternOfIntegers", set("gemma4.attention.sliding_window_pattern", u32s({1, 1, 0, 1, 0})),
       "sliding_window_pattern: expected 5 bools, got an array of 5 u32"},
      {"NoPattern", drop("gemma4.attention.sliding_window_pattern"),
       "sliding_window_pattern: expected a value, got nothing"},
      {"FeedForwardShort", set("gemma4.feed_forward_length", u32s({32, 32})),
       "feed_forward_length: expected 5 integers, got an array of 2 u32"},
      {"FeedForwardZero", set("gemma4.feed_forward_length", u32(0)),
       "feed_forward_length: expected an integer from 1"},
      {"HeadsDoNotDivide", set("gemma4.attention.head_count_kv", u32(3)),
       "key/value heads: expected a divisor of the 4 query heads, got 3"},
      {"HeadsZero", set("gemma4.attention.head_count", u32(0)),
       "head_count: expected an integer from 1 to 1024, got 0"},
      {"HeadDimOdd",
       [](Model& m) {
         m.keys["gemma4.attention.key_length_swa"] = u32(7);
         m.keys["gemma4.attention.value_length_swa"] = u32(7);
         m.keys["gemma4.rope.dimension_count_swa"] = u32(7);
       },
       "layer 0: head_dim: expected an even number, got 7"},
      {"HeadDimHuge", set("gemma4.attention.key_length", u32(1 << 30)),
       "key_length: expected an integer from 1 to 2048"},
      {"ValueLengthDiffers", set("gemma4.attention.value_length", u32(8)),
       "value_length: expected 16 (the keys' size), got 8"},
      {"PartialRotation", set("gemma4.rope.dimension_count", u32(4)),
       "rope.dimension_count: expected 16 (the head's size), got 4"},
      {"WindowZero", set("gemma4.attention.sliding_window", u32(0)),
       "sliding_window: expected an integer from 1"},
      {"AllShared", set("gemma4.attention.shared_kv_layers", u32(5)),
       "num_kv_shared_layers: expected 0 to 4"},
      {"NoFullOwner", set("gemma4.attention.shared_kv_layers", u32(3)),
       "layer 2: expected a full-attention layer before layer 2"},
      {"ThetaZero", set("gemma4.rope.freq_base", f32(0)), "rope.freq_base: expected a number above 0"},
      {"ThetaNaN", set("gemma4.rope.freq_base_swa", f32(NAN)),
       "rope.freq_base_swa: expected a finite number, got nan"},
      {"EpsilonAbsent", drop("gemma4.attention.layer_norm_rms_epsilon"),
       "layer_norm_rms_epsilon: expected a value"},
      {"EpsilonZero", set("gemma4.attention.layer_norm_rms_epsilon", f32(0)),
       "rms_norm_eps: expected a positive finite number, got 0"},
      {"SoftcapNegative", set("gemma4.final_logit_softcapping", f32(-1)),
       "final_logit_softcapping: expected a positive finite number"},
      {"RopeScalingUnknown", set("gemma4.rope.scaling.type", text("yarn")),
       "rope.scaling.type: expected none or linear, got \"yarn\""},
      {"NoEmbedding", [](Model& m) { m.tensors.erase("token_embd.weight"); },
       "expected a tensor token_embd.weight, got none"},
      {"EmbeddingIsVector",
       [](Model& m) {
         m.tensors["token_embd.weight"] = {{8}, {}};
       },
       "tensor token_embd.weight: expected a matrix of at most 16777216 rows, got [8]"},
      {"VocabularyOfOtherSize", set("tokenizer.ggml.tokens", strings({"a", "b"})),
       "tokenizer.ggml.tokens: expected 8 (the rows of token_embd), got 2"},
      {"TokensAreNumbers", set("tokenizer.ggml.tokens", u32s({1, 2, 3, 4, 5, 6, 7, 8})),
       "tokenizer.ggml.tokens: expected an array of strings"},
      {"EosOutside", set("tokenizer.ggml.eos_token_id", u32(8)),
       "eos_token_id: expected a token id below 8, got 8"},
      {"PleTableAbsent", [](Model& m) { m.tensors.erase("per_layer_token_embd.weight"); },
       "expected a tensor per_layer_token_embd.weight, got none"},
      {"RopeFreqsOfOtherSize",
       [](Model& m) {
         m.tensors["rope_freqs.weight"] = {{4}, {1, 1, 1, 1}};
       },
       "rope_freqs.weight: expected 8 elements (half the full layers' head), got 4"},
      {"RopeFreqsZero",
       [](Model& m) {
         m.tensors["rope_freqs.weight"] = {{8}, {1, 0, 1, 1, 1, 1, 1, 1}};
       },
       "rope_freqs.weight: expected numbers above 0, got 0 at 1"},
      {"RopeFreqsNaN",
       [](Model& m) {
         m.tensors["rope_freqs.weight"] = {{8}, {1, NAN, 1, 1, 1, 1, 1, 1}};
       },
       "expected finite numbers, got nan at 1"},
      {"TopKAboveExperts",
       [](Model& m) {
         m.keys["gemma4.expert_count"] = u32(4);
         m.keys["gemma4.expert_used_count"] = u32(5);
       },
       "expert_used_count: expected an integer from 1 to 4, got 5"},
      {"TemperatureNegative", set("general.sampling.temp", f32(-1)),
       "general.sampling.temp: expected a number of at least 0, got -1"},
      {"TopPTwo", set("general.sampling.top_p", f32(2)),
       "general.sampling.top_p: expected a number above 0, at most 1, got 2"},
      {"TopKIsText", set("general.sampling.top_k", text("64")),
       "general.sampling.top_k: expected integers, got string"},
  };
}

class GgufConfigHostile : public ::testing::TestWithParam<BadModel> {};

TEST_P(GgufConfigHostile, IsRefused) {
  Model m = gemma4();
  GetParam().breaking(m);
  expect_bad_input([&] { return m.spec(); }, {GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(All, GgufConfigHostile, ::testing::ValuesIn(bad_models()),
                         [](const auto& bad) { return bad.param.name; });

}  // namespace
}  // namespace facet
