#include "formats/weight_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/dequantize.h"

namespace facet {

int64_t WeightRows::rows_a_piece(const MatrixView& view) noexcept {
  constexpr int64_t kElements = int64_t{1} << 20;
  return std::clamp<int64_t>(kElements / std::max<int64_t>(view.cols, 1), 1, std::max<int64_t>(view.rows, 1));
}

void WeightRows::decode(const MatrixView& view, int64_t row, float* out) noexcept {
  dequantize_row(view, row, out);
}

bool WeightRows::within(std::span<const float> values, float limit) noexcept {
  return std::ranges::all_of(values, [&](float x) { return std::abs(x) <= limit; });  // false for NaN
}

void WeightRows::refuse(std::string_view name, const MatrixView& view, int64_t row, float limit) {
  std::vector<float> values(static_cast<size_t>(view.cols));
  dequantize_row(view, row, values.data());
  const auto bad = std::ranges::find_if(values, [&](float x) { return !(std::abs(x) <= limit); });
  throw bad_input(fmt::format("tensor {}: expected numbers of at most {:g}, got {:g} at [{}, {}]", name,
                              limit, *bad, row, bad - values.begin()));
}

}  // namespace facet
