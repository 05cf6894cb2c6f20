// Restricting what a request may draw.
#pragma once

#include <cstdint>
#include <span>

namespace facet {

/// Decides before every draw which tokens may come next: a grammar, for instance.
class TokenMask {
 public:
  TokenMask() = default;
  virtual ~TokenMask() = default;
  TokenMask(const TokenMask&) = delete;
  TokenMask& operator=(const TokenMask&) = delete;
  /// Sets the logits [vocab] of tokens that may not come next to −infinity; leaves at least one.
  virtual void apply(std::span<float> logits) = 0;
  /// The token that was drawn.
  virtual void advance(int32_t token) = 0;
};

}  // namespace facet
