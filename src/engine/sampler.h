// From logits to a token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/token_logit.h"

namespace facet {

struct SamplingParams {
  float temperature = 1.0F;     ///< 0: greedy
  int top_k = 0;                ///< keep the k likeliest; 0: all
  float top_p = 1.0F;           ///< then the fewest that hold this probability
  float min_p = 0.0F;           ///< then those with at least this share of the likeliest's probability
  float repeat_penalty = 1.0F;  ///< divides positive logits of tokens seen (prompt too), multiplies negative
  float frequency_penalty = 0.0F;  ///< subtracted for every time a token was generated
  float presence_penalty = 0.0F;   ///< subtracted once when a token was generated
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
};

/// Throws Error{kUsage} naming the parameter that is out of range or NaN.
void validate(const SamplingParams& params, int vocab_size);

/// Draws tokens for one sequence. Steps in order: repetition, frequency and presence penalties, logit bias,
/// temperature, top-k, top-p, min-p (the order of Hugging Face's generate). The i-th draw depends only on the
/// seed, i and the logits, so equal logits give equal text on every backend.
class Sampler {
 public:
  Sampler(const SamplingParams& params, int vocab_size);

  /// Tokens of the prompt: counted by the repetition penalty alone.
  void see_prompt(std::span<const int32_t> tokens);

  /// Picks the next token and counts it as generated. Of equal logits the lower id comes first. Throws
  /// Error{kFailed} when no logit is a number.
  int32_t sample(std::span<const float> logits);
  /// The same from the likeliest tokens alone, at least enough() of them in any order.
  int32_t sample(std::span<const TokenLogit> likeliest);
  /// How many of the likeliest tokens decide a draw, or 0: all.
  [[nodiscard]] int enough() const noexcept;

 private:
  using Candidate = TokenLogit;
  struct Seen {
    bool anywhere = false;
    int generated = 0;
  };

  void count(int32_t token, bool generated);
  [[nodiscard]] bool adjusts() const noexcept;
  [[nodiscard]] int deciding() const noexcept;
  [[nodiscard]] std::span<const float> adjust(std::span<const float> logits);
  void take_all(std::span<const float> logits);
  [[nodiscard]] bool take_likeliest(std::span<const float> logits, size_t count);
  void drop_impossible();
  int32_t pick();
  static bool likelier(const Candidate& a, const Candidate& b) noexcept {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }
  [[nodiscard]] auto at(size_t index) noexcept {
    return candidates_.begin() + static_cast<std::ptrdiff_t>(index);
  }
  static constexpr size_t kBlock = 16;  // logits that share a maximum
  [[nodiscard]] float reached_by(size_t count, std::span<const float> logits);
  void keep_top(size_t count);
  void sort_through(size_t index);
  [[nodiscard]] int32_t likeliest() const;
  [[nodiscard]] int32_t draw();
  [[nodiscard]] double uniform() const noexcept;

  SamplingParams params_;
  std::vector<Candidate> candidates_;  // [vocab]
  std::vector<float> adjusted_;        // [vocab]
  std::vector<float> maxima_;          // [vocab / kBlock]
  std::vector<float> ranked_;          // [vocab / kBlock], the first few in order
  size_t sorted_ = 0;                  // candidates at the front that are the likeliest, in order
  std::vector<Seen> seen_;             // [vocab]
  std::vector<int32_t> seen_ids_;
  uint64_t draws_ = 0;
};

}  // namespace facet
