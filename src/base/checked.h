// Arithmetic on sizes that come from outside: each operation says when it does not fit.
#pragma once

#include <cstdint>
#include <optional>

namespace facet {

/// a + b, or nothing when it overflows.
[[nodiscard]] constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) noexcept {
  uint64_t r = 0;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// a * b, or nothing when it overflows.
[[nodiscard]] constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) noexcept {
  uint64_t r = 0;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// a rounded up to a multiple of `alignment` (a power of two), or nothing when it overflows.
[[nodiscard]] constexpr std::optional<uint64_t> checked_align(uint64_t a, uint64_t alignment) noexcept {
  const auto r = checked_add(a, alignment - 1);
  if (!r) return std::nullopt;
  return *r & ~(alignment - 1);
}

}  // namespace facet
