// Attention of many query rows at once, on the tensor cores: flash attention over the paged cache.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/backend.h"

namespace facet::cuda {

/// Whether flash_attend serves such layers: heads of 256 or 512 values, a bf16 cache, a power of two of up to
/// 32 query heads a key/value head, a positive scale, and a GPU whose blocks can have the shared memory.
[[nodiscard]] bool flash_attention_serves(const AttentionShape& shape, const KvView& kv,
                                          size_t shared_memory_a_block) noexcept;

/// out = softmax(scale · q kᵀ + mask) v, asynchronously on `stream`. q, out: [rows, q_heads, head_dim] bf16,
/// device memory. A sequence's rows are consecutive positions in order; their K and V are in the cache.
void flash_attend(const void* q, const Rows& rows, const AttentionShape& shape, const KvView& kv, void* out,
                  cudaStream_t stream);
/// The same by the matrix instruction of compute capability 9.0, and on no other.
void flash_attend_hopper(const void* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                         void* out, cudaStream_t stream);

}  // namespace facet::cuda
