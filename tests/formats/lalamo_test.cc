// lalamo checkpoints: files that lalamo itself wrote (tools/make_lalamo_goldens.py), and the goldens in all
// three generations' forms.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "engine/trace.h"
#include "engine/validate.h"
#include "formats/checkpoint.h"
#include "formats/files.h"
#include "formats/same_model.h"
#include "quant/dequantize.h"
#include "support/errors.h"
#include "support/golden.h"
#include "support/lalamo_writer.h"

namespace facet {
namespace {

using testing::as_lalamo;
using ::testing::ElementsAre;
using testing::golden;
using ::testing::HasSubstr;
using testing::LalamoCheckpoint;
using testing::LalamoGeneration;
using testing::TemporaryDirectory;

Checkpoint open_data(std::string_view name) {
  return open_checkpoint((testing::data_dir() / "formats" / "lalamo" / name).string());
}

TEST(LalamoExport, CurrentIsTheModelThatItWasMadeFrom) {
  const Checkpoint hf = open_data("hf");
  const Checkpoint lalamo = open_data("current");
  testing::expect_same_spec(lalamo.spec, hf.spec);
  testing::expect_same_weights(lalamo, hf);
  EXPECT_EQ(lalamo.format, "lalamo bf16");
  EXPECT_THAT(lalamo.spec.eos_ids, ElementsAre(1, 5));
  EXPECT_EQ(lalamo.generation.temperature, 1.0);
  EXPECT_EQ(lalamo.generation.top_k, 64);
  EXPECT_EQ(lalamo.generation.top_p, 0.95);
  // Its full layers have 32 channels and a rotation of 8.
  EXPECT_THAT(lalamo.warnings, ElementsAre(HasSubstr("2 layers give the rotation a smaller head")));
}

TEST(LalamoExport, NestedIsTheModelThatItWasMadeFrom) {
  const Checkpoint hf = open_data("hf");
  const Checkpoint lalamo = open_data("nested");
  testing::expect_same_spec(lalamo.spec, hf.spec);
  testing::expect_same_weights(lalamo, hf);  // shared layers have unused rows of k and v here
  EXPECT_THAT(lalamo.warnings, ElementsAre());
  EXPECT_THAT(lalamo.spec.eos_ids, ElementsAre(1, 5));
}

struct Quantized {
  std::string directory;
  std::string format;
};

void PrintTo(const Quantized& q, std::ostream* out) {
  *out << q.directory;
}

class LalamoQuantized : public ::testing::TestWithParam<Quantized> {};

/// Each element within half a step of what it was made from; a wrong nibble, zero point or row would be many
/// steps off.
TEST_P(LalamoQuantized, IsWithinHalfAStepOfTheFloats) {
  const Checkpoint hf = open_data("hf");
  const Checkpoint lalamo = open_data(GetParam().directory);
  testing::expect_same_spec(lalamo.spec, hf.spec);
  EXPECT_EQ(lalamo.format, GetParam().format);
  int matrices = 0;
  for (const WeightRow& row : weight_table(hf.spec)) {
    SCOPED_TRACE(row.name);
    if (testing::is_vector(row)) {
      EXPECT_EQ(lalamo.weights->vector(row.name), hf.weights->vector(row.name));
      continue;
    }
    const MatrixView q = lalamo.weights->matrix(row.name).value();
    const MatrixView f = hf.weights->matrix(row.name).value();
    ASSERT_TRUE(q.is_affine());
    ASSERT_EQ(q.rows, f.rows);
    ASSERT_EQ(q.cols, f.cols);
    std::vector<float> got(static_cast<size_t>(q.cols));
    std::vector<float> expected(got.size());
    for (int64_t r = 0; r < q.rows; ++r) {
      dequantize_row(q, r, got.data());
      dequantize_row(f, r, expected.data());
      for (int64_t c = 0; c < q.cols; ++c) {
        const int64_t group = r * (q.cols / q.group_size) + c / q.group_size;
        const float step = std::abs(load_float(q.scale_dtype, q.scales, group));
        // Half a step of rounding, and lalamo rounds scales and biases to bf16.
        const auto i = static_cast<size_t>(c);
        ASSERT_LE(std::abs(got[i] - expected[i]), 0.51F * step + 0.01F * std::abs(expected[i]) + 0.004F)
            << "row " << r << " column " << c << " step " << step;
      }
    }
    ++matrices;
  }
  EXPECT_GT(matrices, 30);
}

INSTANTIATE_TEST_SUITE_P(All, LalamoQuantized,
                         ::testing::Values(Quantized{"current-mlx4", "lalamo 4-bit group 32"},
                                           Quantized{"current-int4", "lalamo 4-bit group 32"},
                                           Quantized{"current-int8", "lalamo 8-bit group 32"},
                                           Quantized{"current-symmetric4", "lalamo 4-bit group 32"}),
                         [](const auto& q) {
                           std::string name = q.param.directory;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

class LalamoGolden : public ::testing::TestWithParam<std::tuple<const char*, LalamoGeneration>> {};

TEST_P(LalamoGolden, IsTheSameModelAndPassesItsTrace) {
  const auto& [name, generation] = GetParam();
  const Checkpoint original = open_checkpoint(golden(name).string());
  const TemporaryDirectory directory;
  as_lalamo(original, generation).write(directory.path());
  Checkpoint lalamo = open_checkpoint(directory.path().string());
  testing::expect_same_spec(lalamo.spec, original.spec);
  testing::expect_same_weights(lalamo, original);

  EngineOptions options;
  options.backend = "reference";
  options.context = 1280;
  Engine engine(std::move(lalamo), options);
  const ValidationResult result = validate_trace(engine, read_trace(testing::load_golden(name).trace()));
  EXPECT_TRUE(result.pass);
  EXPECT_THAT(result.missing, ElementsAre());
}

std::string golden_case_name(const ::testing::TestParamInfo<LalamoGolden::ParamType>& test) {
  constexpr std::array kNames = {"Current", "Nested", "Flat"};
  return testing::test_name(std::get<0>(test.param)) + kNames[static_cast<size_t>(std::get<1>(test.param))];
}

INSTANTIATE_TEST_SUITE_P(All, LalamoGolden,
                         ::testing::Combine(::testing::Values("tiny-e2b", "tiny-e4b"),
                                            ::testing::Values(LalamoGeneration::kCurrent,
                                                              LalamoGeneration::kNested,
                                                              LalamoGeneration::kFlat)),
                         golden_case_name);

/// A golden in one generation's form, to be bent before it is opened.
class Lalamo : public ::testing::Test {
 protected:
  LalamoCheckpoint make(LalamoGeneration generation) const { return as_lalamo(original_, generation); }
  Checkpoint open(const LalamoCheckpoint& checkpoint) const {
    checkpoint.write(directory_.path());
    return open_checkpoint(directory_.path().string());
  }
  void expect_refused(const LalamoCheckpoint& checkpoint, const std::string& says) const {
    testing::expect_bad_input([&] { return open(checkpoint); }, {says});
  }
  const Checkpoint& original() const { return original_; }

 private:
  Checkpoint original_ = open_checkpoint(golden("tiny-e2b").string());
  TemporaryDirectory directory_;
};

std::vector<bool> scalars(const ModelSpec& spec) {
  std::vector<bool> flags;
  for (const LayerSpec& layer : spec.layers) flags.push_back(layer.has_layer_scalar);
  return flags;
}

TEST_F(Lalamo, LayerScalarStaysPerLayer) {
  const std::vector<bool> some = {true, false, true, false, false, true, true, true, true, true};
  for (const LalamoGeneration generation :
       {LalamoGeneration::kCurrent, LalamoGeneration::kNested, LalamoGeneration::kFlat}) {
    LalamoCheckpoint c = make(generation);
    for (size_t l = 0; l < some.size(); ++l) {
      if (some[l]) continue;
      std::erase_if(c.tensors, [&](const auto& tensor) {
        return tensor.first.find("layers." + std::to_string(l) + ".") != std::string::npos &&
               tensor.first.ends_with("layer_scalar");
      });
      if (generation == LalamoGeneration::kCurrent) c.layer(l)["has_post_layer_scalar"] = false;
      if (generation == LalamoGeneration::kNested) c.layer(l)["ple_config"]["has_layer_scalar"] = false;
    }
    const Checkpoint opened = open(c);
    EXPECT_EQ(scalars(opened.spec), some);
    EXPECT_EQ(opened.weights->vector("model.layers.1.layer_scalar"), std::nullopt);
    EXPECT_EQ(opened.weights->vector("model.layers.2.layer_scalar"),
              original().weights->vector("model.layers.2.layer_scalar"));
  }
}

TEST_F(Lalamo, ALayerScalarThatTheConfigPromisesMustBeThere) {
  LalamoCheckpoint c = make(LalamoGeneration::kCurrent);
  c.tensors.erase("decoder.transformer.layers.3.post_layer_scalar");
  expect_refused(
      c, "layer 3: expected a tensor transformer.layers.3.post_layer_scalar, as config.json says, got none");
}

TEST_F(Lalamo, PartialRopeDimIsHonoured) {
  const auto turning = [](const Checkpoint& c, size_t layer) {
    const auto& frequencies = c.spec.ropes[static_cast<size_t>(c.spec.layers[layer].rope)].inv_freq;
    return std::ranges::count_if(frequencies, [](float f) { return f > 0; });
  };
  // In the mixer it counts before everything else, also in a sliding layer.
  LalamoCheckpoint flat = make(LalamoGeneration::kFlat);
  for (const size_t layer : {4U, 9U}) flat.layer(layer)["mixer_config"]["partial_rope_dim"] = 12;
  for (const size_t layer : {0U, 1U, 2U, 3U, 5U, 6U, 7U, 8U})
    flat.layer(layer)["mixer_config"]["partial_rope_dim"] = 4;
  const Checkpoint c = open(flat);
  EXPECT_EQ(turning(c, 4), 6);
  EXPECT_EQ(turning(c, 0), 2);
  // The frequencies stay those of the whole head.
  EXPECT_FLOAT_EQ(c.spec.ropes[static_cast<size_t>(c.spec.layers[4].rope)].inv_freq[5],
                  std::pow(1e6F, -10.0F / 32));
  // global_rope_dim concerns the layers without a window alone.
  const Checkpoint global = open(make(LalamoGeneration::kFlat));
  EXPECT_EQ(turning(global, 4), 4);
  EXPECT_EQ(turning(global, 0), 8);
}

TEST_F(Lalamo, NewerNamesAreRead) {
  LalamoCheckpoint c = make(LalamoGeneration::kCurrent);
  std::map<std::string, testing::LalamoTensor> renamed;
  for (auto& [name, tensor] : c.tensors) {
    std::string newer = name;
    if (const size_t at = newer.find("qkv_projection"); at != std::string::npos) newer.replace(at, 3, "qkvg");
    renamed[newer] = std::move(tensor);
  }
  c.tensors = std::move(renamed);
  for (size_t l = 0; l < 10; ++l) {
    auto& mixer = c.layer(l)["mixer_config"];
    mixer.erase("has_qkv_biases");
    mixer["has_qkvg_biases"] = false;
    mixer["has_gate"] = false;
    auto& rope = c.layer(l)["rope_config"];
    if (mixer["sliding_window_size"].is_null())
      rope = {{"type", "PartialRoPEConfig"},
              {"base", 1e6},
              {"max_sequence_length", 2048},
              {"head_dim", 32},
              {"partial_rotary_factor", 0.25}};
  }
  const Checkpoint opened = open(c);
  testing::expect_same_spec(opened.spec, original().spec);
  testing::expect_same_weights(opened, original());
  EXPECT_THAT(opened.warnings, ElementsAre());  // nothing to read between the lines
}

TEST_F(Lalamo, ValueNormMayBeAConfigOfItsOwn) {
  LalamoCheckpoint c = make(LalamoGeneration::kFlat);
  for (size_t l = 0; l < 10; ++l) {
    c.layer(l)["mixer_config"].erase("normalize_values");
    c.layer(l)["mixer_config"]["value_norm_config"] = {{"epsilon", 1e-6}, {"has_scale", false}};
  }
  EXPECT_TRUE(open(c).spec.layers[0].v_norm);
  c.layer(0)["mixer_config"]["value_norm_config"]["has_scale"] = true;
  expect_refused(c, "value_norm_config.has_scale: expected false, got true");
}

TEST_F(Lalamo, ArraysBesideTheLayersMustHaveOneElementALayer) {
  LalamoCheckpoint dims = make(LalamoGeneration::kFlat);
  dims.decoder()["hidden_dims"].erase(9);
  expect_refused(
      dims,
      "model_config.model_config.hidden_dims: expected an array of 10 (one a layer), got an array of 9");
  LalamoCheckpoint sources = make(LalamoGeneration::kFlat);
  sources.decoder()["kv_shared_layer_sources"].push_back(nullptr);
  expect_refused(sources,
                 "kv_shared_layer_sources: expected an array of 10 (one a layer), got an array of 11");
  LalamoCheckpoint empty = make(LalamoGeneration::kFlat);
  empty.decoder()["hidden_dims"] = nlohmann::json::array();
  expect_refused(empty, "hidden_dims: expected an array of 10 (one a layer), got an array of 0");
}

TEST_F(Lalamo, AValueBesideTheLayersCountsFirst) {
  LalamoCheckpoint c = make(LalamoGeneration::kNested);
  c.decoder()["ple_combination_scale"] = 0.5;
  EXPECT_EQ(open(c).spec.ple_combination_scale, 0.5);
}

TEST_F(Lalamo, RefusesBadConfigs) {
  struct Case {
    LalamoGeneration generation;
    std::function<void(LalamoCheckpoint&)> bend;
    std::string says;
  };
  constexpr auto kCurrent = LalamoGeneration::kCurrent;
  constexpr auto kFlat = LalamoGeneration::kFlat;
  const std::vector<Case> cases = {
      {kCurrent, [](auto& c) { c.decoder().erase("transformer_config"); },
       "transformer_config: expected a value, got nothing"},
      {kCurrent,
       [](auto& c) { c.decoder()["transformer_config"]["layer_configs"] = nlohmann::json::array(); },
       "layer_configs: expected an array of 1 to 1024, got an array of 0"},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["num_heads"] = 0; },
       "layer_configs[2].mixer_config.num_heads: expected an integer from 1"},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["num_groups"] = 3; },
       "layer 2: key/value heads: expected a divisor of the 4"},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["head_dim"] = "16"; },
       "mixer_config.head_dim: expected an integer"},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["type"] = "Mamba2Config"; },
       "mixer_config.type: expected \"AttentionConfig\""},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["sliding_window_size"] = 0; },
       "sliding_window_size: expected an integer from 1"},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["scale"] = 0.5; },
       "mixer_config: scale: expected 1 as in layer 0, got 0.5"},
      {kCurrent, [](auto& c) { c.layer(2)["mixer_config"]["has_qkv_biases"] = true; },
       "has_qkv_biases: expected false, got true"},
      {kCurrent, [](auto& c) { c.layer(2)["mlp_config"]["activation"]["type"] = "SiLU"; },
       "activation: expected GELU in its tanh approximation"},
      {kCurrent, [](auto& c) { c.layer(2)["mlp_config"]["type"] = "MixtureOfExpertsConfig"; },
       "mlp_config.type: expected \"DenseMLPConfig\""},
      {kCurrent, [](auto& c) { c.layer(2)["pre_mlp_norm_config"]["epsilon"] = 1e-5; },
       "pre_mlp_norm_config.epsilon: expected 1e-06 as in the others"},
      {kCurrent, [](auto& c) { c.layer(2)["pre_mlp_norm_config"]["scale_offset"] = 1; },
       "scale_offset: expected 0 as in the others, got 1"},
      {kCurrent, [](auto& c) { c.layer(2)["pre_mlp_norm_config"]["subtract_mean"] = true; },
       "subtract_mean: expected false, got true"},
      {kCurrent, [](auto& c) { c.layer(2)["rope_config"]["base"] = 0; },
       "rope_config.base: expected a positive finite number, got 0"},
      {kCurrent, [](auto& c) { c.layer(2)["rope_config"]["type"] = "YARNRoPEConfig"; },
       "rope_config.type: expected \"UnscaledRoPEConfig\""},
      {kCurrent, [](auto& c) { c.layer(2)["rope_config"]["head_dim"] = 32; },
       "rope_config.head_dim: expected an integer from 1 to 16, got 32"},
      {kCurrent, [](auto& c) { c.layer(7)["kv_source_layer_index"] = 8; },
       "layer 7: kv source: expected 0 to 7, got 8"},
      {kCurrent, [](auto& c) { c.layer(7)["kv_source_layer_index"] = 4; },
       "layer 7: kv source: expected a layer with its own K/V of the same kind"},
      {kCurrent, [](auto& c) { c.layer(7)["kv_source_layer_index"] = nullptr; },
       "is_kv_sharing: expected false, as the layer reads the keys of layer 7, got true"},
      {kCurrent, [](auto& c) { c.decoder()["vocab_size"] = 0; }, "vocab_size: expected an integer from 1"},
      {kCurrent, [](auto& c) { c.decoder()["embedding_config"]["type"] = "UntiedEmbeddingConfig"; },
       "embedding_config.type: expected a tied embedding"},
      {kCurrent, [](auto& c) { c.decoder()["ple_model_config"]["num_layers"] = 9; },
       "ple_model_config.num_layers: expected 10 (the layers), got 9"},
      {kCurrent, [](auto& c) { c.decoder()["ple_model_config"].erase("input_scale"); },
       "ple_model_config.input_scale: expected a value, got nothing"},
      {kCurrent, [](auto& c) { c.config["generation_config"]["stop_token_ids"] = {512}; },
       "eos_token_id: expected a token id below 512, got 512"},
      {kFlat, [](auto& c) { c.decoder()["kv_shared_layer_sources"][5] = "3"; },
       "kv_shared_layer_sources[5]: expected an integer"},
      {kFlat, [](auto& c) { c.decoder()["hidden_dims"][5] = 0; },
       "hidden_dims[5]: expected an integer from 1"},
      {kFlat, [](auto& c) { c.decoder()["transformer_config"]["global_rope_dim"] = 64; },
       "global_rope_dim: expected an integer from 1 to 32, got 64"},
      {kFlat, [](auto& c) { c.decoder().erase("ple_projection_scale"); },
       "ple_projection_scale: expected a value, got nothing"},
      {kFlat, [](auto& c) { c.decoder()["transformer_config"].erase("global_rope_config"); },
       "global_rope_config: expected a value, got nothing"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.says);
    LalamoCheckpoint c = make(bad.generation);
    bad.bend(c);
    expect_refused(c, bad.says);
  }
}

}  // namespace
}  // namespace facet
