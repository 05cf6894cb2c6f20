#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace facet {

TokenLogprobs token_logprobs(std::span<const float> logits, int32_t drawn, int top) {
  constexpr float kImpossible = -std::numeric_limits<float>::infinity();
  const auto logit = [&](size_t id) { return std::isnan(logits[id]) ? kImpossible : logits[id]; };
  float largest = kImpossible;
  for (size_t id = 0; id < logits.size(); ++id) largest = std::max(largest, logit(id));
  double sum = 0;
  for (size_t id = 0; id < logits.size(); ++id) sum += std::exp(static_cast<double>(logit(id)) - largest);
  const double log_sum = largest + std::log(sum);

  TokenLogprobs result;
  result.drawn = static_cast<float>(logit(static_cast<size_t>(drawn)) - log_sum);
  // Kept sorted while scanning: `top` is small.
  const auto likelier = [](const TokenLogprob& a, const TokenLogprob& b) { return a.logprob > b.logprob; };
  const auto wanted = static_cast<size_t>(top);
  for (size_t id = 0; id < logits.size() && wanted > 0; ++id) {
    const TokenLogprob candidate{static_cast<int32_t>(id), static_cast<float>(logit(id) - log_sum)};
    if (result.top.size() == wanted && !likelier(candidate, result.top.back())) continue;
    if (result.top.size() == wanted) result.top.pop_back();
    result.top.insert(std::upper_bound(result.top.begin(), result.top.end(), candidate, likelier), candidate);
  }
  return result;
}

}  // namespace facet
