// Which experts a token goes to.
#pragma once

#include <array>
#include <cstddef>

namespace facet {

constexpr int kMaxExpertsPerToken = 32;

/// The indices of the `top_k` (≤ kMaxExpertsPerToken, ≤ experts) largest of `p` [experts], largest first; of
/// equals the lower index.
inline std::array<int, kMaxExpertsPerToken> top_experts(const float* p, int experts, int top_k) noexcept {
  std::array<int, kMaxExpertsPerToken> chosen = {};
  int filled = 0;
  for (int e = 0; e < experts; ++e) {
    int place = filled;
    while (place > 0 && p[e] > p[chosen[static_cast<size_t>(place - 1)]]) --place;
    if (place >= top_k) continue;
    if (filled < top_k) ++filled;
    for (int i = filled - 1; i > place; --i)
      chosen[static_cast<size_t>(i)] = chosen[static_cast<size_t>(i - 1)];
    chosen[static_cast<size_t>(place)] = e;
  }
  return chosen;
}

}  // namespace facet
