// Measuring a model: prompt and decode speed as llama-bench names them, and the arithmetic they are held
// against.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace facet {

/// One line of the benchmark.
struct BenchmarkTest {
  enum class Kind : uint8_t { kPrompt, kDecode };
  Kind kind = Kind::kPrompt;
  int tokens = 0;  ///< prompt tokens, or decoded tokens a sequence
  int depth = 0;   ///< tokens in the cache before
  int batch = 1;   ///< sequences decoded together

  /// "pp512", "tg128", "pp512@d4096", "tg128 b4".
  [[nodiscard]] std::string name() const;
};

struct Samples {
  std::vector<double> values;
  [[nodiscard]] double mean() const noexcept;
  /// Of the sample; 0 for one value.
  [[nodiscard]] double stddev() const noexcept;
};

struct BenchmarkResult {
  BenchmarkTest test;
  Samples tokens_per_s;       ///< all sequences together
  double bytes_per_step = 0;  ///< decode: weights and cache that a step reads, on average
  double bytes_per_token = 0;
  double ops_per_token = 0;  ///< operations in products and attention; a multiply and an add count as two
};

/// Runs `test` once to warm up and `repetitions` times. Tokens are random; every decoded token's logits are
/// computed and copied to the host. `profile`, if it is the engine's, holds the repetitions alone afterwards.
/// Throws Error{kUsage} when it does not fit the context or the slots.
[[nodiscard]] BenchmarkResult run_benchmark(Engine& engine, const BenchmarkTest& test, int repetitions,
                                            Profile* profile = nullptr);

/// Bytes of weights that one step reads, as stored; with experts, those that one token reads.
[[nodiscard]] double weight_bytes_per_step(const Engine& engine);
/// Bytes of K and V that a token at `position` reads.
[[nodiscard]] double cache_bytes_at(const ModelSpec& spec, KvType type, int position);
/// Operations for a token at `position`: all of it, or only what the cache needs of it.
[[nodiscard]] double ops_at(const ModelSpec& spec, int position, bool whole);

/// Most memory this process has had resident, in bytes; of that now, what no file backs.
[[nodiscard]] int64_t peak_resident_bytes();
[[nodiscard]] int64_t anonymous_resident_bytes();

}  // namespace facet
