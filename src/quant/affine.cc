#include "quant/affine.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tensor/dtype.h"

namespace facet {
namespace {

constexpr size_t kMaxGroup = 128;
constexpr size_t kLanes = 8;  // independent sums: group sizes are multiples of it

/// As stored: both are values of bf16.
struct Grid {
  float scale = 0;
  float bias = 0;
};

float rounded_to_bf16(float x) noexcept {
  return bf16_to_f32(f32_to_bf16(x));
}

Grid stored(float scale, float bias) noexcept {
  return {rounded_to_bf16(scale), rounded_to_bf16(bias)};
}

/// To nearest, ties to even, for 0 ≤ x < 2²²: adding 1.5 · 2²³ leaves no bits for a fraction. Unlike
/// std::nearbyint this becomes one vector instruction on every machine.
float rounded(float x) noexcept {
  constexpr float kShift = 12582912.0F;
  return (x + kShift) - kShift;
}

/// The code of each element: the nearest that the grid has. A scale of 0 gives code 0.
void nearest_codes(std::span<const float> group, const Grid& grid, float top, float* codes) noexcept {
  const float inverse = grid.scale == 0 ? 0 : 1 / grid.scale;
  for (size_t i = 0; i < group.size(); ++i) {
    const float x = (group[i] - grid.bias) * inverse;
    codes[i] = rounded(std::min(std::max(x, 0.0F), top));
  }
}

/// Σ term(i) for i < n, in lanes that the compiler turns into vectors.
template <class Term>
float lane_sum(size_t n, Term term) noexcept {
  std::array<float, kLanes> sums{};
  for (size_t i = 0; i < n; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += term(i + lane);
  for (size_t half = kLanes / 2; half > 0; half /= 2)
    for (size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  return sums[0];
}

float weighted_error(std::span<const float> group, const float* energy, const Grid& grid,
                     const float* codes) noexcept {
  return lane_sum(group.size(), [&](size_t i) {
    const float d = group[i] - (grid.scale * codes[i] + grid.bias);
    return energy[i] * d * d;
  });
}

/// MLX: the end of the larger magnitude is the bias and zero a whole number of steps from it.
Grid nearest_grid(std::span<const float> group, float top) noexcept {
  const auto [least, greatest] = std::ranges::minmax_element(group);
  constexpr float kTiny = 1e-7F;
  float scale = std::max((*greatest - *least) / top, kTiny);
  const bool from_least = std::abs(*least) > std::abs(*greatest);
  const float edge = from_least ? *least : *greatest;
  if (!from_least) scale = -scale;
  const float steps = std::nearbyint(edge / scale);
  if (steps == 0) return stored(scale, 0);
  return stored(edge / steps, edge);
}

/// The grid of least weighted error for these codes: linear regression. False when the codes do not fix one.
bool fitted_grid(std::span<const float> group, const float* energy, const float* codes, Grid& grid) noexcept {
  const size_t n = group.size();
  const float w = lane_sum(n, [&](size_t i) { return energy[i]; });
  if (w <= 0) return false;
  const float mean_q = lane_sum(n, [&](size_t i) { return energy[i] * codes[i]; }) / w;
  const float mean_x = lane_sum(n, [&](size_t i) { return energy[i] * group[i]; }) / w;
  const float qq = lane_sum(n, [&](size_t i) {
    const float d = codes[i] - mean_q;
    return energy[i] * d * d;
  });
  const float qx =
      lane_sum(n, [&](size_t i) { return energy[i] * (codes[i] - mean_q) * (group[i] - mean_x); });
  if (qq <= 0) return false;
  const float scale = rounded_to_bf16(qx / qq);
  if (scale == 0 || !std::isfinite(scale)) return false;
  grid = {scale, rounded_to_bf16(mean_x - scale * mean_q)};
  return true;
}

struct Best {
  size_t size = 0;  ///< of the group
  Grid grid;
  float error = std::numeric_limits<float>::infinity();
  std::array<float, kMaxGroup> codes;
};

void keep_if_better(std::span<const float> group, const float* energy, const Grid& grid, float top,
                    float* codes, Best& best) noexcept {
  nearest_codes(group, grid, top, codes);
  const float error = weighted_error(group, energy, grid, codes);
  if (!(error < best.error)) return;
  best.grid = grid;
  best.error = error;
  std::copy_n(codes, group.size(), best.codes.begin());
}

/// Clips the range at either end, then alternates between the best codes for a grid and the best grid for
/// the codes.
void search(std::span<const float> group, const float* energy, float top, Best& best) noexcept {
  constexpr std::array kKept = {1.0F, 0.92F, 0.84F, 0.76F, 0.68F};  // of the way from the middle to an end
  constexpr int kFits = 3;
  const auto [least, greatest] = std::ranges::minmax_element(group);
  const float middle = (*least + *greatest) / 2;
  std::array<float, kMaxGroup> codes;
  for (const float below : kKept) {
    for (const float above : kKept) {
      const float low = middle + below * (*least - middle);
      const float high = middle + above * (*greatest - middle);
      Grid grid = stored((high - low) / top, low);
      if (grid.scale == 0) return;  // all elements equal: the bias alone is exact
      keep_if_better(group, energy, grid, top, codes.data(), best);
      for (int fit = 0; fit < kFits && fitted_grid(group, energy, codes.data(), grid); ++fit)
        keep_if_better(group, energy, grid, top, codes.data(), best);
    }
  }
}

void encode_group(std::span<const float> group, const float* energy, const AffineEncoding& encoding,
                  Best& best) noexcept {
  const auto top = static_cast<float>((1 << encoding.bits) - 1);
  best.grid = nearest_grid(group, top);
  nearest_codes(group, best.grid, top, best.codes.data());
  best.error = weighted_error(group, energy, best.grid, best.codes.data());
  if (encoding.method == AffineMethod::kSearch) search(group, energy, top, best);
}

/// Codes one column after the other: each error adds to what the columns after it are to make up for.
void carry_errors(std::span<const float> row, size_t begin, float top, std::span<const float> carry,
                  std::span<float> carried, Best& best) noexcept {
  const size_t cols = row.size();
  const size_t end = begin + best.size;
  for (size_t i = begin; i < end; ++i) {
    const float target = row[i] + carried[i];
    nearest_codes({&target, 1}, best.grid, top, &best.codes[i - begin]);
    const float error = row[i] - (best.grid.scale * best.codes[i - begin] + best.grid.bias);
    const float* worth = carry.data() + i * cols;
    for (size_t j = i + 1; j < cols; ++j) carried[j] += error * worth[j];
  }
}

void pack(const Best& best, int bits, std::byte* bytes) noexcept {
  const auto code = [&](size_t i) { return static_cast<unsigned>(best.codes[i]); };
  if (bits == 8) {
    for (size_t i = 0; i < best.size; ++i) bytes[i] = static_cast<std::byte>(code(i));
  } else {
    for (size_t i = 0; i < best.size; i += 2)
      bytes[i / 2] = static_cast<std::byte>(code(i) | code(i + 1) << 4);
  }
}

constexpr auto kEqual = [] {
  std::array<float, kMaxGroup> ones{};
  ones.fill(1);
  return ones;
}();

}  // namespace

void encode_affine_row(std::span<const float> row, const AffineEncoding& encoding, const InputWeights& inputs,
                       std::span<float> carried, const AffineRow& out) noexcept {
  const auto size = static_cast<size_t>(encoding.group_size);
  const auto top = static_cast<float>((1 << encoding.bits) - 1);
  const bool search = encoding.method == AffineMethod::kSearch;
  const bool carries = search && !inputs.carry.empty();
  if (carries) std::ranges::fill(carried, 0.0F);
  Best best;
  best.size = size;
  std::array<float, kMaxGroup> group;
  for (size_t g = 0; g < row.size() / size; ++g) {
    const size_t begin = g * size;
    for (size_t i = 0; i < size; ++i) group[i] = row[begin + i] + (carries ? carried[begin + i] : 0);
    const float* energy = search && !inputs.energy.empty() ? inputs.energy.data() + begin : kEqual.data();
    encode_group({group.data(), size}, energy, encoding, best);
    if (carries) carry_errors(row, begin, top, inputs.carry, carried, best);
    out.scales[g] = f32_to_bf16(best.grid.scale);
    out.biases[g] = f32_to_bf16(best.grid.bias);
    pack(best, encoding.bits, out.codes.data() + begin * static_cast<size_t>(encoding.bits) / 8);
  }
}

}  // namespace facet
