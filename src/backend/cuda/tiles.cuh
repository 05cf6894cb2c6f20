// A warp's part of a product: 16 rows of weights, 64 columns at a time, through the tensor cores.
#pragma once

#include "backend/cuda/elements.cuh"
#include "backend/cuda/fragments.h"
#include "backend/cuda/tensor_core.cuh"
#include "backend/cuda/tile_matrix.h"

namespace facet::cuda {

/// What is left of v after rounding to bf16.
__device__ inline float bf16_rest(float v) {
  return v - __bfloat162float(__float2bfloat16_rn(v));
}

/// Columns 8c to 8c + 7 as a chunk: rounded to bf16, or what that left.
__device__ inline uint4 chunk_of(const float (&v)[8], bool rest) {
  const auto word = [&](float low, float high) {
    const uint32_t rounded = pack_bf16(low, high);
    if (!rest) return rounded;
    return pack_bf16(low - __uint_as_float(rounded << 16), high - __uint_as_float(rounded & 0xffff0000U));
  };
  return {word(v[0], v[4]), word(v[1], v[5]), word(v[2], v[6]), word(v[3], v[7])};
}

/// Two neighbouring lanes have columns 0 to 3 and 4 to 7 of a chunk: all eight, in both. All lanes of `mask`
/// take part. The even lane then makes the chunk of the rounded values, the odd one that of what is left.
__device__ inline void share_columns(const float4& v, unsigned mask, float (&eight)[8]) {
  const float4 other{__shfl_xor_sync(mask, v.x, 1), __shfl_xor_sync(mask, v.y, 1),
                     __shfl_xor_sync(mask, v.z, 1), __shfl_xor_sync(mask, v.w, 1)};
  const bool odd = threadIdx.x % 2 == 1;
  const float4 low = odd ? other : v;
  const float4 high = odd ? v : other;
  eight[0] = low.x, eight[1] = low.y, eight[2] = low.z, eight[3] = low.w;
  eight[4] = high.x, eight[5] = high.y, eight[6] = high.z, eight[7] = high.w;
}

/// Blocks of 8 mma columns that kRows rows of activations take.
template <int kRows>
constexpr int kColumnBlocks = (2 * kRows + 7) / 8;

/// A lane's part of a tile.
template <Codes kCodes>
struct Tile {
  static constexpr int kVectors = tile_vectors(kCodes);
  uint4 codes[kVectors];
  uint2 pairs;  // bf16 scale and bias of rows g and g + 8
};

/// A lane's activations of a tile: two chunks of each block of columns.
template <int kBlocks>
struct TileInput {
  uint4 chunk[kBlocks][2];
};

/// Where a lane finds them.
template <int kBlocks, bool kShared>
class InputColumns {
 public:
  __device__ InputColumns(const Fragments& x, int columns, int lane) {
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      const int column = n * 8 + lane / 4;
      at_[n] = column < columns ? x.chunks + column * x.stride + lane % 4 : nullptr;
    }
  }
  __device__ void load(int kt, TileInput<kBlocks>& in) const {
#pragma unroll
    for (int n = 0; n < kBlocks; ++n)
#pragma unroll
      for (int w = 0; w < 2; ++w) {
        in.chunk[n][w] = uint4{0, 0, 0, 0};
        if (at_[n] != nullptr) {
          const uint4* const from = at_[n] + kt * 8 + 4 * w;
          in.chunk[n][w] = kShared ? *from : __ldcg(from);
        }
      }
  }

 private:
  const uint4* at_[kBlocks];
};

/// Sums of a lane: of weight rows g and g + 8 with activation rows t, 4 + t, ….
template <int kBlocks>
struct TileSums {
  float a[kBlocks] = {};
  float b[kBlocks] = {};
};

/// Code c as bf16 128 + c: exact, and one instruction a pair.
__device__ inline uint32_t code_pair(uint32_t word) {
  // One lop3 takes one constant at most as part of the instruction; the other must be seen as a register.
  uint32_t pair = 0;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(pair) : "r"(word), "n"(0x000f000f), "r"(0x43004300U));
  return pair;
}

/// c += the nibbles of 8 columns of two rows, each plus 128, times x.
template <int kBlocks>
__device__ inline void multiply_nibbles(uint32_t a, uint32_t b, const uint4 (&x)[kBlocks],
                                        float (&c)[kBlocks][4]) {
  const uint32_t a0 = code_pair(a), a1 = code_pair(a >> 4), a2 = code_pair(a >> 8), a3 = code_pair(a >> 12);
  const uint32_t b0 = code_pair(b), b1 = code_pair(b >> 4), b2 = code_pair(b >> 8), b3 = code_pair(b >> 12);
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    multiply_add(c[n], a0, b0, a1, b1, x[n].x, x[n].y);
    multiply_add(c[n], a2, b2, a3, b3, x[n].z, x[n].w);
  }
}

/// sums += the tile's weights times x. `ones`: Σ x over the tile's columns, from sum_inputs.
template <Codes kCodes, int kBlocks>
__device__ inline void multiply_tile(const Tile<kCodes>& tile, const TileInput<kBlocks>& x,
                                     const float (&ones)[kBlocks], TileSums<kBlocks>& sums) {
  uint4 w0[kBlocks];
  uint4 w1[kBlocks];
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    w0[n] = x.chunk[n][0];
    w1[n] = x.chunk[n][1];
  }
  float c[kBlocks][4] = {};
  if constexpr (kCodes == Codes::kBF16) {
    const auto eight = [&](const uint4& a, const uint4& b, const uint4(&in)[kBlocks]) {
      const auto low = [](uint32_t p, uint32_t q) { return __byte_perm(p, q, 0x5410); };
      const auto high = [](uint32_t p, uint32_t q) { return __byte_perm(p, q, 0x7632); };
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        multiply_add(c[n], low(a.x, a.z), low(b.x, b.z), high(a.x, a.z), high(b.x, b.z), in[n].x, in[n].y);
        multiply_add(c[n], low(a.y, a.w), low(b.y, b.w), high(a.y, a.w), high(b.y, b.w), in[n].z, in[n].w);
      }
    };
    eight(tile.codes[0], tile.codes[2], w0);
    eight(tile.codes[1], tile.codes[3], w1);
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      sums.a[n] += c[n][0] + c[n][1];
      sums.b[n] += c[n][2] + c[n][3];
    }
  } else {
    // Σ (scale · code + bias) x = scale · Σ (128 + code) x + (bias − 128 · scale) · Σ x; a byte is two
    // nibbles, so that its 128 counts 17 times.
    constexpr float kOffset = kCodes == Codes::kQ4 ? 128.0F : 17.0F * 128.0F;
    if constexpr (kCodes == Codes::kQ4) {
      multiply_nibbles<kBlocks>(tile.codes[0].x, tile.codes[0].z, w0, c);
      multiply_nibbles<kBlocks>(tile.codes[0].y, tile.codes[0].w, w1, c);
    } else {
      // Bytes 0, 1 of both words side by side are what a word of nibbles looks like, low nibbles in the even
      // places and high in the odd ones.
      float high[kBlocks][4] = {};
      const auto eight = [&](uint32_t ax, uint32_t ay, uint32_t bx, uint32_t by, const uint4(&in)[kBlocks]) {
        const uint32_t a01 = __byte_perm(ax, ay, 0x5410), a23 = __byte_perm(ax, ay, 0x7632);
        const uint32_t b01 = __byte_perm(bx, by, 0x5410), b23 = __byte_perm(bx, by, 0x7632);
#pragma unroll
        for (int n = 0; n < kBlocks; ++n) {
          multiply_add(c[n], code_pair(a01), code_pair(b01), code_pair(a01 >> 8), code_pair(b01 >> 8),
                       in[n].x, in[n].y);
          multiply_add(c[n], code_pair(a23), code_pair(b23), code_pair(a23 >> 8), code_pair(b23 >> 8),
                       in[n].z, in[n].w);
          multiply_add(high[n], code_pair(a01 >> 4), code_pair(b01 >> 4), code_pair(a01 >> 12),
                       code_pair(b01 >> 12), in[n].x, in[n].y);
          multiply_add(high[n], code_pair(a23 >> 4), code_pair(b23 >> 4), code_pair(a23 >> 12),
                       code_pair(b23 >> 12), in[n].z, in[n].w);
        }
      };
      eight(tile.codes[0].x, tile.codes[0].y, tile.codes[1].x, tile.codes[1].y, w0);
      eight(tile.codes[0].z, tile.codes[0].w, tile.codes[1].z, tile.codes[1].w, w1);
#pragma unroll
      for (int n = 0; n < kBlocks; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) c[n][i] = fmaf(16.0F, high[n][i], c[n][i]);
    }
    const auto scale = [](uint32_t pair) { return __uint_as_float(pair << 16); };
    const auto bias = [](uint32_t pair) { return __uint_as_float(pair & 0xffff0000U); };
    const float scale_a = scale(tile.pairs.x), bias_a = bias(tile.pairs.x) - kOffset * scale_a;
    const float scale_b = scale(tile.pairs.y), bias_b = bias(tile.pairs.y) - kOffset * scale_b;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      sums.a[n] += fmaf(scale_a, c[n][0] + c[n][1], bias_a * ones[n]);
      sums.b[n] += fmaf(scale_b, c[n][2] + c[n][3], bias_b * ones[n]);
    }
  }
}

/// Σ x over the tile's columns, in every lane for its activation rows: a product with ones.
template <Codes kCodes, int kBlocks>
__device__ inline void sum_inputs(const TileInput<kBlocks>& x, float (&ones)[kBlocks]) {
  if constexpr (kCodes != Codes::kBF16) {
    constexpr uint32_t kOnes = 0x3f803f80U;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      float c[4] = {};
#pragma unroll
      for (int w = 0; w < 2; ++w) {
        multiply_add(c, kOnes, kOnes, kOnes, kOnes, x.chunk[n][w].x, x.chunk[n][w].y);
        multiply_add(c, kOnes, kOnes, kOnes, kOnes, x.chunk[n][w].z, x.chunk[n][w].w);
      }
      ones[n] = c[0] + c[1];
    }
  }
}

/// A warp's pipeline of tiles: kStages are on their way, in the warp's part of shared memory, while one is
/// multiplied. kMatrices row tiles share the activations. The loops are short on purpose: a step's kernels
/// together should fit the instruction caches, as each of them runs for microseconds.
template <Codes kCodes, int kMatrices, int kStages>
class TileRing {
 public:
  static constexpr int kVectors = Tile<kCodes>::kVectors;
  struct Stage {
    uint4 codes[kMatrices][kVectors][kWarp];
    uint2 pairs[kMatrices][8];
  };
  static constexpr int kBytes = kStages * static_cast<int>(sizeof(Stage));

  /// `shared`: kBytes of the warp's own.
  __device__ TileRing(void* shared, int lane) : stages_(static_cast<Stage*>(shared)), lane_(lane) {}

  /// Begins to load tiles [begin, end) of 16 rows of each matrix. Needs nothing but weights.
  __device__ void start(const TileMatrix* const (&matrices)[kMatrices], int64_t row, int begin, int end) {
    const int64_t row_tile = row / kTileRows;
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
      codes_[m] = matrices[m]->codes + (row_tile * matrices[m]->tiles + begin) * kTileVectors + lane_;
      pairs_[m] = matrices[m]->pairs + row_tile * matrices[m]->groups * 8 + lane_ % 8;
    }
    group_shift_ = matrices[0]->group_shift;
    tile_ = begin;
    left_ = end - begin;
#pragma unroll 1
    for (int i = 0; i < kStages; ++i) load_next(i);
  }

  /// sums[m] += matrix m times x over those tiles.
  template <int kBlocks, bool kShared>
  __device__ void run(const InputColumns<kBlocks, kShared>& x, int begin, int end,
                      TileSums<kBlocks> (&sums)[kMatrices]) {
    int slot = 0;
#pragma unroll 1
    for (int kt = begin; kt < end; ++kt) {
      multiply_next(x, kt, slot, sums);
      slot = slot + 1 == kStages ? 0 : slot + 1;
    }
  }

  /// The tile in `slot`, which is tile kt of x; then that slot's next.
  template <int kBlocks, bool kShared>
  __device__ void multiply_next(const InputColumns<kBlocks, kShared>& x, int kt, int slot,
                                TileSums<kBlocks> (&sums)[kMatrices]) {
    TileInput<kBlocks> in;
    x.load(kt, in);
    wait_copies<kStages - 1>();
    __syncwarp();  // the pairs are other lanes' copies
    Tile<kCodes> tile[kMatrices];
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) tile[m].codes[v] = stages_[slot].codes[m][v][lane_];
      if constexpr (kCodes != Codes::kBF16) tile[m].pairs = stages_[slot].pairs[m][lane_ / 4];
    }
    __syncwarp();
    load_next(slot);
    float ones[kBlocks] = {};
    sum_inputs<kCodes, kBlocks>(in, ones);
#pragma unroll
    for (int m = 0; m < kMatrices; ++m) multiply_tile<kCodes, kBlocks>(tile[m], in, ones, sums[m]);
  }

 protected:
  static constexpr int kTileVectors = kVectors * kWarp;

  __device__ void load_next(int slot) {
    if (left_ > 0) {
#pragma unroll
      for (int m = 0; m < kMatrices; ++m) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v)
          copy_async(&stages_[slot].codes[m][v][lane_], codes_[m] + v * kWarp);
        codes_[m] += kTileVectors;
        if constexpr (kCodes != Codes::kBF16)
          if (lane_ < 8) copy_async(&stages_[slot].pairs[m][lane_], pairs_[m] + (tile_ >> group_shift_) * 8);
      }
      ++tile_;
      --left_;
    }
    commit_copies();
  }

  Stage* stages_;
  int lane_;
  const uint4* codes_[kMatrices];
  const uint2* pairs_[kMatrices];
  int group_shift_ = 0;
  int tile_ = 0;
  int left_ = 0;
};

}  // namespace facet::cuda
