// The goldens on the CPU backend, on every instruction set this machine has.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "backend/cpu/isa.h"
#include "engine/generate.h"
#include "engine/trace.h"
#include "engine/validate.h"
#include "support/golden.h"
#include "support/isa_names.h"
#include "support/sanitized.h"

namespace facet {
namespace {

using testing::Golden;

class CpuGolden : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  [[nodiscard]] Engine load(int chunk, std::optional<KvType> kv = {}) const {
    EngineOptions options;
    options.backend = "cpu";
    options.isa = std::get<0>(GetParam());
    options.threads = 2;
    options.context = 1280;
    options.chunk = chunk;
    options.sequences = 3;
    options.kv = kv;
    return Engine(open_checkpoint(golden_.directory.string()), options);
  }
  /// The model with heads of full size, by far the slowest.
  [[nodiscard]] bool large() const { return std::get<1>(GetParam()) == "real-heads"; }
  [[nodiscard]] bool fastest() const { return std::get<0>(GetParam()) == testing::isa_names().front(); }

  Golden golden_ = testing::load_golden(std::get<1>(GetParam()));
};

TEST_P(CpuGolden, Validates) {
  if (large()) FACET_SKIP_IF_SANITIZED();
  for (const auto& [chunk, kv] : {std::pair{512, KvType::kBF16}, std::pair{7, KvType::kF32}}) {
    Engine engine = load(chunk, kv);
    const ValidationResult result = validate_trace(engine, read_trace(golden_.trace()));
    EXPECT_TRUE(result.pass);
    for (const TensorResult& t : result.tensors) EXPECT_TRUE(t.pass) << t.name << " " << t.rel_rms;
    EXPECT_TRUE(result.missing.empty());
    for (const std::string& name : result.missing) ADD_FAILURE() << "missing " << name;
    EXPECT_TRUE(result.fast_prefill_match);
    EXPECT_EQ(result.token_mismatches, 0);
  }
}

TEST_P(CpuGolden, GreedyContinuationMatches) {
  if (large() && !fastest()) FACET_SKIP_IF_SANITIZED();
  for (const int chunk : {512, 7}) {
    // Random weights are chaotic: a bf16 cache sends the text elsewhere sooner or later. An f32 one does not.
    Engine engine = load(chunk, KvType::kF32);
    GenerateOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = static_cast<int>(golden_.greedy_ids.size());
    EXPECT_EQ(generate(engine, engine.cache().open(), golden_.prompt_ids, options).ids, golden_.greedy_ids);
  }
}

/// Logits of the prompt's last token and of one more, for a prompt fed in pieces of `piece` tokens beside
/// `others` other sequences, of which something is wanted or nothing.
std::vector<float> logits_beside(Engine& engine, const Golden& golden, size_t piece, int others,
                                 Want others_want = Want::kLast) {
  const std::span<const int32_t> prompt = golden.prompt_ids;
  const int a = engine.cache().open();
  std::vector<int> more;
  for (int i = 0; i < others; ++i) more.push_back(engine.cache().open());
  std::vector<float> kept;
  const auto step = [&](std::span<const int32_t> tokens, bool wanted) {
    std::vector<SequenceTokens> parts;
    for (const int other : more) parts.push_back({other, prompt.subspan(0, 3), others_want});
    parts.push_back({a, tokens, wanted ? Want::kLast : Want::kNothing});
    engine.step(parts);
    if (!wanted) return;
    const auto logits = engine.logits(engine.outputs() - 1);
    kept.insert(kept.end(), logits.begin(), logits.end());
  };
  for (size_t done = 0; done < prompt.size(); done += piece) {
    const size_t count = std::min(piece, prompt.size() - done);
    step(prompt.subspan(done, count), done + count == prompt.size());
  }
  step(prompt.subspan(0, 1), true);
  for (const int s : more) engine.cache().close(s);
  engine.cache().close(a);
  return kept;
}

// To the bit: what a sequence gets depends neither on how its prompt is cut nor on what shares its steps.
TEST_P(CpuGolden, ResultsDoNotDependOnTheBatch) {
  if (large() && !fastest()) FACET_SKIP_IF_SANITIZED();
  Engine engine = load(256);
  const auto alone = logits_beside(engine, golden_, 100, 0);
  EXPECT_EQ(logits_beside(engine, golden_, 1, 0), alone);
  EXPECT_EQ(logits_beside(engine, golden_, 100, 2), alone);
  EXPECT_EQ(logits_beside(engine, golden_, 13, 1), alone);
  EXPECT_EQ(logits_beside(engine, golden_, 13, 2, Want::kAll), alone);
  EXPECT_EQ(logits_beside(engine, golden_, 13, 2, Want::kNothing), alone);
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuGolden,
                         ::testing::Combine(::testing::ValuesIn(testing::isa_names()),
                                            ::testing::ValuesIn(testing::golden_names())),
                         [](const auto& test) {
                           return std::get<0>(test.param) + "_" + testing::test_name(std::get<1>(test.param));
                         });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CpuGolden);  // golden_test.cc fails when there are none

}  // namespace
}  // namespace facet
