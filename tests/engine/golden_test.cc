// The five goldens on the reference backend: every activation, the loss, the greedy text; whole, in chunks,
// and with other sequences in the same steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/generate.h"
#include "engine/trace.h"
#include "engine/validate.h"
#include "support/golden.h"
#include "support/sanitized.h"

namespace facet {
namespace {

using testing::Golden;

EngineOptions reference_options(int chunk) {
  EngineOptions options;
  options.backend = "reference";
  options.context = 1280;
  options.chunk = chunk;
  options.sequences = 3;
  return options;
}

Engine load(const Golden& golden, int chunk) {
  return Engine(open_checkpoint(golden.directory.string()), reference_options(chunk));
}

std::vector<int32_t> greedy(Engine& engine, const Golden& golden) {
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = static_cast<int>(golden.greedy_ids.size());
  const int sequence = engine.cache().open();
  auto ids = generate(engine, sequence, golden.prompt_ids, options).ids;
  engine.cache().close(sequence);
  return ids;
}

class GoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  Golden golden_ = testing::load_golden(GetParam());
};

std::string describe(const ValidationResult& result) {
  std::string text;
  for (const TensorResult& t : result.tensors)
    if (!t.pass) text += t.name + " rel_rms " + std::to_string(t.rel_rms) + "\n";
  for (const std::string& name : result.missing) text += "missing " + name + "\n";
  return text;
}

TEST_P(GoldenTest, EveryActivationMatchesAndTheShortenedPrefillToo) {
  Engine engine = load(golden_, 512);
  const ValidationResult result = validate_trace(engine, read_trace(golden_.trace()));
  EXPECT_TRUE(result.pass) << describe(result);
  EXPECT_TRUE(result.missing.empty());
  EXPECT_TRUE(result.not_compared.empty());
  EXPECT_TRUE(result.fast_prefill_match);
  EXPECT_EQ(result.token_mismatches, 0);
  EXPECT_GE(result.tensors.size(), static_cast<size_t>(engine.spec().layer_count()) + 3);
}

void expect_prefill_matches(const Golden& golden, int chunk) {
  Engine engine = load(golden, chunk);
  const ValidationResult result = validate_trace(engine, read_trace(golden.trace()));
  EXPECT_TRUE(result.pass) << "chunk " << chunk << "\n" << describe(result);
  EXPECT_EQ(greedy(engine, golden), golden.greedy_ids) << "chunk " << chunk;
}

TEST_P(GoldenTest, ChunkedPrefillMatches) {
  expect_prefill_matches(golden_, 64);
}

TEST_P(GoldenTest, PrefillInSmallChunksMatches) {
  if (GetParam() == "real-heads") FACET_SKIP_IF_SANITIZED();
  for (const int chunk : {1, 7}) expect_prefill_matches(golden_, chunk);
}

TEST_P(GoldenTest, GreedyContinuationMatches) {
  Engine engine = load(golden_, 512);
  EXPECT_EQ(greedy(engine, golden_), golden_.greedy_ids);
}

TEST_P(GoldenTest, MeanLossMatches) {
  Engine engine = load(golden_, 512);
  const auto ids = read_trace(golden_.trace()).input_ids;
  const auto vocab = static_cast<size_t>(engine.spec().vocab_size);
  const int sequence = engine.cache().open();
  double loss = 0;
  size_t scored = 0;
  for (size_t begin = 0; begin < ids.size(); begin += 512) {
    const size_t count = std::min<size_t>(512, ids.size() - begin);
    engine.step({sequence, {ids.data() + begin, count}, Want::kAll});
    for (size_t i = 0; i < count && begin + i + 1 < ids.size(); ++i) {
      const auto logits = engine.logits(static_cast<int>(i));
      double top = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (size_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(logits[v]) - top);
      loss -= static_cast<double>(logits[static_cast<size_t>(ids[begin + i + 1])]) - top - std::log(sum);
      ++scored;
    }
  }
  EXPECT_NEAR(loss / static_cast<double>(scored), golden_.mean_nll, 1e-4);
}

// One sequence decodes while another's prompt arrives in odd pieces, and a third does both: each gets what it
// gets alone.
TEST_P(GoldenTest, InterleavedSequencesDoNotDisturbEachOther) {
  Engine engine = load(golden_, 64);
  const size_t length = golden_.greedy_ids.size();
  std::vector<int32_t> other(golden_.prompt_ids.rbegin(), golden_.prompt_ids.rend());
  const int noise = engine.cache().open();
  const int a = engine.cache().open();
  const int b = engine.cache().open();

  const std::span<const int32_t> prompt = golden_.prompt_ids;
  for (size_t done = 0; done < prompt.size(); done += 50)
    engine.step({a, prompt.subspan(done, std::min<size_t>(50, prompt.size() - done)), Want::kLast});
  const auto pick = [&](int output) {
    const auto logits = engine.logits(output);
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  };
  std::vector<int32_t> a_ids = {pick(0)};
  std::vector<int32_t> b_ids;
  size_t b_fed = 0;
  size_t noise_fed = 0;
  while (a_ids.size() < length || b_ids.size() < length) {
    std::vector<SequenceTokens> parts;
    const std::span<const int32_t> noise_piece(other.data() + noise_fed % (other.size() - 5),
                                               1 + noise_fed % 5);
    noise_fed += 3;
    parts.push_back({noise, noise_piece, Want::kNothing});
    const size_t b_piece = std::min<size_t>(5, golden_.prompt_ids.size() - b_fed);
    const bool b_prompt = b_piece > 0;
    const bool b_wants = b_fed + b_piece == golden_.prompt_ids.size();
    if (b_prompt) {
      parts.push_back(
          {b, {golden_.prompt_ids.data() + b_fed, b_piece}, b_wants ? Want::kLast : Want::kNothing});
    } else {
      parts.push_back({b, {&b_ids.back(), 1}, Want::kLast});
    }
    b_fed += b_piece;
    parts.push_back({a, {&a_ids.back(), 1}, Want::kLast});
    engine.step(parts);
    if (b_wants) b_ids.push_back(pick(0));
    a_ids.push_back(pick(b_wants ? 1 : 0));
  }
  a_ids.resize(length);
  b_ids.resize(length);
  EXPECT_EQ(a_ids, golden_.greedy_ids);
  EXPECT_EQ(b_ids, golden_.greedy_ids);
}

INSTANTIATE_TEST_SUITE_P(Reference, GoldenTest, ::testing::ValuesIn(testing::golden_names()),
                         [](const auto& test) { return testing::test_name(test.param); });
// Without the shared directory there is nothing to instantiate: that must be seen, not passed over.
TEST(GoldenData, IsThere) {
  EXPECT_FALSE(testing::golden_names().empty());
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenTest);

}  // namespace
}  // namespace facet
