// GGUF's block formats as groups of w = scale · code + bias: what the quantised tiles hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "backend/cpu/kernels.h"
#include "tensor/matrix_view.h"

namespace facet::cpu {

/// The tile that an encoding's blocks go to without loss.
struct GroupForm {
  TileKind kind;         ///< kQ4 or kQ8
  ScaleKind scale_kind;  ///< kF16 where the block's own scale is the group's, kF32 where it is a product
  int group;             ///< elements that share a scale
};

/// Nothing for encodings that are not groups of evenly spaced values, and for those too rare to be worth a
/// tile.
[[nodiscard]] std::optional<GroupForm> group_form(Encoding encoding) noexcept;

constexpr int kMostBlock = 256;  ///< elements of the longest block
constexpr int kMostGroups = 16;  ///< groups of a block

/// Splits one block into codes [elements], and a scale and a bias [groups]. A block whose scale is not finite
/// gets codes of 0.
void split_block(Encoding encoding, const std::byte* block, uint8_t* codes, float* scales,
                 float* biases) noexcept;

}  // namespace facet::cpu
