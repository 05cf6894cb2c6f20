// How well a model predicts a text, and how far it is from a reference.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace facet {

struct PerplexityOptions {
  std::vector<int32_t> prefix;  ///< starts every window and is never scored: <bos>
  /// Called as windows go by: tokens scored, tokens in all.
  std::function<void(int64_t done, int64_t total)> progress;
  const std::atomic<bool>* cancel = nullptr;
};

struct Perplexity {
  int64_t tokens = 0;  ///< scored
  int64_t windows = 0;
  double nll = 0;  ///< −Σ ln p(token), nats
  // With a reference alone, over the same positions.
  std::optional<double> mean_kl;        ///< mean Σ p_ref ln(p_ref / p), nats
  std::optional<double> same_top;       ///< part of positions whose likeliest token is the reference's
  std::optional<double> reference_nll;  ///< −Σ ln p_ref(token), nats

  [[nodiscard]] double mean_nll() const noexcept { return nll / static_cast<double>(tokens); }
  [[nodiscard]] double perplexity() const noexcept;
  /// Of a text of `bytes` bytes whose every token was scored.
  [[nodiscard]] double bits_per_byte(int64_t bytes) const noexcept;
};

/// Scores every token of `ids` once. The text is cut into windows that fill the engine's context, each after
/// `prefix` and read from an empty cache; all rows go through all layers. Without a prefix a window's first
/// token has nothing before it and is not scored.
///
/// With `reference` both engines read the same windows; they must have equal vocabularies and contexts.
/// Throws Error{kBadInput} when no token can be scored or the engines do not fit each other, Error{kFailed}
/// when a model's logits are not finite, Error{kInterrupted} when cancelled.
[[nodiscard]] Perplexity score_text(Engine& model, Engine* reference, std::span<const int32_t> ids,
                                    const PerplexityOptions& options);

/// What one position's logits say. Spans are [vocab]; NaN and infinities make the result not finite.
struct PositionScore {
  double nll = 0;  ///< of the token that came
  double reference_nll = 0;
  double kl = 0;
  bool same_top = false;
};
[[nodiscard]] PositionScore score_position(std::span<const float> logits, std::span<const float> reference,
                                           int32_t token) noexcept;

}  // namespace facet
