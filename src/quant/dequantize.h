// The definition of every stored encoding: codes to f32.
#pragma once

#include <cstdint>

#include "tensor/matrix_view.h"

namespace facet {

/// Writes row `row` of `m` as f32 into `out` [cols]. Exact: the value the encoding stands for, rounded
/// once to f32. `row` must be in range.
void dequantize_row(const MatrixView& m, int64_t row, float* out) noexcept;

}  // namespace facet
