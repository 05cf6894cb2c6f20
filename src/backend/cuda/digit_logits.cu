// The head of a decode step: the largest matrix, and of no layer, so that nothing waits within it.
//
// Each warp streams row tiles of its own, one after the other, by bulk copies through a private ring, and
// multiplies them on the integer tensor cores (digits.cuh).
#include <algorithm>

#include "backend/cuda/cluster_exchange.cuh"
#include "backend/cuda/decode.h"
#include "backend/cuda/dependent_launch.cuh"
#include "backend/cuda/digits.cuh"

namespace facet::cuda {
namespace {

using persistent::DigitTile;
using persistent::LaneDigits;

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;

/// A warp's ring: stages of some column tiles of a row tile.
template <Codes kCodes>
struct Stage {
  static constexpr int kTiles = kCodes == Codes::kQ4 ? 6 : 2;
  static constexpr int kStages = kCodes == Codes::kQ4 ? 3 : 4;
  static constexpr int kVectors = tile_vectors(kCodes);
  uint4 codes[kTiles][kVectors][kWarp];
  uint2 pairs[kTiles][8];
};

/// A row tile's activations: of each row two columns of digits, and the tiles' scales and sums.
struct Input {
  int tiles, rows;
  [[nodiscard]] __host__ __device__ int stride() const {
    return tiles * 4 + 4;
  }  // two columns' are read at once
  [[nodiscard]] __host__ __device__ int digit_bytes() const {
    return 2 * rows * stride() * static_cast<int>(sizeof(uint4));
  }
  [[nodiscard]] __host__ __device__ int bytes() const {
    return digit_bytes() + (rows * tiles + 1) / 2 * 2 * static_cast<int>(sizeof(float2));
  }
};

struct DigitLogits {
  const float* h;
  TileMatrix w;
  float* out;
  float cap;
  int rows;
};

/// What a warp reads, in its order.
template <Codes kCodes>
class WarpTape {
 public:
  using Stage = cuda::Stage<kCodes>;

  __device__ WarpTape(const TileMatrix& w, int64_t row_tile, int64_t step, Stage* ring, uint64_t* full)
      : w_(w), row_tile_(row_tile), step_(step), ring_(ring), full_(full) {}

  /// Asks for the next stage, of which there may be none. One lane.
  __device__ void ask() {
    if (row_tile_ >= w_.rows / kTileRows) return;
    constexpr int kTileVectors = Stage::kVectors * kWarp;
    const int count = min(Stage::kTiles, w_.tiles - tile_);
    const auto code_bytes =
        static_cast<uint32_t>(count * kTileVectors) * static_cast<uint32_t>(sizeof(uint4));
    const auto pair_bytes = static_cast<uint32_t>(count >> w_.group_shift) * 64U;
    barrier_expect(&full_[asked_], static_cast<int>(code_bytes + pair_bytes));
    copy_bulk(ring_[asked_].codes, w_.codes + (row_tile_ * w_.tiles + tile_) * kTileVectors, code_bytes,
              &full_[asked_]);
    copy_bulk(ring_[asked_].pairs, w_.pairs + (row_tile_ * w_.groups + (tile_ >> w_.group_shift)) * 8,
              pair_bytes, &full_[asked_]);
    asked_ = asked_ + 1 == Stage::kStages ? 0 : asked_ + 1;
    tile_ += count;
    if (tile_ < w_.tiles) return;
    tile_ = 0;
    row_tile_ += step_;
  }
  [[nodiscard]] __device__ const Stage& wait() const {
    barrier_wait(&full_[next_], parity_);
    return ring_[next_];
  }
  /// Is done with it. All lanes.
  __device__ void pass(int lane) {
    __syncwarp();
    if (lane == 0) ask();
    if (++next_ < Stage::kStages) return;
    next_ = 0;
    parity_ ^= 1;
  }

 private:
  const TileMatrix& w_;
  int64_t row_tile_, step_;
  Stage* ring_;
  uint64_t* full_;
  int tile_ = 0;
  int asked_ = 0;
  int next_ = 0, parity_ = 0;
};

/// h as digits, two tiles to a warp at once, which share a scale.
template <Codes kCodes>
__device__ void make_input(const DigitLogits& args, const Input& shape, uint4* digits, float2* factors) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int halves = (shape.tiles + 1) / 2;
#pragma unroll 1
  for (int i = warp; i < args.rows * halves; i += kWarps) {
    const int r = i / halves;
    const int tile = i % halves * 2 + lane / 16;
    const bool inside = tile < shape.tiles;
    const float4 v = inside
                         ? __ldcg(reinterpret_cast<const float4*>(args.h) +
                                  int64_t{r} * shape.tiles * (kTileColumns / 4) + i % halves * kWarp + lane)
                         : float4{};
    const LaneDigits mine(v);
    int sum = mine.sum;
#pragma unroll
    for (int offset = 8; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, offset);
    if (!inside) continue;
    uint4* const high = digits + 2 * r * shape.stride() + tile * 4;
    mine.leave(kCodes == Codes::kQ4, lane, high, high + shape.stride());
    if (lane % 16 == 0) factors[r * shape.tiles + tile] = {mine.scale, static_cast<float>(sum)};
  }
}

template <Codes kCodes, int kRows>
__global__ void __launch_bounds__(kThreads, 1) digit_logits_kernel(const __grid_constant__ DigitLogits args) {
#if __CUDA_ARCH__ >= 900
  using Stage = cuda::Stage<kCodes>;
  constexpr int kBlocks = kColumnBlocks<kRows>;
  constexpr int kRowsOfBlock = kRows < 4 ? kRows : 4;
  constexpr int kColumns = 2 * kRowsOfBlock;
  extern __shared__ __align__(128) uint4 memory[];
  __shared__ uint64_t full[kWarps][Stage::kStages];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();
  auto* const rings = reinterpret_cast<Stage*>(memory);
  uint4* const digits = memory + kWarps * Stage::kStages * sizeof(Stage) / sizeof(uint4);
  const Input shape{args.w.tiles, kRows};
  auto* const factors =
      reinterpret_cast<float2*>(digits + shape.digit_bytes() / static_cast<int>(sizeof(uint4)));

  // Neighbouring blocks' warps read what lies side by side.
  const int64_t step = int64_t{gridDim.x} * kWarps;
  const int64_t first = int64_t{blockIdx.x} * kWarps + warp;
  WarpTape<kCodes> tape(args.w, first, step, rings + warp * Stage::kStages, full[warp]);
  if (lane == 0) {
    for (uint64_t& barrier : full[warp]) barrier_init(&barrier, 1);
    publish_barriers();
    for (int i = 0; i < Stage::kStages; ++i) tape.ask();
  }
  wait_for_previous();
  make_input<kCodes>(args, shape, digits, factors);
  __syncthreads();

  // Of a lane: a column of each eight of the mma, and the row whose sums it gets.
  const uint4* from[kBlocks];
  const float2* of[kBlocks];
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    from[n] = digits + (8 * n + lane / 4 % kColumns) * shape.stride() + lane % 4;
    of[n] = factors + (4 * n + lane % 4 % kRowsOfBlock) * shape.tiles;
  }
#pragma unroll 1
  for (int64_t row_tile = first; row_tile < args.w.rows / kTileRows; row_tile += step) {
    TileSums<kBlocks> sums;
    const auto multiply = [&](const Stage& stage, int c, int tile) {
      Tile<kCodes> w;
#pragma unroll
      for (int v = 0; v < Stage::kVectors; ++v) w.codes[v] = stage.codes[c][v][lane];
      w.pairs = stage.pairs[c >> args.w.group_shift][lane / 4];
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        const float2 factor = of[n][tile];
        const DigitTile x{from[n][4 * tile], factor.x, factor.y};
        int products[4];
        multiply_codes(w, x, products);
        TileSums<1> part;
        add_products(products, w.pairs, x, part);
        sums.a[n] = fmaf(part.a[0], x.scale, sums.a[n]);
        sums.b[n] = fmaf(part.b[0], x.scale, sums.b[n]);
      }
    };
#pragma unroll 1
    for (int tile = 0; tile < args.w.tiles; tile += Stage::kTiles) {
      const Stage& stage = tape.wait();
      if (tile + Stage::kTiles <= args.w.tiles) {
#pragma unroll
        for (int c = 0; c < Stage::kTiles; ++c) multiply(stage, c, tile + c);
      } else {
#pragma unroll 1
        for (int c = 0; tile + c < args.w.tiles; ++c) multiply(stage, c, tile + c);
      }
      tape.pass(lane);
    }
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      const int r = 4 * n + lane % 4;
      if (r >= args.rows) continue;
      float* const out = args.out + r * args.w.rows + row_tile * kTileRows + lane / 4;
      const auto capped = [&](float v) { return args.cap > 0 ? args.cap * tanhf(v / args.cap) : v; };
      out[0] = capped(sums.a[n]);
      out[8] = capped(sums.b[n]);
    }
  }
#endif
}

template <Codes kCodes, int kRows>
bool launch(const DigitLogits& args, const Device& device, cudaStream_t stream) {
  using Stage = cuda::Stage<kCodes>;
  LaunchShape shape;
  const int64_t row_tiles = args.w.rows / kTileRows;
  shape.grid =
      static_cast<unsigned>(std::min<int64_t>((row_tiles + kWarps - 1) / kWarps, device.multiprocessors));
  shape.threads = kThreads;
  shape.shared =
      kWarps * Stage::kStages * sizeof(Stage) + static_cast<size_t>(Input{args.w.tiles, kRows}.bytes());
  constexpr size_t kStatic = kWarps * Stage::kStages * sizeof(uint64_t);
  if (shape.shared + kStatic > device.shared_memory_a_block) return false;
  launch_dependent(digit_logits_kernel<kCodes, kRows>, shape, stream, args);
  return true;
}

}  // namespace

bool digit_logits(const float* h, int rows, const TileMatrix& w, float cap, float* out, const Device& device,
                  cudaStream_t stream) {
  const DigitLogits args{h, w, out, cap, rows};
  const auto sized = [&]<Codes kCodes>() {
    if (rows == 1) return launch<kCodes, 1>(args, device, stream);
    if (rows <= 4) return launch<kCodes, 4>(args, device, stream);
    return launch<kCodes, 8>(args, device, stream);
  };
  switch (w.codes_kind) {
    case Codes::kQ4: return sized.template operator()<Codes::kQ4>();
    case Codes::kQ8: return sized.template operator()<Codes::kQ8>();
    default: return false;
  }
}

}  // namespace facet::cuda
