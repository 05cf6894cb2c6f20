#include "quant/error_carry.h"

#include <array>
#include <cmath>

namespace facet {
namespace {

double dot(const double* a, const double* b, size_t n) noexcept {
  constexpr size_t kLanes = 8;
  std::array<double, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  double tail = 0;
  for (; i < n; ++i) tail += a[i] * b[i];
  for (const double sum : sums) tail += sum;
  return tail;
}

}  // namespace

ErrorCarry error_carry(std::span<const float> moments, size_t n, double damping, ThreadPool& pool) {
  double trace = 0;
  for (size_t i = 0; i < n; ++i) trace += static_cast<double>(moments[i * n + i]);
  if (!(trace > 0) || !std::isfinite(trace)) return {};
  std::vector<double> factor(moments.begin(), moments.end());  // becomes G with H = G Gᵀ, upper triangular
  const double added = damping * trace / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) factor[i * n + i] += added;

  // A Cholesky factorisation from the last column to the first: both operands of each product are the tails
  // of rows, which lie together.
  for (size_t j = n; j-- > 0;) {
    double* row_j = factor.data() + j * n;
    const size_t tail = n - j - 1;
    const double pivot = row_j[j] - dot(row_j + j + 1, row_j + j + 1, tail);
    if (!(pivot > 0)) return {};  // damping keeps H positive; rounding beyond that means numbers out of range
    row_j[j] = std::sqrt(pivot);
    const auto column = [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        double* row_i = factor.data() + i * n;
        row_i[j] = (row_i[j] - dot(row_i + j + 1, row_j + j + 1, tail)) / row_j[j];
      }
    };
    constexpr size_t kWorthThreads = 1 << 15;  // multiplications
    if (j * tail < kWorthThreads) {
      column(0, static_cast<int64_t>(j));
      continue;
    }
    pool.run([&](int thread) noexcept {
      const StaticRange part = static_range(static_cast<int64_t>(j), thread, pool.team());
      column(part.begin, part.end);
    });
  }

  ErrorCarry result;
  result.energy.resize(n);
  result.carry.resize(n * n);
  for (size_t j = 0; j < n; ++j) {
    const double g = factor[j * n + j];
    result.energy[j] = static_cast<float>(g * g);
  }
  for (size_t i = 0; i < n; ++i)
    for (size_t j = i; j < n; ++j)
      result.carry[i * n + j] = static_cast<float>(factor[i * n + j] / factor[j * n + j]);
  return result;
}

}  // namespace facet
