// A weight matrix as a checkpoint stores it: a view into a mapping, never a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tensor/dtype.h"

namespace facet {

/// How the elements of a row are stored. Row-major always; a row is `row_bytes()` long.
enum class Encoding : uint8_t {
  kF32,
  kF16,
  kBF16,
  kAffine4,  ///< MLX: codes 0..15, low nibble first; w = scale·q + bias for each group of a row
  kAffine8,  ///< MLX: codes 0..255
  // GGUF block formats, by ggml's names; scales live inside the blocks.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
};

[[nodiscard]] std::string_view encoding_name(Encoding e) noexcept;

/// Elements a block (1 for the plain floats; 2 and 1 codes share bytes in the affine ones).
[[nodiscard]] int encoding_block(Encoding e) noexcept;
/// Bytes a block.
[[nodiscard]] int encoding_block_bytes(Encoding e) noexcept;

/// A matrix [rows, cols] (a linear layer's [out, in], or a table [vocabulary, width]).
struct MatrixView {
  Encoding encoding = Encoding::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;  // [rows] rows of row_bytes()
  // Affine encodings only.
  const std::byte* scales = nullptr;  // [rows, cols / group_size] of scale_dtype
  const std::byte* biases = nullptr;  // [rows, cols / group_size] of scale_dtype
  DType scale_dtype = DType::kBF16;
  int group_size = 0;

  [[nodiscard]] bool empty() const noexcept { return data == nullptr; }
  [[nodiscard]] bool is_affine() const noexcept {
    return encoding == Encoding::kAffine4 || encoding == Encoding::kAffine8;
  }
  /// Bytes of one row's codes (scales and biases not counted).
  [[nodiscard]] int64_t row_bytes() const noexcept;
  /// Bytes of the whole matrix, scales and biases included.
  [[nodiscard]] int64_t bytes() const noexcept;
  /// Rows [begin, begin + count) as a view of their own.
  [[nodiscard]] MatrixView row_slice(int64_t begin, int64_t count) const noexcept;
};

}  // namespace facet
