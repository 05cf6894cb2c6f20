// The goldens and the demo model's trace on the CUDA backend.
#include <gtest/gtest.h>

#include "cuda/two_backends.h"
#include "engine/generate.h"
#include "engine/trace.h"
#include "engine/validate.h"
#include "support/golden.h"
#include "support/paths.h"

namespace facet {
namespace {

EngineOptions options(int chunk) {
  EngineOptions options;
  options.backend = "cuda";
  options.context = 1280;
  options.chunk = chunk;
  return options;
}

class CudaGolden : public testing::CudaTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(CudaGolden, Validates) {
  const testing::Golden golden = testing::load_golden(GetParam());
  for (const int chunk : {512, 7}) {
    Engine engine(open_checkpoint(golden.directory.string()), options(chunk));
    const ValidationResult result = validate_trace(engine, read_trace(golden.trace()));
    for (const TensorResult& t : result.tensors) EXPECT_TRUE(t.pass) << t.name << " " << t.rel_rms;
    EXPECT_TRUE(result.missing.empty());
    // Larger chunks of a prompt are in bf16, which random models grow fivefold a layer: no like for like.
    if (chunk <= cuda::kGemvRows) {
      EXPECT_TRUE(result.pass);
      EXPECT_TRUE(result.fast_prefill_match);
    }
    EXPECT_EQ(result.token_mismatches, 0);
  }
}

TEST_P(CudaGolden, GreedyContinuationMatches) {
  const testing::Golden golden = testing::load_golden(GetParam());
  EngineOptions exact = options(7);  // one pass over the weights, in f32
  exact.kv = KvType::kF32;
  Engine engine(open_checkpoint(golden.directory.string()), exact);
  GenerateOptions generation;
  generation.sampling.temperature = 0;
  generation.max_tokens = static_cast<int>(golden.greedy_ids.size());
  EXPECT_EQ(generate(engine, engine.cache().open(), golden.prompt_ids, generation).ids, golden.greedy_ids);
}

INSTANTIATE_TEST_SUITE_P(Goldens, CudaGolden, ::testing::ValuesIn(testing::golden_names()),
                         [](const auto& test) { return testing::test_name(test.param); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CudaGolden);  // golden_test.cc fails when there are none

class CudaDemoModel : public testing::CudaTest {};
TEST_F(CudaDemoModel, Validates) {
  Engine engine(open_checkpoint((testing::models_dir() / "fable").string()), options(512));
  const ValidationResult result =
      validate_trace(engine, read_trace(testing::data_dir() / "fable" / "trace.safetensors"));
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(result.token_mismatches, 0);
}

}  // namespace
}  // namespace facet
