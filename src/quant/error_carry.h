// How rounding errors of one column are best made up for in the next ones.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace facet {

struct ErrorCarry {
  std::vector<float> energy;  // [n]
  std::vector<float> carry;   // [n, n]
};

/// For a row w rounded to q, the expected squared error of its product with inputs x is eᵀ H e with e = w − q
/// and H = E[x xᵀ]. With H = R D Rᵀ, R unit upper triangular, it is Σ_j D_j (e_j + Σ_{i<j} R_ij e_i)²: when
/// columns are rounded in order, column j should aim at w_j + Σ_{i<j} R_ij e_i, and D_j weighs what remains.
/// This is Babai's nearest-plane rounding, which GPTQ (arXiv 2210.17323) computes, too.
///
/// `moments`: H, [n, n], the part on and above the diagonal; `damping` times its mean diagonal is added to
/// the diagonal. Returns D and R. Nothing (empty) when H is zero or not finite. O(n³) time, n² doubles.
[[nodiscard]] ErrorCarry error_carry(std::span<const float> moments, size_t n, double damping,
                                     ThreadPool& pool);

}  // namespace facet
