#include "engine/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
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
  for (auto* maxima : {&maxima_, &ranked_}) maxima->reserve(static_cast<size_t>(vocab_size) / kBlock);
  if (adjusts()) adjusted_.reserve(static_cast<size_t>(vocab_size));
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

/// The logits after penalties and bias.
std::span<const float> Sampler::adjust(std::span<const float> logits) {
  adjusted_.assign(logits.begin(), logits.end());
  for (const int32_t id : seen_ids_) {
    const Seen& seen = seen_[static_cast<size_t>(id)];
    float& logit = adjusted_[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
    if (seen.generated > 0)
      logit -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(seen.generated);
  }
  for (const auto& [id, bias] : params_.logit_bias) adjusted_[static_cast<size_t>(id)] += bias;
  return adjusted_;
}

void Sampler::take_all(std::span<const float> logits) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = {logits[i], static_cast<int32_t>(i)};
}

/// Also what a mask has ruled out.
void Sampler::drop_impossible() {
  std::erase_if(candidates_,
                [](const Candidate& c) { return !(c.logit > -std::numeric_limits<float>::infinity()); });
  if (candidates_.empty())
    throw Error(ErrorCode::kFailed, "the model's logits are all NaN: the weights or the backend are broken");
}

/// A logit that at least `count` of `logits` reach: that many blocks have one. Two plain passes then leave
/// little to select from. maxima_ are the blocks' afterwards.
float Sampler::reached_by(size_t count, std::span<const float> logits) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const size_t blocks = logits.size() / kBlock;
  if (blocks < 2 * count) return kNone;
  maxima_.resize(blocks);
  for (size_t b = 0; b < blocks; ++b) {
    // In lanes, which become one register; what is no number is smaller than any.
    constexpr size_t kLanes = 4;
    std::array<float, kLanes> most = {kNone, kNone, kNone, kNone};
    for (size_t i = 0; i < kBlock; i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane)
        most[lane] = std::max(most[lane], logits[b * kBlock + i + lane]);
    maxima_[b] = std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
  }
  ranked_ = maxima_;
  const auto nth = ranked_.begin() + static_cast<std::ptrdiff_t>(count - 1);
  std::nth_element(ranked_.begin(), nth, ranked_.end(), std::greater<>());
  return *nth;
}

/// Takes the `count` likeliest as candidates, and those that equal the last of a block, without a look at the
/// blocks that have none. False when the vocabulary is too small for that to pay.
bool Sampler::take_likeliest(std::span<const float> logits, size_t count) {
  const float least = reached_by(count, logits);
  if (!(least > -std::numeric_limits<float>::infinity())) return false;
  candidates_.clear();
  const auto take = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      if (logits[i] >= least) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  };
  for (size_t b = 0; b < maxima_.size(); ++b)
    if (maxima_[b] >= least) take(b * kBlock, (b + 1) * kBlock);
  take(maxima_.size() * kBlock, logits.size());
  return true;
}

/// Leaves the `count` likeliest candidates, in any order.
void Sampler::keep_top(size_t count) {
  if (count >= candidates_.size()) return;
  std::nth_element(candidates_.begin(), at(count - 1), candidates_.end(), likelier);
  candidates_.resize(count);
}

/// Brings the likeliest candidates to the front in order, `index` among them. Far more than a vocabulary's
/// head is rarely asked for, so the front grows by selection instead of sorting everything.
void Sampler::sort_through(size_t index) {
  constexpr size_t kFirst = 256;
  while (sorted_ <= index) {
    const size_t end = std::min(std::max(kFirst, sorted_ * 8), candidates_.size());
    if (end < candidates_.size()) std::nth_element(at(sorted_), at(end - 1), candidates_.end(), likelier);
    std::sort(at(sorted_), at(end), likelier);
    sorted_ = end;
  }
}

double Sampler::uniform() const noexcept {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15U;
  return static_cast<double>(mix(mix(params_.seed + kGolden) + draws_ * kGolden) >> 11) * 0x1p-53;
}

int32_t Sampler::likeliest() const {
  return std::min_element(candidates_.begin(), candidates_.end(), likelier)->id;
}

int32_t Sampler::draw() {
  if (params_.top_k > 0) keep_top(static_cast<size_t>(params_.top_k));
  sorted_ = 0;
  sort_through(0);
  const float top = candidates_.front().logit;
  // Relative to the likeliest. An infinite top (a bias, a broken weight) leaves only its equals.
  const auto odds = [&](const Candidate& c) {
    return c.logit == top ? 1.0F : std::exp((c.logit - top) / params_.temperature);
  };
  double mass = 0;
  size_t kept = 0;
  for (const Candidate& c : candidates_) {
    const float p = odds(c);
    if (params_.top_p < 1 || p >= params_.min_p) {
      mass += p;
      ++kept;
    }
  }
  if (params_.top_p < 1) {
    const double enough = params_.top_p * mass;
    mass = 0;
    for (kept = 0; kept < candidates_.size(); ++kept) {
      sort_through(kept);
      const float p = odds(candidates_[kept]);
      if (kept > 0 && (mass >= enough || p < params_.min_p)) break;
      mass += p;
    }
  }
  double rest = uniform() * mass;
  for (size_t chosen = 0;; ++chosen) {
    sort_through(chosen);
    rest -= odds(candidates_[chosen]);
    if (rest < 0 || chosen + 1 == kept) return candidates_[chosen].id;
  }
}

bool Sampler::adjusts() const noexcept {
  return params_.repeat_penalty != 1 || params_.frequency_penalty != 0 || params_.presence_penalty != 0 ||
         !params_.logit_bias.empty();
}

int Sampler::deciding() const noexcept {
  return params_.temperature == 0 ? 1 : params_.top_k;
}

int Sampler::enough() const noexcept {
  return adjusts() ? 0 : deciding();
}

int32_t Sampler::sample(std::span<const float> logits) {
  if (adjusts()) logits = adjust(logits);
  const auto count = static_cast<size_t>(deciding());
  if (count == 0 || !take_likeliest(logits, count)) take_all(logits);
  return pick();
}

int32_t Sampler::sample(std::span<const TokenLogit> likeliest) {
  candidates_.assign(likeliest.begin(), likeliest.end());
  std::erase_if(candidates_, [](const Candidate& c) { return c.id < 0; });
  return pick();
}

int32_t Sampler::pick() {
  drop_impossible();
  const int32_t token = params_.temperature == 0 || params_.top_k == 1 ? likeliest() : draw();
  ++draws_;
  count(token, /*generated=*/true);
  return token;
}

}  // namespace facet
