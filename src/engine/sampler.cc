#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace facet {
namespace {

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014): a counter-based generator, so that the i-th draw
/// needs no state and can be made anywhere.
uint64_t mix(uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

void check(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high))  // also false for NaN
    throw Error(ErrorCode::kUsage, fmt::format("{}: expected {} to {}, got {}", name, low, high, value));
}

}  // namespace

void validate(const SamplingParams& p, int vocab_size) {
  check("temperature", p.temperature, 0, 100);
  check("top_k", p.top_k, 0, INT32_MAX);
  check("top_p", p.top_p, 0, 1);
  check("min_p", p.min_p, 0, 1);
  if (!(p.repeat_penalty > 0 && p.repeat_penalty <= 100))
    throw Error(ErrorCode::kUsage,
                fmt::format("repeat_penalty: expected above 0, at most 100, got {}", p.repeat_penalty));
  check("frequency_penalty", p.frequency_penalty, -100, 100);
  check("presence_penalty", p.presence_penalty, -100, 100);
  for (const auto& [id, bias] : p.logit_bias) {
    if (id < 0 || id >= vocab_size)
      throw Error(ErrorCode::kUsage,
                  fmt::format("logit_bias: token id {}: expected 0 to {}", id, vocab_size - 1));
    check("logit_bias", bias, -1000, 1000);
  }
}

Sampler::Sampler(const SamplingParams& params, int vocab_size) : params_(params) {
  validate(params, vocab_size);
  candidates_.reserve(static_cast<size_t>(vocab_size));
  seen_.resize(static_cast<size_t>(vocab_size));
  seen_ids_.reserve(static_cast<size_t>(vocab_size));
}

void Sampler::see_prompt(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) count(token, /*generated=*/false);
}

void Sampler::count(int32_t token, bool generated) {
  Seen& seen = seen_[static_cast<size_t>(token)];
  if (!seen.anywhere) seen_ids_.push_back(token);
  seen.anywhere = true;
  if (generated) ++seen.generated;
}

void Sampler::adjust(std::span<const float> logits) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = {logits[i], static_cast<int32_t>(i)};
  for (const int32_t id : seen_ids_) {
    const Seen& seen = seen_[static_cast<size_t>(id)];
    float& logit = candidates_[static_cast<size_t>(id)].value;
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
    if (seen.generated > 0)
      logit -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(seen.generated);
  }
  for (const auto& [id, bias] : params_.logit_bias) candidates_[static_cast<size_t>(id)].value += bias;
  // Also what a mask has ruled out.
  std::erase_if(candidates_,
                [](const Candidate& c) { return !(c.value > -std::numeric_limits<float>::infinity()); });
  if (candidates_.empty())
    throw Error(ErrorCode::kFailed, "the model's logits are all NaN: the weights or the backend are broken");
}

/// Leaves the `count` likeliest candidates, likeliest first.
void Sampler::keep_top(size_t count) {
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
  };
  if (count < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(count) - 1,
                     candidates_.end(), likelier);
    candidates_.resize(count);
  }
  std::sort(candidates_.begin(), candidates_.end(), likelier);
}

double Sampler::uniform() const noexcept {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15U;
  return static_cast<double>(mix(mix(params_.seed + kGolden) + draws_ * kGolden) >> 11) * 0x1p-53;
}

int32_t Sampler::sample(std::span<const float> logits) {
  adjust(logits);
  int32_t token = 0;
  if (params_.temperature == 0 || params_.top_k == 1) {
    token =
        std::max_element(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
          return a.value < b.value;
        })->id;
  } else {
    keep_top(params_.top_k > 0 ? std::min(static_cast<size_t>(params_.top_k), candidates_.size())
                               : candidates_.size());
    const float top = candidates_.front().value;
    double sum = 0;
    for (Candidate& c : candidates_) {
      // An infinite top (a bias, a broken weight) leaves only its equals.
      c.value = c.value == top ? 1.0F : std::exp((c.value - top) / params_.temperature);
      sum += c.value;
    }
    size_t kept = 0;
    double mass = 0;
    while (kept < candidates_.size()) {
      const Candidate& c = candidates_[kept];
      if (kept > 0 && (mass >= params_.top_p * sum || c.value < params_.min_p)) break;
      mass += c.value;
      ++kept;
    }
    double rest = uniform() * mass;
    size_t chosen = 0;
    while (chosen + 1 < kept && (rest -= candidates_[chosen].value) >= 0) ++chosen;
    token = candidates_[chosen].id;
  }
  ++draws_;
  count(token, /*generated=*/true);
  return token;
}

}  // namespace facet
