// How attention addresses the key/value cache: the same rule for rings and for growing lists of pages.
#pragma once

#include <cstdint>

namespace facet {

constexpr int kPageTokens = 64;

enum class KvType : uint8_t {
  kF32,   ///< the reference backend's
  kBF16,  ///< the default
  kQ8     ///< 8-bit codes with one f32 scale a head and token: w = scale · code
};

/// Bytes of one token's K (or V) of one head, scales not counted.
[[nodiscard]] constexpr int64_t kv_row_bytes(KvType type, int head_dim) noexcept {
  return head_dim * (type == KvType::kF32 ? 4 : type == KvType::kBF16 ? 2 : 1);
}

/// One owning layer's cache for every sequence, in backend memory. Position p of sequence s lives in page
/// pages[s · stride + (p / 64) % stride] at slot p % 64. In a sliding layer `stride` is the ring's length in
/// pages, so old positions are overwritten; in a full layer it covers the whole context and never wraps.
struct KvView {
  KvType type = KvType::kF32;
  int kv_heads = 0;
  int head_dim = 0;
  std::byte* k = nullptr;          // [pages, 64, kv_heads, head_dim]
  std::byte* v = nullptr;          // [pages, 64, kv_heads, head_dim]
  float* k_scale = nullptr;        // [pages, 64, kv_heads], kQ8 only
  float* v_scale = nullptr;        // [pages, 64, kv_heads], kQ8 only
  const int32_t* pages = nullptr;  // [sequences, stride]
  int stride = 0;

  /// Index of (sequence, position, head) in [pages, 64, kv_heads], on the host.
  [[nodiscard]] int64_t slot(int32_t sequence, int32_t position, int head) const noexcept {
    const int64_t page = pages[int64_t{sequence} * stride + (position / kPageTokens) % stride];
    return (page * kPageTokens + position % kPageTokens) * kv_heads + head;
  }
};

}  // namespace facet
