// Completing one sequence.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"

namespace facet {

enum class StopReason : uint8_t {
  kLength,    ///< max_tokens, or the context is full
  kStop,      ///< the caller saw a stop string
  kEos,       ///< a stop id
  kCancelled  ///< the caller asked for it
};

[[nodiscard]] std::string_view stop_reason_name(StopReason reason) noexcept;

struct GenerateOptions {
  SamplingParams sampling;
  int max_tokens = 0;  ///< 0: until the context is full
  std::vector<int> stop_ids;
  std::span<const int32_t> history;  ///< what the cache already holds, for the repetition penalty
  /// Sees every token as it is drawn, a stop id excepted; false ends the answer with kStop.
  std::function<bool(int32_t)> on_token;
  /// Called between the chunks of the prompt: tokens done, tokens in all.
  std::function<void(int, int)> on_prompt;
  const std::atomic<bool>* cancel = nullptr;
};

struct GenerateResult {
  std::vector<int32_t> ids;  ///< generated, the stop id excepted
  StopReason stop_reason = StopReason::kLength;
  int prompt_tokens = 0;  ///< run through the model; what the cache already held is not counted
  double prompt_ms = 0;
  double generated_ms = 0;  ///< of the tokens after the first
};

/// Appends `prompt` (not empty) to `sequence` and draws tokens until something stops it. Every drawn token
/// but the last is in the cache afterwards. Throws Error{kBadInput} when the prompt does not fit the context.
[[nodiscard]] GenerateResult generate(Engine& engine, int sequence, std::span<const int32_t> prompt,
                                      const GenerateOptions& options);

}  // namespace facet
