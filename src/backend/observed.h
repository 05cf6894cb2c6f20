// A backend that shows what every matrix is multiplied with.
#pragma once

#include <functional>
#include <memory>

#include "backend/backend.h"

namespace facet {

/// Sees the inputs x [rows, stored.cols] (backend memory) of a product with the matrix loaded from `stored`,
/// before it is computed. Must not throw.
using ProductObserver = std::function<void(const MatrixView& stored, const float* x, int rows)>;

/// Wraps `backend`: its primitives, with every fused operation composed of them, so that no product hides
/// inside one. Experts' products are one primitive and stay hidden.
[[nodiscard]] std::unique_ptr<Backend> make_observed(std::unique_ptr<Backend> backend,
                                                     ProductObserver observer);

}  // namespace facet
