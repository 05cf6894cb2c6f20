#include "formats/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "formats/files.h"
#include "formats/generation_config.h"
#include "support/errors.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using testing::expect_bad_input;

Json golden_config(std::string_view name = "tiny-e2b") {
  return parse_json_file(testing::golden(name) / "config.json");
}

ModelSpec spec_of(const Json& config) {
  return hf_model_spec(JsonView(config, "config.json"));
}

/// What must be equal in two specs of one model written in two ways.
void expect_same(const ModelSpec& a, const ModelSpec& b) {
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.ple_dim, b.ple_dim);
  ASSERT_EQ(a.layer_count(), b.layer_count());
  for (size_t l = 0; l < a.layers.size(); ++l) {
    EXPECT_EQ(a.layers[l].kind, b.layers[l].kind) << l;
    EXPECT_EQ(a.layers[l].head_dim, b.layers[l].head_dim) << l;
    EXPECT_EQ(a.layers[l].kv_heads, b.layers[l].kv_heads) << l;
    EXPECT_EQ(a.layers[l].kv_source, b.layers[l].kv_source) << l;
    EXPECT_EQ(a.layers[l].ffn_dim, b.layers[l].ffn_dim) << l;
    EXPECT_EQ(a.ropes[static_cast<size_t>(a.layers[l].rope)].inv_freq,
              b.ropes[static_cast<size_t>(b.layers[l].rope)].inv_freq)
        << l;
  }
}

TEST(HfConfig, ReadsTheWrapper) {
  const Json flat = golden_config();
  Json wrapper = {{"model_type", "gemma4"},
                  {"architectures", {"Gemma4ForConditionalGeneration"}},
                  {"vision_config", {{"hidden_size", 768}}},
                  {"audio_config", nullptr},
                  {"eos_token_id", {1, 106, 50}},
                  {"text_config", flat}};
  const ModelSpec spec = spec_of(wrapper);
  expect_same(spec, spec_of(flat));
  EXPECT_EQ(spec.architecture, "gemma4_text");
  EXPECT_THAT(spec.eos_ids, ElementsAre(1, 106, 50));
}

TEST(HfConfig, ReadsPerLayerConfig) {
  Json config = golden_config("tiny-26b-a4b");
  const ModelSpec published = spec_of(config);
  config.erase("global_head_dim");
  config.erase("num_global_key_value_heads");
  config["per_layer_config"] = {{"5", {{"head_dim", 32}, {"num_key_value_heads", 2}}}};
  expect_same(spec_of(config), published);
}

TEST(HfConfig, DefaultsAreThoseOfTransformers) {
  Json config = golden_config();
  for (const char* key : {"layer_types", "global_head_dim", "rope_parameters", "final_logit_softcapping",
                          "rms_norm_eps", "num_kv_shared_layers", "use_double_wide_mlp", "enable_moe_block"})
    config.erase(key);
  const ModelSpec spec = spec_of(config);
  EXPECT_TRUE(spec.layers[5].is_full());  // every sixth
  EXPECT_FALSE(spec.layers[4].is_full());
  EXPECT_TRUE(spec.layers[9].is_full());  // the last always
  EXPECT_EQ(spec.layers[5].head_dim, 512);
  EXPECT_EQ(spec.logit_softcap, 0);
  EXPECT_EQ(spec.last_kv_owner(), 9);
  const std::vector<float>& full = spec.ropes[static_cast<size_t>(spec.layers[5].rope)].inv_freq;
  EXPECT_GT(full[63], 0);
  EXPECT_EQ(full[64], 0);
}

TEST(HfConfig, ReadsRopeParametersOfAllLayersAtOnce) {
  Json config = golden_config();
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  const ModelSpec spec = spec_of(config);
  EXPECT_FLOAT_EQ(spec.ropes[0].inv_freq[1], std::pow(5e5F, -2.0F / 16));
  EXPECT_FLOAT_EQ(spec.ropes[1].inv_freq[15], std::pow(5e5F, -30.0F / 32));
}

TEST(HfConfig, ANewerHeadsKeyCountsOnlyWithKEqV) {
  Json config = golden_config("tiny-31b");
  config["attention_k_eq_v"] = false;
  EXPECT_EQ(spec_of(config).layers[5].kv_heads, 4);
}

TEST(HfConfig, ForcesTheLastLayerFull) {
  Json config = golden_config();
  config["layer_types"][9] = "sliding_attention";
  EXPECT_TRUE(spec_of(config).layers[9].is_full());
}

struct BadConfig {
  std::string name;
  std::string patch;  // JSON merge patch; a member of "~" is set to null rather than removed
  std::string says;
};

void PrintTo(const BadConfig& bad, std::ostream* out) {
  *out << bad.name;
}

void restore_nulls(Json& config) {
  for (auto& value : config) {
    if (value == "~") value = nullptr;
    if (value.is_structured()) restore_nulls(value);
  }
}

const std::vector<BadConfig>& bad_configs() {
  static const std::vector<BadConfig> kBad = {
      {"NoModelType", R"({"model_type":null})", "config.json: model_type: expected a value, got nothing"},
      {"OtherModelType", R"({"model_type":"llama"})", "model_type: expected \"gemma4\""},
      {"ModelTypeIsNumber", R"({"model_type":4})", "model_type: expected a string, got 4"},
      {"WrapperWithoutText", R"({"model_type":"gemma4"})", "text_config: expected a value, got nothing"},
      {"WrapperTextIsString", R"({"model_type":"gemma4","text_config":"x"})",
       "text_config: expected an object, got \"x\""},
      {"NoVocabulary", R"({"vocab_size":null})", "vocab_size: expected a value, got nothing"},
      {"NullVocabulary", R"({"vocab_size":"~"})", "vocab_size: expected a value, got null"},
      {"VocabularyIsString", R"({"vocab_size":"512"})", "vocab_size: expected an integer from 1 to"},
      {"VocabularyIsFloat", R"({"vocab_size":512.0})", "vocab_size: expected an integer"},
      {"VocabularyTooLarge", R"({"vocab_size":60000000})",
       "vocab_size: expected an integer from 1 to 16777216, got 60000000"},
      {"VocabularyHuge", R"({"vocab_size":1000000000000})", "vocab_size: expected an integer from 1 to"},
      {"NoHidden", R"({"hidden_size":null})", "hidden_size: expected a value"},
      {"NegativeHidden", R"({"hidden_size":-64})",
       "hidden_size: expected an integer from 1 to 262144, got -64"},
      {"ZeroLayers", R"({"num_hidden_layers":0})",
       "num_hidden_layers: expected an integer from 1 to 1024, got 0"},
      {"BillionLayers", R"({"num_hidden_layers":1000000000})",
       "num_hidden_layers: expected an integer from 1 to 1024"},
      {"LayerTypesShort", R"({"num_hidden_layers":11})",
       "layer_types: expected an array of 11 (num_hidden_layers), got an array of 10"},
      {"LayerTypeUnknown",
       R"({"num_hidden_layers":1,"num_kv_shared_layers":0,"layer_types":["chunked_attention"]})",
       "layer_types[0]: expected \"sliding_attention\" or \"full_attention\", got \"chunked_attention\""},
      {"LayerTypesIsString", R"({"layer_types":"full_attention"})", "layer_types: expected an array"},
      {"HeadsDoNotDivide", R"({"num_key_value_heads":3})",
       "layer 0: key/value heads: expected a divisor of the 4 query heads, got 3"},
      {"NoHeads", R"({"num_attention_heads":0})", "num_attention_heads: expected an integer from 1"},
      {"NoKvHeads", R"({"num_key_value_heads":0})", "num_key_value_heads: expected an integer from 1"},
      {"HeadDimZero", R"({"head_dim":0})", "head_dim: expected an integer from 1"},
      {"HeadDimOdd", R"({"head_dim":15})", "layer 0: head_dim: expected an even number, got 15"},
      {"GlobalHeadDimOdd", R"({"global_head_dim":33})", "layer 4: head_dim: expected an even number, got 33"},
      {"HeadDimHuge", R"({"head_dim":1000000})", "head_dim: expected an integer from 1 to 2048, got 1000000"},
      {"AllShared", R"({"num_kv_shared_layers":10})", "num_kv_shared_layers: expected 0 to 9"},
      {"NoFullOwner", R"({"num_kv_shared_layers":6})",
       "layer 4: expected a full-attention layer before layer 4 to share K/V with, got none"},
      {"NegativeShared", R"({"num_kv_shared_layers":-1})",
       "num_kv_shared_layers: expected an integer from 0"},
      {"WindowZero", R"({"sliding_window":0})", "sliding_window: expected an integer from 1"},
      {"WindowNull", R"({"sliding_window":"~"})", "sliding_window: expected a value, got null"},
      {"ThetaZero", R"({"rope_parameters":{"full_attention":{"rope_theta":0}}})",
       "rope_parameters.full_attention.rope_theta: expected a positive finite number, got 0"},
      {"ThetaIsString", R"({"rope_parameters":{"sliding_attention":{"rope_theta":"NaN"}}})",
       "rope_parameters.sliding_attention.rope_theta: expected a positive finite number, got \"NaN\""},
      {"ThetaHuge", R"({"rope_parameters":{"full_attention":{"rope_theta":1e300}}})",
       "rope_theta: expected at most"},
      {"ThetaAbsent", R"({"rope_parameters":{"full_attention":{"rope_theta":null}}})",
       "rope_theta: expected a value, got nothing"},
      {"RopeOfAKindAbsent", R"({"rope_parameters":{"full_attention":null}})",
       "rope_parameters.full_attention: expected a value, got nothing"},
      {"RopeDivisorZero", R"({"rope_parameters":{"full_attention":{"rope_type":"linear","factor":0}}})",
       "rope_parameters.full_attention.factor: expected a positive finite number, got 0"},
      {"RotaryFactorZero", R"({"rope_parameters":{"full_attention":{"partial_rotary_factor":0}}})",
       "partial_rotary_factor: expected a number above 0, at most 1, got 0"},
      {"RotaryFactorTwo", R"({"rope_parameters":{"full_attention":{"partial_rotary_factor":2}}})",
       "partial_rotary_factor: expected a number above 0, at most 1, got 2"},
      {"RopeTypeUnknown", R"({"rope_parameters":{"full_attention":{"rope_type":"yarn"}}})",
       "rope_type: expected \"default\", \"proportional\" or \"linear\", got \"yarn\""},
      {"EpsilonZero", R"({"rms_norm_eps":0})", "rms_norm_eps: expected a positive finite number, got 0"},
      {"SoftcapNegative", R"({"final_logit_softcapping":-30})",
       "final_logit_softcapping: expected a positive finite number, got -30"},
      {"ContextZero", R"({"max_position_embeddings":0})",
       "max_position_embeddings: expected an integer from 1"},
      {"NoMlpWidth", R"({"intermediate_size":null})", "intermediate_size: expected a value"},
      {"MlpWidthHuge", R"({"intermediate_size":1000000})",
       "intermediate_size: expected an integer from 1 to 131072, got"},
      {"PleAbsent", R"({"hidden_size_per_layer_input":null})",
       "hidden_size_per_layer_input: expected a value"},
      {"PleHuge", R"({"hidden_size_per_layer_input":1000000})",
       "hidden_size_per_layer_input: expected an integer from 0 to 262144, got"},
      {"PleVocabularyAbsent", R"({"vocab_size_per_layer_input":null})",
       "vocab_size_per_layer_input: expected a value"},
      {"ExpertsAbsent", R"({"enable_moe_block":true})", "num_experts: expected a value, got null"},
      {"TopKAboveExperts",
       R"({"enable_moe_block":true,"num_experts":4,"top_k_experts":5,"moe_intermediate_size":8})",
       "top_k_experts: expected an integer from 1 to 4, got 5"},
      {"EosOutsideVocabulary", R"({"eos_token_id":[1,512]})",
       "eos_token_id: expected a token id below 512, got 512"},
      {"EosIsString", R"({"eos_token_id":"1"})", "eos_token_id: expected an integer"},
      {"BosOutsideVocabulary", R"({"bos_token_id":600})",
       "bos_token_id: expected a token id below 512, got 600"},
      {"UntiedHead", R"({"tie_word_embeddings":false})", "tie_word_embeddings: expected true"},
      {"AttentionBias", R"({"attention_bias":true})", "attention_bias: expected false, got true"},
      {"OtherActivation", R"({"hidden_activation":"silu"})",
       "hidden_activation: expected \"gelu_pytorch_tanh\""},
      {"Bidirectional", R"({"use_bidirectional_attention":"all"})",
       "use_bidirectional_attention: expected null"},
      {"PerLayerIndexTooLarge", R"({"per_layer_config":{"10":{"head_dim":32}}})",
       "per_layer_config: expected layer indices from 0 to 9, got \"10\""},
      {"PerLayerIndexIsText", R"({"per_layer_config":{"full\n":{"head_dim":32}}})", "got \"full\\x0a\""},
      {"PerLayerUnknownField", R"({"per_layer_config":{"4":{"hidden_size":32}}})",
       "per_layer_config.4: expected head_dim and num_key_value_heads, got \"hidden_size\""},
      {"PerLayerIsNumber", R"({"per_layer_config":{"4":32}})",
       "per_layer_config.4: expected an object, got 32"},
      // A shared layer must read keys of its own size.
      {"SharedHeadDimDiffers", R"({"per_layer_config":{"4":{"head_dim":32}}})",
       "layer 9: kv source: expected a layer with its own K/V of the same kind"},
  };
  return kBad;
}

class HfConfigHostile : public ::testing::TestWithParam<BadConfig> {};

TEST_P(HfConfigHostile, IsRefused) {
  Json config = golden_config();
  config.merge_patch(Json::parse(GetParam().patch));
  restore_nulls(config);
  expect_bad_input([&] { return spec_of(config); }, {GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(All, HfConfigHostile, ::testing::ValuesIn(bad_configs()),
                         [](const auto& bad) { return bad.param.name; });

/// Gemma 3 270M as published.
Json gemma3_270m() {
  return Json::parse(R"({
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "_sliding_window_pattern": 6,
    "attention_bias": false, "attn_logit_softcapping": null, "final_logit_softcapping": null,
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 640, "intermediate_size": 2048,
    "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention", "sliding_attention",
                    "sliding_attention", "full_attention", "sliding_attention"],
    "max_position_embeddings": 32768, "num_attention_heads": 4, "num_hidden_layers": 7,
    "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0, "rope_scaling": null, "rope_theta": 1000000.0, "sliding_window": 512,
    "use_bidirectional_attention": false, "vocab_size": 262144})");
}

const RopeSpec& rope_of(const ModelSpec& spec, int layer) {
  return spec.ropes[static_cast<size_t>(spec.layers[static_cast<size_t>(layer)].rope)];
}

TEST(HfConfigGemma3, ReadsTheFlatConfig) {
  const ModelSpec spec = spec_of(gemma3_270m());
  EXPECT_EQ(spec.architecture, "gemma3_text");
  EXPECT_EQ(spec.layer_count(), 7);
  EXPECT_TRUE(spec.norm_weight_plus_one);
  EXPECT_EQ(spec.attention_scale, 1.0 / 16);
  EXPECT_EQ(spec.logit_softcap, 0);
  EXPECT_EQ(spec.ple_dim, 0);
  EXPECT_FALSE(spec.layers[0].v_norm);
  EXPECT_FALSE(spec.layers[0].has_layer_scalar);
  EXPECT_FALSE(spec.layers[0].is_full());
  EXPECT_TRUE(spec.layers[5].is_full());
  EXPECT_FALSE(spec.layers[6].is_full());  // the last layer is as the config says
  EXPECT_EQ(rope_of(spec, 0).theta, 1e4);
  EXPECT_EQ(rope_of(spec, 5).theta, 1e6);
  EXPECT_EQ(spec.last_kv_owner(), 6);
}

TEST(HfConfigGemma3, ReadsTheSparseWrapper) {
  const Json config = Json::parse(R"({
    "model_type": "gemma3", "eos_token_id": [1, 106], "text_config": {"hidden_size": 2560,
    "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34, "sliding_window": 1024,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}, "vision_config": {"hidden_size": 1152}})");
  const ModelSpec spec = spec_of(config);
  EXPECT_EQ(spec.vocab_size, 262208);
  EXPECT_EQ(spec.layers[0].q_heads, 8);
  EXPECT_EQ(spec.layers[0].kv_heads, 4);
  EXPECT_THAT(spec.eos_ids, ElementsAre(1, 106));
  EXPECT_EQ(spec.bos_id, 2);
  EXPECT_EQ(rope_of(spec, 5).inv_freq[0], 0.125F);  // positions of full layers are divided by 8
  EXPECT_EQ(rope_of(spec, 0).inv_freq[0], 1.0F);
}

TEST(HfConfigGemma3, ReadsNewerRopeParametersAndPattern) {
  Json config = gemma3_270m();
  for (const char* key : {"rope_theta", "rope_local_base_freq", "layer_types"}) config.erase(key);
  config["sliding_window_pattern"] = 3;
  config["rope_parameters"] = {{"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 5e3}}},
                               {"full_attention", {{"rope_type", "linear"}, {"factor", 4.0}}}};
  const ModelSpec spec = spec_of(config);
  EXPECT_TRUE(spec.layers[2].is_full());
  EXPECT_EQ(rope_of(spec, 0).theta, 5e3);
  EXPECT_EQ(rope_of(spec, 2).theta, 1e6);
  EXPECT_EQ(rope_of(spec, 2).inv_freq[0], 0.25F);
}

TEST(HfConfigGemma3, RefusesOtherMathAndBadValues) {
  const auto refuses = [](const char* patch, const std::string& says) {
    Json config = gemma3_270m();
    config.merge_patch(Json::parse(patch));
    expect_bad_input([&] { return spec_of(config); }, {says});
  };
  refuses(R"({"attn_logit_softcapping":50})", "attn_logit_softcapping: expected null, got 50");
  refuses(R"({"use_bidirectional_attention":true})", "use_bidirectional_attention: expected");
  refuses(R"({"query_pre_attn_scalar":0})",
          "query_pre_attn_scalar: expected a positive finite number, got 0");
  refuses(R"({"rope_theta":-1})", "rope_theta: expected a positive finite number, got -1");
  refuses(R"({"rope_scaling":{"rope_type":"yarn","factor":2}})", "rope_scaling.rope_type: expected");
  refuses(R"({"num_hidden_layers":8})", "layer_types: expected an array of 8 (num_hidden_layers)");
  refuses(R"({"sliding_window":0})", "sliding_window: expected an integer from 1");
}

TEST(HfConfigRoot, MustBeAnObject) {
  for (const char* text : {"[]", "null", "7", "\"gemma4\""})
    expect_bad_input([&] { return spec_of(Json::parse(text)); }, {"config.json: expected an object, got"});
}

TEST(GenerationConfig, ReadsWhatIsThere) {
  const Json json = Json::parse(R"({"temperature":1.0,"top_k":64,"top_p":0.95,"eos_token_id":[1,106,50]})");
  const GenerationConfig full = read_generation_config(JsonView(json, "g"));
  EXPECT_EQ(full.temperature, 1.0);
  EXPECT_EQ(full.top_k, 64);
  EXPECT_EQ(full.top_p, 0.95);
  EXPECT_THAT(full.eos_ids, ElementsAre(1, 106, 50));
  const Json scalar = Json::parse(R"({"eos_token_id":1})");
  const GenerationConfig sparse = read_generation_config(JsonView(scalar, "g"));
  EXPECT_THAT(sparse.eos_ids, ElementsAre(1));
  EXPECT_EQ(sparse.temperature, std::nullopt);
}

TEST(GenerationConfig, RefusesValuesOutOfRange) {
  const auto read = [](const char* text) {
    const Json json = Json::parse(text);
    return read_generation_config(JsonView(json, "g"));
  };
  expect_bad_input([&] { return read(R"({"temperature":-1})"); },
                   {"g: temperature: expected a number of at least 0"});
  expect_bad_input([&] { return read(R"({"temperature":"hot"})"); },
                   {"g: temperature: expected a finite number"});
  expect_bad_input([&] { return read(R"({"top_k":-1})"); }, {"g: top_k: expected an integer from 0"});
  expect_bad_input([&] { return read(R"({"top_p":0})"); }, {"g: top_p: expected a positive finite number"});
  expect_bad_input([&] { return read(R"({"top_p":2})"); },
                   {"g: top_p: expected a number above 0, at most 1"});
  expect_bad_input([&] { return read(R"({"eos_token_id":[-1]})"); },
                   {"g: eos_token_id[0]: expected an integer"});
  expect_bad_input([&] { return read("[]"); }, {"g: expected an object"});
}

}  // namespace
}  // namespace facet
