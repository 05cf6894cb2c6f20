// Norms, activations, softmax, rope and quantisation of activations, over an instruction set S.
#pragma once

#include "backend/cpu/kernels.h"

namespace facet::cpu {

/// e^x to about 2 ulp for x ≥ −87; 0 … 2⁻¹²⁵ below, so −∞ gives next to nothing and never a NaN.
/// Cody-Waite reduction to |r| ≤ ln 2 / 2, then the degree-6 Taylor-like minimax polynomial of Cephes' expf.
template <class S>
typename S::F exp(typename S::F x) {
  x = S::min(S::max(x, S::set1(-87.0F)), S::set1(88.0F));
  const auto n = S::round(S::mul(x, S::set1(1.44269504F)));
  auto r = S::fma(n, S::set1(-0.693359375F), x);
  r = S::fma(n, S::set1(2.12194440e-4F), r);
  auto p = S::set1(1.9875691500e-4F);
  p = S::fma(p, r, S::set1(1.3981999507e-3F));
  p = S::fma(p, r, S::set1(8.3334519073e-3F));
  p = S::fma(p, r, S::set1(4.1665795894e-2F));
  p = S::fma(p, r, S::set1(1.6666665459e-1F));
  p = S::fma(p, r, S::set1(5.0000001201e-1F));
  p = S::fma(p, S::mul(r, r), S::add(r, S::set1(1.0F)));
  return S::mul(p, S::pow2(n));
}

/// Runs `body(F in) -> F` over n floats; the tail goes through a padded copy, so that a value's result does
/// not depend on where in the row it stands.
template <class S, class Body>
void map(const float* in, float* out, int64_t n, Body body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) S::store(out + i, body(S::load(in + i), i));
  if (i == n) return;
  float padded[kLanes] = {};
  for (int64_t j = i; j < n; ++j) padded[j - i] = in[j];
  float result[kLanes];
  S::store(result, body(S::load(padded), i));
  for (int64_t j = i; j < n; ++j) out[j] = result[j - i];
}

/// Sixteen floats at p + i, zeros from n on.
template <class S>
typename S::F load_up_to(const float* p, int64_t i, int64_t n) {
  if (i + kLanes <= n) return S::load(p + i);
  float padded[kLanes] = {};
  for (int64_t j = i; j < n; ++j) padded[j - i] = p[j];
  return S::load(padded);
}

/// mean(x²)
template <class S>
float mean_square(const float* x, int64_t width) {
  auto s0 = S::zero();
  auto s1 = S::zero();
  auto s2 = S::zero();
  auto s3 = S::zero();
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
    const auto x0 = S::load(x + i);
    const auto x1 = S::load(x + i + kLanes);
    const auto x2 = S::load(x + i + 2 * kLanes);
    const auto x3 = S::load(x + i + 3 * kLanes);
    s0 = S::fma(x0, x0, s0);
    s1 = S::fma(x1, x1, s1);
    s2 = S::fma(x2, x2, s2);
    s3 = S::fma(x3, x3, s3);
  }
  for (; i < width; i += kLanes) {
    const auto xi = load_up_to<S>(x, i, width);
    s0 = S::fma(xi, xi, s0);
  }
  return S::reduce_add(S::add(S::add(s0, s1), S::add(s2, s3))) / static_cast<float>(width);
}

/// 1 / √(mean(x²) + eps)
template <class S>
float inverse_rms(const float* x, int64_t width, float eps) {
  return 1.0F / __builtin_sqrtf(mean_square<S>(x, width) + eps);
}

template <class S>
void rms_norm_row(const float* x, int64_t width, const float* weight, float eps, float* out) {
  const auto inverse = S::set1(inverse_rms<S>(x, width, eps));
  if (weight == nullptr) {
    map<S>(x, out, width, [&](auto v, int64_t) { return S::mul(v, inverse); });
  } else {
    map<S>(x, out, width,
           [&](auto v, int64_t i) { return S::mul(S::mul(v, inverse), load_up_to<S>(weight, i, width)); });
  }
}

template <class S>
void rms_norm_add_row(const float* y, int64_t width, const float* weight, float eps, float scale, float* x) {
  const auto inverse = S::set1(inverse_rms<S>(y, width, eps));
  const auto factor = S::set1(scale);
  map<S>(y, x, width, [&](auto v, int64_t i) {
    const auto normed = S::mul(S::mul(v, inverse), load_up_to<S>(weight, i, width));
    return S::mul(S::add(load_up_to<S>(x, i, width), normed), factor);
  });
}

/// gate = gelu(gate) · up with gelu's tanh approximation: 0.5 x (1 + tanh u) = x / (1 + e^−2u),
/// u = √(2/π) (x + 0.044715 x³).
template <class S>
void gelu_mul(float* gate, const float* up, int64_t n) {
  map<S>(gate, gate, n, [&](auto x, int64_t i) {
    const auto cubic = S::fma(S::mul(S::mul(x, x), S::set1(0.044715F)), x, x);
    const auto e = exp<S>(S::mul(cubic, S::set1(-2 * 0.7978845608028654F)));
    return S::mul(S::div(x, S::add(S::set1(1.0F), e)), load_up_to<S>(up, i, n));
  });
}

template <class S>
void add_scale(float* x, const float* y, float factor, int64_t n) {
  const auto f = S::set1(factor);
  map<S>(x, x, n, [&](auto v, int64_t i) { return S::mul(S::add(v, load_up_to<S>(y, i, n)), f); });
}

template <class S>
void scale_to(const float* x, float factor, int64_t n, float* out) {
  const auto f = S::set1(factor);
  map<S>(x, out, n, [&](auto v, int64_t) { return S::mul(v, f); });
}

template <class S>
void scale(float* x, float factor, int64_t n) {
  scale_to<S>(x, factor, n, x);
}

template <class S>
void mul(float* x, const float* weight, int64_t n) {
  map<S>(x, x, n, [&](auto v, int64_t i) { return S::mul(v, load_up_to<S>(weight, i, n)); });
}

template <class S>
float row_max(const float* x, int64_t n) {
  auto top = S::set1(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) top = S::max(top, S::load(x + i));
  float m = S::reduce_max(top);
  for (; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

template <class S>
void softmax_row(float* x, int64_t n) {
  const auto top = S::set1(row_max<S>(x, n));
  auto sum = S::zero();
  map<S>(x, x, n, [&](auto v, int64_t i) {
    const int live = n - i >= kLanes ? kLanes : static_cast<int>(n - i);
    const auto e = S::first_lanes(exp<S>(S::sub(v, top)), S::zero(), live);
    sum = S::add(sum, e);
    return e;
  });
  const auto total = S::set1(S::reduce_add(sum));
  map<S>(x, x, n, [&](auto v, int64_t) { return S::div(v, total); });
}

/// x = cap · tanh(x / cap), tanh u = 1 − 2 / (1 + e^2u).
template <class S>
void softcap(float* x, float cap, int64_t n) {
  const auto twice = S::set1(2.0F / cap);
  const auto c = S::set1(cap);
  map<S>(x, x, n, [&](auto v, int64_t) {
    const auto e = exp<S>(S::mul(v, twice));
    return S::sub(c, S::div(S::add(c, c), S::add(S::set1(1.0F), e)));
  });
}

template <class S>
void rope_row(float* x, int heads, int half, const float* cosines, const float* sines) {
  for (int h = 0; h < heads; ++h) {
    float* low = x + int64_t{h} * 2 * half;
    float* high = low + half;
    int i = 0;
    for (; i + kLanes <= half; i += kLanes) {
      const auto a = S::load(low + i);
      const auto b = S::load(high + i);
      const auto c = S::load(cosines + i);
      const auto s = S::load(sines + i);
      S::store(low + i, S::sub(S::mul(a, c), S::mul(b, s)));
      S::store(high + i, S::add(S::mul(b, c), S::mul(a, s)));
    }
    for (; i < half; ++i) {
      const float a = low[i];
      const float b = high[i];
      low[i] = a * cosines[i] - b * sines[i];
      high[i] = b * cosines[i] + a * sines[i];
    }
  }
}

/// Outliers set the scale of the 8-bit codes of everything in their group, and the MLP's gated activations
/// have many: so they are multiplied in f32 instead, as in LLM.int8() (Dettmers et al. 2022). Beyond 4 times
/// the root mean square there can be at most one column in 16: their squares add up to no more than all do.
template <class S>
float outlier_limit(const float* x, int64_t cols) {
  static_assert(kOutlierShare == 4 * 4);
  constexpr float kSmallest = 1e-30F;  // below, squares of values near the limit vanish
  const float mean = mean_square<S>(x, cols);
  return mean > kSmallest ? 4 * __builtin_sqrtf(mean) : __builtin_inff();
}

template <class S>
int32_t list_outliers(const float* x, int64_t cols, float limit, int32_t most, Outlier* outliers) {
  int32_t count = 0;
  for (int64_t i = 0; i < cols; i += kLanes) {
    for (uint32_t lanes = S::lanes_above(load_up_to<S>(x, i, cols), limit); lanes != 0 && count < most;
         lanes &= lanes - 1) {
      const int64_t column = i + __builtin_ctz(lanes);
      outliers[count++] = {static_cast<int32_t>(column), x[column]};
    }
  }
  return count;
}

template <class S>
void quantize_row(const float* x, int64_t cols, int64_t padded, int group, float outlier, int8_t* codes,
                  float* scales, float* sums) {
  for (int64_t begin = 0, g = 0; begin < padded; begin += group, ++g) {
    auto top = S::zero();
    for (int64_t i = begin; i < begin + group; i += kLanes)
      top = S::max(top, S::abs(S::zero_above(load_up_to<S>(x, i, cols), outlier)));
    const float largest = S::reduce_max(top);
    const auto inverse = S::set1(largest > 0 ? 127.0F / largest : 0.0F);
    const auto limit = S::set1(127.0F);
    auto sum = S::zero();
    for (int64_t i = begin; i < begin + group; i += kLanes) {
      auto q = S::round(S::mul(S::zero_above(load_up_to<S>(x, i, cols), outlier), inverse));
      q = S::max(S::min(q, limit), S::sub(S::zero(), limit));
      S::store_i8(codes + i, q);
      sum = S::add(sum, q);  // integers below 2²⁴: exact
    }
    scales[g] = largest / 127.0F;
    sums[g] = scales[g] * S::reduce_add(sum);
  }
}

}  // namespace facet::cpu
