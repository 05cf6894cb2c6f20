// A block takes a tile of query rows (tokens × the query heads that share a key/value head) and walks over
// the keys in tiles of one page, with the softmax running in f32.
//
// Its 8 warps are 32 query rows × 128 output columns each: 4 × 2 of them for heads of 256, 2 × 4 for heads of
// 512, whose output would not fit the registers of a taller tile. For the scores a warp takes 32 keys, and at
// 512 half of the depth, so that the tensor cores read shared memory as little as the registers allow; the
// weights then go through shared memory, because every warp needs those of all 64 keys.
//
// Shared memory holds rows of 16-byte chunks whose number is XORed with the row's: neither the copies nor the
// tile loads meet in a bank.
#include "backend/cuda/elements.cuh"
#include "backend/cuda/flash_attention.h"
#include "backend/cuda/flash_tile.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace facet::cuda {
namespace {

constexpr int kKeys = kPageTokens;  // a tile of keys is a page
constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kWarpRows = 32;
constexpr int kWarpColumns = 128;
constexpr int kWarpKeys = 32;

template <int kDim>
struct Tiling {
  static constexpr int kColumnWarps = kDim / kWarpColumns;
  static constexpr int kRowWarps = kWarps / kColumnWarps;
  static constexpr int kRows = kRowWarps * kWarpRows;
  static constexpr int kKeyWarps = kKeys / kWarpKeys;
  static constexpr int kDepths = kColumnWarps / kKeyWarps;  ///< parts of the depth that the scores sum over
  static constexpr int kStages = kDim == 256 ? 2 : 1;       ///< tiles of K and V held
  static constexpr int kKeyTile = kKeys * kDim;             ///< elements
};

/// Byte offset of a 16-byte chunk in a tile of rows of `row_bytes`, a multiple of 128.
__device__ inline uint32_t chunk_offset(int row, int chunk, int row_bytes) {
  return static_cast<uint32_t>(row * row_bytes + ((chunk ^ (row & 7)) << 4));
}

template <int kDim>
struct SharedTiles {
  using T = Tiling<kDim>;
  alignas(128) __nv_bfloat16 q[T::kRows * kDim];
  alignas(128) __nv_bfloat16 k[T::kStages][T::kKeyTile];
  alignas(128) __nv_bfloat16 v[T::kStages][T::kKeyTile];
  alignas(128) __nv_bfloat16 weights[T::kRows * kKeys];
  /// Half a warp's scores on their way to the warp that has the other half of the depth.
  alignas(16) float4 partial[T::kDepths == 1 ? 1 : kWarps][kWarpKeys / 8][kWarp];
  float row_top[T::kKeyWarps][T::kRows];
  float row_sum[T::kKeyWarps][T::kRows];
  int32_t positions[T::kRows];  // of the tile's tokens
  int32_t sequences[T::kRows];
};

template <int kDim>
class FlashTile {
  using T = Tiling<kDim>;

 public:
  __device__ FlashTile(SharedTiles<kDim>& shared, const AttentionShape& shape, const KvView& kv,
                       int group_bits, int head)
      : s_(shared),
        kv_(kv),
        window_(shape.window),
        queries_{group_bits, head},
        exponent_(shape.scale * kLog2E),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        row_(static_cast<int>(threadIdx.x) / kWarp / T::kColumnWarps * kWarpRows),
        column_warp_(static_cast<int>(threadIdx.x) / kWarp % T::kColumnWarps),
        key_(column_warp_ % T::kKeyWarps * kWarpKeys),
        depth_(column_warp_ / T::kKeyWarps) {
#pragma unroll
    for (int i = 0; i < 4; ++i) top_[i] = -INFINITY;
  }

  /// Starts the copy of the tile's queries, zeros where there are none. q: [tokens, q_heads, kDim].
  __device__ void fetch_queries(const __nv_bfloat16* q, int q_heads, int tokens) {
    constexpr int kChunks = kDim / 8;
    const uint32_t to = shared_address(s_.q);
    for (int i = static_cast<int>(threadIdx.x); i < T::kRows * kChunks; i += kThreads) {
      const int row = i / kChunks;
      const int chunk = i % kChunks;
      const bool wanted = queries_.token_of(row) < tokens;
      copy_async(to + chunk_offset(row, chunk, 2 * kDim),
                 q + (wanted ? queries_.offset(row, q_heads) + chunk * 8 : 0), wanted);
    }
  }

  /// Attends from tokens [begin, end) of the tile, all of one sequence; `alone`: they are all of its tokens.
  __device__ void attend(int begin, int end, bool alone) {
    const int32_t* table = kv_.pages + int64_t{s_.sequences[begin]} * kv_.stride;
    const int32_t oldest = s_.positions[begin];
    const int32_t newest = s_.positions[end - 1];
    const int32_t oldest_key = window_ > 0 ? max(0, oldest - window_ + 1) : 0;
    const int first = oldest_key / kKeys;
    const int last = newest / kKeys;
    int32_t page = table[first % kv_.stride];
    int32_t next_page = table[min(first + 1, last) % kv_.stride];
    const auto fetch_tile = [&](__nv_bfloat16* to, const std::byte* cache, int tile) {
      if (tile <= last) fetch(to, cache, page, oldest_key - tile * kKeys, newest - tile * kKeys);
      commit_copies();  // past the last tile an empty group, so that the count stays the same
    };
    __syncthreads();  // an earlier run's tiles have been read
    fetch_tile(s_.k[0], kv_.k, first);
    fetch_tile(s_.v[0], kv_.v, first);
    for (int tile = first; tile <= last; ++tile) {
      const int stage = (tile - first) % T::kStages;
      page = next_page;
      next_page = table[min(tile + 2, last) % kv_.stride];
      wait_copies<1>();
      __syncthreads();  // K is there; with two stages, the other one has been read
      if constexpr (T::kStages == 2) {
        fetch_tile(s_.k[1 - stage], kv_.k, tile + 1);
        fetch_tile(s_.v[1 - stage], kv_.v, tile + 1);
      }
      score(s_.k[stage]);
      if constexpr (T::kDepths == 2) {
        give_partial();
        __syncthreads();  // and K has been read
        fetch_tile(s_.k[0], kv_.k, tile + 1);
        take_partial();
      }
      const int32_t key = tile * kKeys;
      const bool whole = alone && key + kKeys - 1 <= oldest && (window_ == 0 || key > newest - window_);
      if (!whole) mask(key, begin, end);
      weigh();
      wait_copies<T::kStages == 2 ? 2 : 1>();
      __syncthreads();  // V and the weights are there
      accumulate(s_.v[stage]);
      if constexpr (T::kStages == 1) {
        __syncthreads();
        fetch_tile(s_.v[0], kv_.v, tile + 1);
      }
    }
    wait_copies<0>();
  }

  /// out: [tokens, q_heads, kDim] from the tile's first token on.
  __device__ void store(__nv_bfloat16* out, int q_heads, int tokens) {
#pragma unroll
    for (int i = 0; i < kScoreRows; ++i) {
      const float sum = quad_sum(sum_[i]);
      if (lane_ % 4 == 0) s_.row_sum[key_ / kWarpKeys][score_row(i)] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = output_row(i);
      if (queries_.token_of(row) >= tokens) continue;
      float sum = 0;
#pragma unroll
      for (int k = 0; k < T::kKeyWarps; ++k) sum += s_.row_sum[k][row];
      const float inverse = 1.0F / sum;
      __nv_bfloat16* to = out + queries_.offset(row, q_heads) + column();
#pragma unroll
      for (int n = 0; n < kWarpColumns / 8; ++n) {
        const float* acc = &out_[i / 2][n][i % 2 * 2];
        *reinterpret_cast<uint32_t*>(to + 8 * n) = pack_bf16(acc[0] * inverse, acc[1] * inverse);
      }
    }
  }

 private:
  static constexpr int kScoreRows = T::kDepths == 2 ? 2 : 4;  ///< rows whose scores this lane holds

  /// Tile row of this lane's i-th of four.
  __device__ int output_row(int i) const {
    return row_ + i * 8 + lane_ / 4;
  }
  /// The same of the rows whose scores are its own.
  __device__ int score_row(int i) const {
    return output_row(T::kDepths == 2 ? 2 * depth_ + i : i);
  }
  /// First output column of this lane.
  __device__ int column() const {
    return column_warp_ * kWarpColumns + lane_ % 4 * 2;
  }

  /// Starts the copy of a page of keys or values, whose tokens outside [first, last] no row of the run sees:
  /// they become zeros, since what lies there may be anything, and 0 · NaN is NaN.
  __device__ void fetch(__nv_bfloat16* to, const std::byte* cache, int32_t page, int first, int last) const {
    constexpr int kChunks = kDim / 8;
    const auto* from = reinterpret_cast<const __nv_bfloat16*>(cache) +
                       (int64_t{page} * kKeys * kv_.kv_heads + queries_.head) * kDim;
    const uint32_t base = shared_address(to);
    const int thread = static_cast<int>(threadIdx.x);
    const int chunk = thread % kChunks;
#pragma unroll
    for (int i = 0; i < kKeys * kChunks / kThreads; ++i) {
      const int row = thread / kChunks + i * (kThreads / kChunks);
      copy_async(base + chunk_offset(row, chunk, 2 * kDim),
                 from + int64_t{row} * kv_.kv_heads * kDim + chunk * 8, row >= first && row <= last);
    }
  }

  /// scores_ = q kᵀ for this warp's rows and keys, over its part of the depth.
  __device__ void score(const __nv_bfloat16* k) {
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) scores_[m][n][i] = 0;
    const int q_row = row_ + lane_ % 16;
    const int k_row = key_ + lane_ / 16 * 8 + lane_ % 8;
    const uint32_t q_base = shared_address(s_.q) + static_cast<uint32_t>(q_row * 2 * kDim);
    const uint32_t k_base = shared_address(k) + static_cast<uint32_t>(k_row * 2 * kDim);
    const int swizzle = lane_ & 7;  // both rows' low bits
    const int first = depth_ * (kDim / 8 / T::kDepths);
#pragma unroll
    for (int step = 0; step < kDim / 16 / T::kDepths; ++step) {
      const int chunk = first + 2 * step;
      const auto q_at = static_cast<uint32_t>(((chunk + lane_ / 16) ^ swizzle) << 4);
      const auto k_at = static_cast<uint32_t>(((chunk + lane_ / 8 % 2) ^ swizzle) << 4);
      uint32_t a[2][4];
      uint32_t b[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_tiles(q_base + static_cast<uint32_t>(m * 16 * 2 * kDim) + q_at, a[m]);
#pragma unroll
      for (int n = 0; n < 2; ++n) load_tiles(k_base + static_cast<uint32_t>(n * 16 * 2 * kDim) + k_at, b[n]);
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
          multiply_add(scores_[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
    }
  }

  /// Of the two warps with the same rows and keys, that of the first half of the depth keeps the upper 16
  /// rows, the other the lower ones.
  __device__ void give_partial() {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float4 given;
      given.x = depth_ == 0 ? scores_[1][n][0] : scores_[0][n][0];
      given.y = depth_ == 0 ? scores_[1][n][1] : scores_[0][n][1];
      given.z = depth_ == 0 ? scores_[1][n][2] : scores_[0][n][2];
      given.w = depth_ == 0 ? scores_[1][n][3] : scores_[0][n][3];
      s_.partial[warp][n][lane_] = given;
    }
  }
  __device__ void take_partial() {
    const int partner = static_cast<int>(threadIdx.x) / kWarp ^ T::kKeyWarps;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const float4 taken = s_.partial[partner][n][lane_];
      const float other[4] = {taken.x, taken.y, taken.z, taken.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
        scores_[0][n][i] = (depth_ == 0 ? scores_[0][n][i] : scores_[1][n][i]) + other[i];
    }
  }

  /// Takes out the keys of the tile at position `key` that a row does not see; rows of tokens outside
  /// [begin, end) see none.
  __device__ void mask(int32_t key, int begin, int end) {
#pragma unroll
    for (int i = 0; i < kScoreRows; ++i) {
      const int token = queries_.token_of(score_row(i));
      int32_t last = -1;
      int32_t first = 0;
      if (token >= begin && token < end) {
        last = s_.positions[token];
        first = window_ > 0 ? last - window_ + 1 : 0;
      }
#pragma unroll
      for (int n = 0; n < 4; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int32_t position = key + key_ + 8 * n + lane_ % 4 * 2 + j;
          if (position < first || position > last) scores_[i / 2][n][i % 2 * 2 + j] = -INFINITY;
        }
    }
  }

  /// Scores to weights in shared memory; the output so far is rescaled to the new maximum.
  __device__ void weigh() {
#pragma unroll
    for (int i = 0; i < kScoreRows; ++i) {
      float top = -INFINITY;
#pragma unroll
      for (int n = 0; n < 4; ++n)
        top = fmaxf(top, fmaxf(scores_[i / 2][n][i % 2 * 2], scores_[i / 2][n][i % 2 * 2 + 1]));
      top = quad_max(top);
      if (lane_ % 4 == 0) s_.row_top[key_ / kWarpKeys][score_row(i)] = top;
    }
    __syncthreads();
    float base[4];  // the new maxima, in exponents; 0 for rows that have seen nothing
    float keep[4];
    bool changed = false;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float top = top_[i];
#pragma unroll
      for (int k = 0; k < T::kKeyWarps; ++k) top = fmaxf(top, s_.row_top[k][output_row(i)]);
      base[i] = top == -INFINITY ? 0.0F : top * exponent_;
      keep[i] = exp2_fast(fmaf(top_[i], exponent_, -base[i]));
      changed = changed || top != top_[i];
      top_[i] = top;
    }
    if (__any_sync(0xffffffffU, changed)) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int n = 0; n < kWarpColumns / 8; ++n) {
          out_[i / 2][n][i % 2 * 2] *= keep[i];
          out_[i / 2][n][i % 2 * 2 + 1] *= keep[i];
        }
    }
    const uint32_t weights = shared_address(s_.weights);
#pragma unroll
    for (int i = 0; i < kScoreRows; ++i) {
      const bool lower = T::kDepths == 2 && depth_ == 1;
      const float row_base = lower ? base[(i + 2) % 4] : base[i];
      float sum = sum_[i] * (lower ? keep[(i + 2) % 4] : keep[i]);
      const int row = score_row(i);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float a = exp2_fast(fmaf(scores_[i / 2][n][i % 2 * 2], exponent_, -row_base));
        const float b = exp2_fast(fmaf(scores_[i / 2][n][i % 2 * 2 + 1], exponent_, -row_base));
        sum += a + b;
        const uint32_t to =
            weights + chunk_offset(row, key_ / 8 + n, 2 * kKeys) + static_cast<uint32_t>(lane_ % 4 * 4);
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(pack_bf16(a, b)) : "memory");
      }
      sum_[i] = sum;
    }
  }

  /// out_ += weights · v for this warp's rows and columns.
  __device__ void accumulate(const __nv_bfloat16* v) {
    const int swizzle = lane_ & 7;
    const uint32_t weights =
        shared_address(s_.weights) + static_cast<uint32_t>((row_ + lane_ % 16) * 2 * kKeys);
    const uint32_t values = shared_address(v) + static_cast<uint32_t>(lane_ % 16 * 2 * kDim);
    const int first = column_warp_ * (kWarpColumns / 8) + lane_ / 16;
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m)
        load_tiles(
            weights + static_cast<uint32_t>(m * 16 * 2 * kKeys + (((2 * step + lane_ / 16) ^ swizzle) << 4)),
            a[m]);
#pragma unroll
      for (int n = 0; n < kWarpColumns / 16; ++n) {
        uint32_t b[4];
        load_tiles_transposed(
            values + static_cast<uint32_t>(step * 16 * 2 * kDim + (((first + 2 * n) ^ swizzle) << 4)), b);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(out_[m][2 * n], a[m], b[0], b[1]);
          multiply_add(out_[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  SharedTiles<kDim>& s_;
  const KvView& kv_;
  const int window_;
  const QueryRows<kDim> queries_;
  const float exponent_;  ///< of 2, a unit of score
  const int lane_;
  const int row_;          ///< of the tile, this warp's first
  const int column_warp_;  ///< which 128 columns of the output are this warp's
  const int key_;          ///< of the tile of keys, the first that this warp scores
  const int depth_;        ///< which part of the depth it scores over
  float scores_[2][4][4];
  float out_[2][kWarpColumns / 8][4] = {};
  float top_[4];
  float sum_[kScoreRows] = {};  ///< over this lane's keys alone
};

/// Grid: (tiles of queries, kv_heads). A key/value head has 2^group_bits query heads.
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    flash_attention_kernel(const __nv_bfloat16* q, const Rows rows, const AttentionShape shape,
                           const KvView kv, int group_bits, __nv_bfloat16* out) {
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<SharedTiles<kDim>*>(memory);
  attend_tile<FlashTile<kDim>, Tiling<kDim>::kRows, kDim, kThreads>(shared, q, rows, shape, kv, group_bits,
                                                                    out);
}

template <int kDim>
void launch(const void* q, const Rows& rows, const AttentionShape& shape, const KvView& kv, void* out,
            cudaStream_t stream) {
  launch_tiles(flash_attention_kernel<kDim>, Tiling<kDim>::kRows, kThreads,
               static_cast<int>(sizeof(SharedTiles<kDim>)), q, rows, shape, kv, out, stream);
}

}  // namespace

bool flash_attention_serves(const AttentionShape& shape, const KvView& kv,
                            size_t shared_memory_a_block) noexcept {
  if (kv.type != KvType::kBF16 || !(shape.scale > 0) || shape.kv_heads <= 0) return false;
  const int group = shape.q_heads / shape.kv_heads;
  if (group * shape.kv_heads != shape.q_heads || group > 32 || (group & (group - 1)) != 0) return false;
  if (shape.head_dim == 256) return sizeof(SharedTiles<256>) <= shared_memory_a_block;
  return shape.head_dim == 512 && sizeof(SharedTiles<512>) <= shared_memory_a_block;
}

void flash_attend(const void* q, const Rows& rows, const AttentionShape& shape, const KvView& kv, void* out,
                  cudaStream_t stream) {
  if (rows.count == 0) return;
  if (shape.head_dim == 256)
    launch<256>(q, rows, shape, kv, out, stream);
  else
    launch<512>(q, rows, shape, kv, out, stream);
}

}  // namespace facet::cuda
