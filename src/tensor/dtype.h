// Element types as checkpoints store them, and the 16-bit floats' conversions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace facet {

enum class DType : uint8_t { kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU64, kU32, kU16, kU8, kBool, kF64 };

/// Bytes an element.
[[nodiscard]] constexpr size_t dtype_size(DType t) noexcept {
  switch (t) {
    case DType::kF64:
    case DType::kI64:
    case DType::kU64: return 8;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32: return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
    case DType::kU16: return 2;
    default: return 1;
  }
}

/// The name that people read: "f32", "bf16", ….
[[nodiscard]] std::string_view dtype_name(DType t) noexcept;

/// bfloat16 → float: exact.
[[nodiscard]] inline float bf16_to_f32(uint16_t h) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(h) << 16);
}

/// float → bfloat16, to nearest even; NaN stays NaN.
[[nodiscard]] inline uint16_t f32_to_bf16(float f) noexcept {
  const auto u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((u >> 16) | 0x40U);
  return static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
}

/// IEEE half → float: exact, subnormals and NaN included.
[[nodiscard]] float f16_to_f32(uint16_t h) noexcept;

/// float → IEEE half, to nearest even; overflow becomes infinity.
[[nodiscard]] uint16_t f32_to_f16(float f) noexcept;

/// Reads element `i` of a float array of type f32, f16 or bf16 at any alignment.
[[nodiscard]] float load_float(DType t, const std::byte* data, int64_t i) noexcept;

}  // namespace facet
