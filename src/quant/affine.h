// MLX's affine encoding, the other way of dequantize_row: f32 to codes, scales and biases.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace facet {

/// How a group's scale and bias are chosen.
enum class AffineMethod : uint8_t {
  /// From the group's least and greatest element, so that zero is a code's value: MLX's rule.
  kNearest,
  /// The pair that least squares and a search over clipped ranges find; never worse than kNearest by the
  /// error that it minimises.
  kSearch,
};

struct AffineEncoding {
  int bits = 4;         ///< 4 or 8
  int group_size = 64;  ///< elements of a row that share a scale and a bias
  AffineMethod method = AffineMethod::kNearest;
};

/// What is known of the inputs x that a matrix will be multiplied with. Empty: nothing.
struct InputWeights {
  /// The search minimises Σ energy[i] · (row[i] − decoded[i])²: the mean of x[i]², or with `carry` what is
  /// left of it. [cols]
  std::span<const float> energy;
  /// Unit upper triangular: what the error of column i is worth in column j > i, so that later columns make
  /// up for earlier ones (error_carry.h). [cols, cols]
  std::span<const float> carry;
};

/// Where a row goes. Scales and biases are bf16, one each a group.
struct AffineRow {
  std::span<std::byte> codes;  // [cols · bits / 8], low nibble first
  std::span<uint16_t> scales;  // [cols / group_size]
  std::span<uint16_t> biases;  // [cols / group_size]
};

/// Encodes `row` [cols], finite and cols a multiple of the group size. Codes are the nearest to what scale
/// and bias stand for as stored, after rounding to bf16. `carried` [cols] is scratch, needed with
/// inputs.carry alone; kNearest knows no inputs.
void encode_affine_row(std::span<const float> row, const AffineEncoding& encoding, const InputWeights& inputs,
                       std::span<float> carried, const AffineRow& out) noexcept;

}  // namespace facet
