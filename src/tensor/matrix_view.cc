#include "tensor/matrix_view.h"

#include <array>

namespace facet {
namespace {

struct EncodingInfo {
  std::string_view name;
  int block;
  int block_bytes;
};

// In the order of the enumeration.
constexpr std::array kEncodings = {
    EncodingInfo{"f32", 1, 4},      EncodingInfo{"f16", 1, 2},        EncodingInfo{"bf16", 1, 2},
    EncodingInfo{"affine4", 2, 1},  EncodingInfo{"affine8", 1, 1},    EncodingInfo{"q4_0", 32, 18},
    EncodingInfo{"q4_1", 32, 20},   EncodingInfo{"q5_0", 32, 22},     EncodingInfo{"q5_1", 32, 24},
    EncodingInfo{"q8_0", 32, 34},   EncodingInfo{"q2_k", 256, 84},    EncodingInfo{"q3_k", 256, 110},
    EncodingInfo{"q4_k", 256, 144}, EncodingInfo{"q5_k", 256, 176},   EncodingInfo{"q6_k", 256, 210},
    EncodingInfo{"iq4_nl", 32, 18}, EncodingInfo{"iq4_xs", 256, 136},
};

const EncodingInfo& info(Encoding e) noexcept {
  return kEncodings[static_cast<size_t>(e)];
}

}  // namespace

std::string_view encoding_name(Encoding e) noexcept {
  return info(e).name;
}
int encoding_block(Encoding e) noexcept {
  return info(e).block;
}
int encoding_block_bytes(Encoding e) noexcept {
  return info(e).block_bytes;
}

int64_t MatrixView::row_bytes() const noexcept {
  return cols / encoding_block(encoding) * encoding_block_bytes(encoding);
}

int64_t MatrixView::bytes() const noexcept {
  const int64_t codes = rows * row_bytes();
  if (!is_affine()) return codes;
  return codes + 2 * rows * (cols / group_size) * static_cast<int64_t>(dtype_size(scale_dtype));
}

MatrixView MatrixView::row_slice(int64_t begin, int64_t count) const noexcept {
  MatrixView slice = *this;
  slice.rows = count;
  slice.data += begin * row_bytes();
  if (is_affine()) {
    const int64_t offset = begin * (cols / group_size) * static_cast<int64_t>(dtype_size(scale_dtype));
    slice.scales += offset;
    slice.biases += offset;
  }
  return slice;
}

}  // namespace facet
