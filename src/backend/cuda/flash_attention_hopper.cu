// Flash attention by Hopper's matrix instruction (warpgroup.cuh), which reads queries, keys and values from
// shared memory itself: nothing is spent on loading fragments, and a row's softmax stays within a quad of
// lanes.
//
// A block is two warpgroups with 64 query rows (tokens × the query heads of a key/value head) and 256 output
// columns each. Heads of 256: one below the other. Heads of 512: side by side, and both compute the same
// scores, which costs less than passing them on.
#include "backend/cuda/elements.cuh"
#include "backend/cuda/flash_attention.h"
#include "backend/cuda/flash_tile.cuh"
#include "backend/cuda/warpgroup.cuh"

namespace facet::cuda {
namespace {

constexpr int kKeys = kPageTokens;  // a tile of keys is a page
constexpr int kWarpgroup = 128;
constexpr int kThreads = 2 * kWarpgroup;
constexpr int kGroupRows = 64;    // of queries, a warpgroup
constexpr int kOutputPanels = 4;  // of 64 columns, a warpgroup

template <int kDim>
struct HopperTiles {
  static constexpr int kRows = kDim == 256 ? 2 * kGroupRows : kGroupRows;
  static constexpr int kStages = kDim == 256 ? 2 : 1;  ///< tiles of K and V held
  static constexpr int kBytes = kKeys * kDim * 2;      ///< of one of them

  alignas(1024) std::byte q[kRows * kDim * 2];
  alignas(1024) std::byte k[kStages][kBytes];
  alignas(1024) std::byte v[kStages][kBytes];
  int32_t positions[kRows];  // of the tile's tokens
  int32_t sequences[kRows];
};

template <int kDim>
class HopperTile {
  using Tiles = HopperTiles<kDim>;
  static constexpr int kChunks = kDim / 8;

 public:
  __device__ HopperTile(Tiles& shared, const AttentionShape& shape, const KvView& kv, int group_bits,
                        int head)
      : s_(shared),
        kv_(kv),
        window_(shape.window),
        queries_{group_bits, head},
        exponent_(shape.scale * kLog2E) {
    const int thread = static_cast<int>(threadIdx.x);
    const int warpgroup = thread / kWarpgroup;
    lane_ = thread % kWarp;
    first_row_ = kDim == 256 ? warpgroup * kGroupRows : 0;
    panel_ = kDim == 256 ? 0 : warpgroup * kOutputPanels;
    row_ = first_row_ + thread % kWarpgroup / kWarp * 16 + lane_ / 4;
  }

  /// Starts the copy of the tile's queries, zeros where there are none. q: [tokens, q_heads, kDim].
  __device__ void fetch_queries(const __nv_bfloat16* q, int q_heads, int tokens) {
    const uint32_t to = shared_address(s_.q);
    for (int i = static_cast<int>(threadIdx.x); i < Tiles::kRows * kChunks; i += kThreads) {
      const int row = i / kChunks;
      const int chunk = i % kChunks;
      const bool wanted = queries_.token_of(row) < tokens;
      copy_async(to + panel_offset(row, chunk, Tiles::kRows),
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
    const auto fetch_tile = [&](std::byte* to, const std::byte* cache, int tile) {
      if (tile <= last) fetch(to, cache, page, oldest_key - tile * kKeys, newest - tile * kKeys);
      commit_copies();  // past the last tile an empty group, so that the count stays the same
    };
    __syncthreads();  // an earlier run's tiles have been read
    fetch_tile(s_.k[0], kv_.k, first);
    fetch_tile(s_.v[0], kv_.v, first);
    for (int tile = first; tile <= last; ++tile) {
      const int stage = (tile - first) % Tiles::kStages;
      page = next_page;
      next_page = table[min(tile + 2, last) % kv_.stride];
      // With two stages K and V have both had a tile's time to come; with one, V has until it is needed.
      wait_copies<Tiles::kStages == 2 ? 0 : 1>();
      publish_to_matrix_unit();
      __syncthreads();
      if constexpr (Tiles::kStages == 2) {
        fetch_tile(s_.k[1 - stage], kv_.k, tile + 1);
        fetch_tile(s_.v[1 - stage], kv_.v, tile + 1);
      }
      score(s_.k[stage]);
      if constexpr (Tiles::kStages == 1) {
        __syncthreads();  // both warpgroups have read K
        fetch_tile(s_.k[0], kv_.k, tile + 1);
      }
      const int32_t key = tile * kKeys;
      if (!alone || key + kKeys - 1 > oldest || (window_ > 0 && key <= newest - window_))
        mask(key, begin, end);
      weigh();
      if constexpr (Tiles::kStages == 1) {
        wait_copies<1>();
        publish_to_matrix_unit();
        __syncthreads();
      }
      accumulate(s_.v[stage]);
      if constexpr (Tiles::kStages == 1) {
        __syncthreads();  // both have read V
        fetch_tile(s_.v[0], kv_.v, tile + 1);
      }
    }
    wait_copies<0>();
  }

  /// out: [tokens, q_heads, kDim] from the tile's first token on.
  __device__ void store(__nv_bfloat16* out, int q_heads, int tokens) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float inverse = 1.0F / quad_sum(sum_[i]);
      const int row = row_ + 8 * i;
      if (queries_.token_of(row) >= tokens) continue;
      __nv_bfloat16* to = out + queries_.offset(row, q_heads) + panel_ * kPanelColumns + lane_ % 4 * 2;
#pragma unroll
      for (int p = 0; p < kOutputPanels; ++p)
#pragma unroll
        for (int n = 0; n < 8; ++n)
          *reinterpret_cast<uint32_t*>(to + p * kPanelColumns + 8 * n) =
              pack_bf16(out_[p][n][2 * i] * inverse, out_[p][n][2 * i + 1] * inverse);
    }
  }

 private:
  /// Starts the copy of a page of keys or values, whose tokens outside [first, last] no row of the run sees:
  /// they become zeros, since what lies there may be anything, and 0 · NaN is NaN.
  __device__ void fetch(std::byte* to, const std::byte* cache, int32_t page, int first, int last) const {
    const auto* from = reinterpret_cast<const __nv_bfloat16*>(cache) +
                       (int64_t{page} * kKeys * kv_.kv_heads + queries_.head) * kDim;
    const uint32_t base = shared_address(to);
    const int thread = static_cast<int>(threadIdx.x);
    const int chunk = thread % kChunks;
#pragma unroll
    for (int i = 0; i < kKeys * kChunks / kThreads; ++i) {
      const int row = thread / kChunks + i * (kThreads / kChunks);
      copy_async(base + panel_offset(row, chunk, kKeys),
                 from + int64_t{row} * kv_.kv_heads * kDim + chunk * 8, row >= first && row <= last);
    }
  }

  /// scores_ = q kᵀ.
  __device__ void score(const std::byte* k) {
    const uint32_t q_at = shared_address(s_.q) + static_cast<uint32_t>(first_row_ * kPanelRow);
    const uint32_t k_at = shared_address(k);
    pin_registers(scores_);
    begin_products();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const auto in_panel = static_cast<uint32_t>(step % 4 * 32);
      const int panel = step / 4;
      multiply_panels(
          scores_,
          panel_descriptor(q_at + static_cast<uint32_t>(panel * Tiles::kRows * kPanelRow) + in_panel),
          panel_descriptor(k_at + static_cast<uint32_t>(panel * kKeys * kPanelRow) + in_panel), step > 0);
    }
    finish_products();
    pin_registers(scores_);
  }

  /// Takes out the keys of the tile at position `key` that a row does not see; rows of tokens outside
  /// [begin, end) see none.
  __device__ void mask(int32_t key, int begin, int end) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = queries_.token_of(row_ + 8 * i);
      int32_t last = -1;
      int32_t first = 0;
      if (token >= begin && token < end) {
        last = s_.positions[token];
        first = window_ > 0 ? last - window_ + 1 : 0;
      }
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int32_t position = key + 8 * n + lane_ % 4 * 2 + j;
          if (position < first || position > last) scores_[n][2 * i + j] = -INFINITY;
        }
    }
  }

  /// Scores to weights, as fragments of the next product; the output so far is rescaled to the new maximum.
  __device__ void weigh() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float top = -INFINITY;
#pragma unroll
      for (int n = 0; n < 8; ++n) top = fmaxf(top, fmaxf(scores_[n][2 * i], scores_[n][2 * i + 1]));
      top = fmaxf(top_[i], quad_max(top));
      const float base = top == -INFINITY ? 0.0F : top * exponent_;  // a row that has seen nothing stays at 0
      const float keep = exp2_fast(fmaf(top_[i], exponent_, -base));
      if (__any_sync(0xffffffffU, top != top_[i])) {
#pragma unroll
        for (int p = 0; p < kOutputPanels; ++p)
#pragma unroll
          for (int n = 0; n < 8; ++n) {
            out_[p][n][2 * i] *= keep;
            out_[p][n][2 * i + 1] *= keep;
          }
      }
      top_[i] = top;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const float a = exp2_fast(fmaf(scores_[n][2 * i], exponent_, -base));
        const float b = exp2_fast(fmaf(scores_[n][2 * i + 1], exponent_, -base));
        sum += a + b;
        weights_[n / 2][n % 2 * 2 + i] = pack_bf16(a, b);
      }
      sum_[i] = fmaf(sum_[i], keep, sum);
    }
  }

  /// out_ += weights · v.
  __device__ void accumulate(const std::byte* v) {
    const uint32_t v_at = shared_address(v) + static_cast<uint32_t>(panel_ * kKeys * kPanelRow);
#pragma unroll
    for (int p = 0; p < kOutputPanels; ++p) pin_registers(out_[p]);
    begin_products();
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step)
#pragma unroll
      for (int p = 0; p < kOutputPanels; ++p)
        multiply_rows_by_panel(
            out_[p], weights_[step],
            panel_descriptor(v_at + static_cast<uint32_t>((p * kKeys + step * 16) * kPanelRow)));
    finish_products();
#pragma unroll
    for (int p = 0; p < kOutputPanels; ++p) pin_registers(out_[p]);
  }

  Tiles& s_;
  const KvView& kv_;
  const int window_;
  const QueryRows<kDim> queries_;
  const float exponent_;  ///< of 2, a unit of score
  int lane_;
  int first_row_;  ///< of the tile, this warpgroup's
  int panel_;      ///< of the output, this warpgroup's first
  int row_;        ///< of the tile, this lane's first; the other is 8 below
  float scores_[8][4];
  uint32_t weights_[kKeys / 16][4];
  float out_[kOutputPanels][8][4] = {};
  float top_[2] = {-INFINITY, -INFINITY};
  float sum_[2] = {};  ///< over this lane's keys alone
};

/// Grid: (tiles of queries, kv_heads). A key/value head has 2^group_bits query heads.
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    flash_attention_hopper_kernel(const __nv_bfloat16* q, const Rows rows, const AttentionShape shape,
                                  const KvView kv, int group_bits, __nv_bfloat16* out) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // the only generation with these instructions
  extern __shared__ unsigned char memory[];
  // The swizzle counts from 1,024-byte boundaries, which the runtime does not promise.
  const uint32_t misaligned = shared_address(memory) % 1024;
  auto& shared = *reinterpret_cast<HopperTiles<kDim>*>(memory + (1024 - misaligned) % 1024);
  attend_tile<HopperTile<kDim>, HopperTiles<kDim>::kRows, kDim, kThreads>(shared, q, rows, shape, kv,
                                                                          group_bits, out);
#else
  __trap();
#endif
}

template <int kDim>
void launch(const void* q, const Rows& rows, const AttentionShape& shape, const KvView& kv, void* out,
            cudaStream_t stream) {
  launch_tiles(flash_attention_hopper_kernel<kDim>, HopperTiles<kDim>::kRows, kThreads,
               static_cast<int>(sizeof(HopperTiles<kDim>) + 1024), q, rows, shape, kv, out, stream);
}

}  // namespace

void flash_attend_hopper(const void* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                         void* out, cudaStream_t stream) {
  if (rows.count == 0) return;
  if (shape.head_dim == 256)
    launch<256>(q, rows, shape, kv, out, stream);
  else
    launch<512>(q, rows, shape, kv, out, stream);
}

}  // namespace facet::cuda
