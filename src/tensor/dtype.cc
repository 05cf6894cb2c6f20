#include "tensor/dtype.h"

#include <cmath>

namespace facet {

std::string_view dtype_name(DType t) noexcept {
  switch (t) {
    case DType::kF64: return "f64";
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI64: return "i64";
    case DType::kI32: return "i32";
    case DType::kI16: return "i16";
    case DType::kI8: return "i8";
    case DType::kU64: return "u64";
    case DType::kU32: return "u32";
    case DType::kU16: return "u16";
    case DType::kU8: return "u8";
    case DType::kBool: return "bool";
  }
  return "?";
}

float f16_to_f32(uint16_t h) noexcept {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000U) << 16;
  const uint32_t exponent = (h >> 10) & 0x1fU;
  const uint32_t mantissa = h & 0x3ffU;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent == 0) {  // zero and subnormals: mantissa · 2⁻²⁴
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t f32_to_f16(float f) noexcept {
  const auto u = std::bit_cast<uint32_t>(f);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000U);
  const uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return sign | 0x7e00U;
  if (magnitude >= 0x477ff000U) return sign | 0x7c00U;  // rounds past 65504
  if (magnitude < 0x38800000U) {                        // below 2⁻¹⁴: a multiple of 2⁻²⁴
    // Scaling by 2²⁴ is exact and nearbyint rounds to nearest even, so this is the correct rounding.
    const float scaled = std::nearbyint(std::ldexp(std::bit_cast<float>(magnitude), 24));
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(scaled));
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

float load_float(DType t, const std::byte* data, int64_t i) noexcept {
  if (t == DType::kF32) {
    float f = 0;
    std::memcpy(&f, data + 4 * i, 4);
    return f;
  }
  uint16_t h = 0;
  std::memcpy(&h, data + 2 * i, 2);
  return t == DType::kBF16 ? bf16_to_f32(h) : f16_to_f32(h);
}

}  // namespace facet
