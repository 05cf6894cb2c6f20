#include "formats/hf_weights.h"

#include <gtest/gtest.h>

#include "formats/files.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;

HfWeights weights_of(const std::string& file) {
  std::vector<SafetensorsFile> files;
  files.emplace_back(testing::bytes_of(file), "f.safetensors");
  return HfWeights(ShardedSafetensors(std::move(files)), std::nullopt);
}

TEST(HfWeights, FindsTheTextModelUnderEveryPrefix) {
  for (const std::string& prefix : std::vector<std::string>{"model.", "model.language_model.",
                                                            "language_model.model.", "language_model."}) {
    const std::string file = testing::safetensors(
        "{\"" + prefix + R"(embed_tokens.weight":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},)" +
            R"("model.vision_tower.weight":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)" +
            R"("lm_head.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[12,16]}})",
        16);
    const HfWeights weights = weights_of(file);
    EXPECT_EQ(weights.stored_name("model.layers.0.layer_scalar"), prefix + "layers.0.layer_scalar");
    EXPECT_EQ(weights.matrix("model.embed_tokens.weight")->cols, 2);
  }
}

TEST(HfWeights, RefusesVectorsThatAreNotFinite) {
  for (const char* bits : {"\x80\x7f", "\xc0\x7f", "\x80\xff"}) {
    const std::string header =
        R"({"model.embed_tokens.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},)"
        R"("model.norm.weight":{"dtype":"BF16","shape":[2],"data_offsets":[2,6]}})";
    const std::string file = testing::safetensors(header, 4) + bits;
    const HfWeights weights = weights_of(file);
    expect_bad_input([&] { return weights.vector("model.norm.weight"); },
                     {"f.safetensors: tensor \"model.norm.weight\": expected finite numbers, got", "at 1"});
  }
}

TEST(HfWeights, RefusesTypesAndShapesThatAreNoWeights) {
  const std::string file = testing::safetensors(
      R"({"model.embed_tokens.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},)"
      R"("model.a":{"dtype":"I8","shape":[1,2],"data_offsets":[2,4]},)"
      R"("model.b":{"dtype":"F32","shape":[0,4],"data_offsets":[4,4]},)"
      R"("model.c":{"dtype":"I16","shape":[1],"data_offsets":[4,6]},)"
      R"("model.d":{"dtype":"U32","shape":[1,1],"data_offsets":[6,10]},)"
      R"("model.e":{"dtype":"F16","shape":[],"data_offsets":[10,12]}})",
      12);
  const HfWeights weights = weights_of(file);
  expect_bad_input([&] { return weights.matrix("model.a"); },
                   {"\"model.a\": expected a matrix", "got i8 [1, 2]"});
  expect_bad_input([&] { return weights.matrix("model.b"); },
                   {"\"model.b\": expected a matrix", "got f32 [0, 4]"});
  expect_bad_input([&] { return weights.vector("model.c"); },
                   {"\"model.c\": expected one dimension", "got i16 [1]"});
  expect_bad_input([&] { return weights.matrix("model.d"); },
                   {"\"model.d\": expected a matrix X.weight of codes"});
  EXPECT_EQ(weights.vector("model.e")->size(), 1U);
}

TEST(HfWeights, SaysThatSplitExpertsAreNotSupported) {
  const std::string file = testing::safetensors(
      R"({"model.embed_tokens.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]},)"
      R"("model.layers.0.experts.switch_glu.gate_proj.weight":{"dtype":"BF16","shape":[1,1,1],"data_offsets":[2,4]}})",
      4);
  const HfWeights weights = weights_of(file);
  expect_bad_input([&] { return weights.matrix("model.layers.0.experts.gate_up_proj"); },
                   {"switch_glu.gate_proj.weight", "got mlx-lm's two: not supported"});
  EXPECT_EQ(weights.matrix("model.layers.1.experts.gate_up_proj"), std::nullopt);
}

}  // namespace
}  // namespace facet
