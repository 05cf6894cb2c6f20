// Log probabilities of drawn tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace facet {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

struct TokenLogprobs {
  float drawn = 0;                ///< of the drawn token
  std::vector<TokenLogprob> top;  ///< the likeliest, likeliest first; of equals the lower id
};

/// log softmax of `logits` [vocab], before temperature and everything else that sampling does to them: of
/// token `drawn`, and of the `top` likeliest. NaN logits count as impossible.
[[nodiscard]] TokenLogprobs token_logprobs(std::span<const float> logits, int32_t drawn, int top);

}  // namespace facet
