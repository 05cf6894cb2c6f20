// A sequence that remembers what its cache holds, so that a conversation pays only for what is new.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/generate.h"

namespace facet {

/// Keeps a sequence whose cache holds a known list of tokens, so that the next prompt pays only for what
/// differs.
class CachedSequence {
 public:
  /// Opens a sequence. Throws Error{kFailed} when all slots are taken.
  explicit CachedSequence(Engine& engine);
  ~CachedSequence();
  CachedSequence(const CachedSequence&) = delete;
  CachedSequence& operator=(const CachedSequence&) = delete;

  /// Completes `prompt`, given whole: the longest prefix that the cache already holds is kept, and at least
  /// the last token runs. Otherwise as generate().
  [[nodiscard]] GenerateResult complete(std::span<const int32_t> prompt, const GenerateOptions& options);

  /// Tokens of the cache.
  [[nodiscard]] std::span<const int32_t> tokens() const noexcept { return tokens_; }

 private:
  /// Brings tokens_ to what the cache really holds after a step failed or was stopped.
  void trim_to_cache();

  Engine& engine_;
  int sequence_;
  std::vector<int32_t> tokens_;
};

}  // namespace facet
