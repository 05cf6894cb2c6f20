// Checkpoints that mlx-lm quantized (tools/make_mlx_goldens.py), against mlx-lm's own logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/engine.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"
#include "support/golden.h"
#include "support/paths.h"

namespace facet {
namespace {

struct MlxGolden {
  std::string name;
  std::string format;
  bool float_attention;
};

void PrintTo(const MlxGolden& golden, std::ostream* out) {
  *out << golden.name;
}

template <typename T>
std::vector<T> values_of(const SafetensorsFile& file, std::string_view name) {
  const StoredTensor* tensor = file.find(name);
  std::vector<T> values(static_cast<size_t>(tensor->elements()));
  std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
  return values;
}

class MlxLm : public ::testing::TestWithParam<MlxGolden> {};

TEST_P(MlxLm, GivesTheSameLogits) {
  const auto directory = testing::data_dir() / "formats" / "mlx" / GetParam().name;
  Checkpoint checkpoint = open_checkpoint(directory.string());
  EXPECT_EQ(checkpoint.format, GetParam().format);
  EXPECT_EQ(checkpoint.weights->matrix("model.layers.0.self_attn.q_proj.weight")->is_affine(),
            !GetParam().float_attention);
  EXPECT_TRUE(checkpoint.weights->matrix("model.embed_tokens_per_layer.weight")->is_affine());

  EngineOptions options;
  options.backend = "reference";
  options.context = 64;
  Engine engine(std::move(checkpoint), options);
  const SafetensorsFile file(directory / "expected.safetensors");
  const auto ids = values_of<int32_t>(file, "input_ids");
  const auto expected = values_of<float>(file, "logits");  // [ids, vocab]
  const int sequence = engine.cache().open();
  engine.step({sequence, ids, Want::kAll}, /*whole=*/true);
  ASSERT_EQ(engine.outputs(), static_cast<int>(ids.size()));
  double error = 0;
  double norm = 0;
  const auto vocab = static_cast<size_t>(engine.spec().vocab_size);
  for (size_t row = 0; row < ids.size(); ++row) {
    const auto logits = engine.logits(static_cast<int>(row));
    const auto reference = std::span(expected).subspan(row * vocab, vocab);
    for (size_t i = 0; i < vocab; ++i) {
      error += std::pow(logits[i] - reference[i], 2);
      norm += std::pow(reference[i], 2);
    }
    EXPECT_EQ(std::ranges::max_element(logits) - logits.begin(),
              std::ranges::max_element(reference) - reference.begin());
  }
  // Two orders of summation in f32, over three layers.
  EXPECT_LT(std::sqrt(error / norm), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(All, MlxLm,
                         ::testing::Values(MlxGolden{"4bit-group32", "MLX 4-bit group 32", false},
                                           MlxGolden{"4bit-group128", "MLX 4-bit group 128", false},
                                           MlxGolden{"mixed", "MLX 4-bit group 32", true}),
                         [](const auto& golden) { return testing::test_name(golden.param.name); });

}  // namespace
}  // namespace facet
