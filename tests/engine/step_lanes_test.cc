// Steps divided by sequences give what the same steps give on one thread, to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "engine/engine.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

constexpr int kSequences = 19;

Engine load(int threads) {
  EngineOptions options;
  options.backend = "cpu";
  options.threads = threads;
  options.sequences = kSequences;
  options.chunk = 256;
  options.context = 256;
  return {testing::tiny_checkpoint({.layers = 10, .shared = 5, .context = 256}), options};
}

/// Runs `counts[s]` random tokens of each sequence s in one step and adds the outputs' logits to `kept`.
/// Sequences with `silent` set want nothing.
void step(Engine& engine, std::mt19937& random, const std::vector<int>& counts,
          const std::vector<bool>& silent, std::vector<float>& kept) {
  std::vector<std::vector<int32_t>> tokens(counts.size());
  std::vector<SequenceTokens> parts;
  for (size_t s = 0; s < counts.size(); ++s) {
    for (int i = 0; i < counts[s]; ++i) tokens[s].push_back(static_cast<int32_t>(3 + random() % 20));
    if (counts[s] > 0)
      parts.push_back({static_cast<int>(s), tokens[s], silent[s] ? Want::kNothing : Want::kLast});
  }
  engine.step(parts);
  for (int i = 0; i < engine.outputs(); ++i) {
    const auto logits = engine.logits(i);
    kept.insert(kept.end(), logits.begin(), logits.end());
  }
}

std::vector<float> run(int threads) {
  Engine engine = load(threads);
  for (int s = 0; s < kSequences; ++s) EXPECT_EQ(engine.cache().open(), s);
  std::mt19937 random(3);
  std::vector<float> kept;
  for (int n = 0; n < 12; ++n) {
    std::vector<int> counts(kSequences, 1);
    std::vector<bool> silent(kSequences, false);
    for (int s = 0; n % 3 != 1 && s < kSequences; ++s) {  // prompts among them
      if (random() % 4 == 0) counts[static_cast<size_t>(s)] = static_cast<int>(random() % 17);
      silent[static_cast<size_t>(s)] = random() % 5 == 0;
    }
    step(engine, random, counts, silent, kept);
  }
  // One part far longer than the rest, then few: neither is divided.
  std::vector<int> counts(kSequences, 0);
  counts[2] = 50;
  counts[7] = counts[9] = 1;
  step(engine, random, counts, std::vector<bool>(kSequences, false), kept);
  counts[2] = 1;
  step(engine, random, counts, std::vector<bool>(kSequences, false), kept);
  return kept;
}

TEST(StepLanes, ChangeNothing) {
  const std::vector<float> alone = run(1);
  EXPECT_FALSE(alone.empty());
  for (const int threads : {2, 3, 5}) EXPECT_EQ(run(threads), alone) << threads;
}

}  // namespace
}  // namespace facet
