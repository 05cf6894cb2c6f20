// Where a token lies in the cache, on the device.
#pragma once

#include <cstdint>

#include "backend/kv_view.h"

namespace facet::cuda {

/// Index of (sequence, position) in [pages, 64]; times kv_heads, KvView::slot of its first head. Tokens from
/// there to the page's end follow each other.
__device__ inline int64_t token_slot(const KvView& kv, int32_t sequence, int32_t position) {
  const int64_t page = kv.pages[int64_t{sequence} * kv.stride + (position / kPageTokens) % kv.stride];
  return page * kPageTokens + position % kPageTokens;
}

}  // namespace facet::cuda
