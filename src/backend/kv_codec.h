// How one head's key or value is stored in the cache, on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/kv_view.h"
#include "tensor/dtype.h"

namespace facet {

/// Stores `x` [head_dim] as row `slot` of `data`; for kQ8 with scale max|x| / 127.
inline void encode_kv(KvType type, const float* x, int head_dim, std::byte* data, float* scales,
                      int64_t slot) noexcept {
  std::byte* row = data + slot * kv_row_bytes(type, head_dim);
  switch (type) {
    case KvType::kF32: std::memcpy(row, x, sizeof(float) * static_cast<size_t>(head_dim)); break;
    case KvType::kBF16:
      for (int i = 0; i < head_dim; ++i) {
        const uint16_t h = f32_to_bf16(x[i]);
        std::memcpy(row + 2 * i, &h, 2);
      }
      break;
    case KvType::kQ8: {
      float top = 0;
      for (int i = 0; i < head_dim; ++i) top = std::max(top, std::fabs(x[i]));
      const float inverse = top > 0 ? 127.0F / top : 0.0F;
      for (int i = 0; i < head_dim; ++i)
        row[i] = static_cast<std::byte>(static_cast<int8_t>(std::lrintf(x[i] * inverse)));
      scales[slot] = top / 127.0F;
      break;
    }
  }
}

/// Reads row `slot` back into `x` [head_dim].
inline void decode_kv(KvType type, const std::byte* data, const float* scales, int64_t slot, int head_dim,
                      float* x) noexcept {
  const std::byte* row = data + slot * kv_row_bytes(type, head_dim);
  switch (type) {
    case KvType::kF32: std::memcpy(x, row, sizeof(float) * static_cast<size_t>(head_dim)); break;
    case KvType::kBF16:
      for (int i = 0; i < head_dim; ++i) x[i] = load_float(DType::kBF16, row, i);
      break;
    case KvType::kQ8:
      for (int i = 0; i < head_dim; ++i)
        x[i] = scales[slot] * static_cast<float>(static_cast<int8_t>(row[i]));
      break;
  }
}

}  // namespace facet
