// The products of a decode step. Each kernel sums up what is due on the residual stream, norms it,
// multiplies, and leaves the norm of its own result to the kernel after it, so that a layer's projections are
// five launches.
#include <algorithm>

#include "backend/cuda/residual_input.cuh"

namespace facet::cuda {
namespace {

constexpr int kWarpSums = 4 * kTileRows;  // of a block of columns: 16 weight rows, 4 activation rows
constexpr size_t kMostShared = 200 << 10;

/// Tiles that a warp has on their way: 64 KiB a block, and about what a multiprocessor needs in flight.
template <Codes kCodes, int kMatrices = 1>
constexpr int kStages = (kCodes == Codes::kQ4   ? 6
                         : kCodes == Codes::kQ8 ? 4
                                                : 2) /
                        kMatrices;
/// Blocks of a batch's kernels need more registers.
template <int kRows>
constexpr int kResident = kRows == 1 ? 2 : 1;

/// Shared memory of a block: fragments, then the warps' rings.
template <class Ring>
__device__ inline void* ring_memory(uint4* fragments, int count, int warp) {
  return reinterpret_cast<char*>(fragments + count) + warp * Ring::kBytes;
}
template <class Ring>
size_t shared_bytes(int fragments, int warps) {
  return static_cast<size_t>(fragments) * sizeof(uint4) + static_cast<size_t>(warps * Ring::kBytes);
}

/// A warp's sums to shared memory: [blocks][16][4].
template <int kBlocks>
__device__ inline void leave_sums(const TileSums<kBlocks>& sums, float* to, int lane) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    to[n * kWarpSums + lane] = sums.a[n];
    to[n * kWarpSums + kWarpSums / 2 + lane] = sums.b[n];
  }
}

/// The total of `warps` warps' sums for weight row `o` of the tile and activation row `r`.
template <int kBlocks>
__device__ inline float total(const float* from, int warps, int o, int r) {
  const int at = r / 4 * kWarpSums + o * 4 + r % 4;
  float sum = 0;
#pragma unroll 4
  for (int w = 0; w < warps; ++w) sum += from[w * kBlocks * kWarpSums + at];
  return sum;
}

/// A block's values [rows, units] in shared memory as fragments, chunk `first` on.
__device__ inline void leave_fragments(const float* values, int units, int rows, int first,
                                       const Fragments& to) {
  const int chunks = units / 8;
  const auto i = static_cast<int>(threadIdx.x);
  if (i >= rows * 2 * chunks) return;
  const int column = i / chunks;
  const int chunk = i % chunks;
  float eight[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) eight[j] = values[column / 2 * units + chunk * 8 + j];
  to.chunks[column * to.stride + chunk_place(first + chunk)] = chunk_of(eight, column % 2 == 1);
}

/// What the products of the residual stream begin with: the warp's tiles [begin, end) of `row` on are on
/// their way while the kernels before this one end; then the input is made, and sums[m] = matrix m times it.
/// The factor that completes the rms norm is left to the caller.
template <class Ring, int kRows, int kMatrices>
__device__ inline void multiply_residual(const Residual& residual, const float* norm,
                                         const TileMatrix* const (&matrices)[kMatrices], int64_t row,
                                         int begin, int end, uint4* fragments, RowSums& squares,
                                         TileSums<kColumnBlocks<kRows>> (&sums)[kMatrices]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  Ring ring(ring_memory<Ring>(fragments, shared_fragments(kRows, residual.hidden), warp), lane);
  ring.start(matrices, row, begin, end);
  const HeldNorms<kRows> norms(residual, norm);
  wait_for_previous();
  make_input<kRows>(residual, norm, norms, blockIdx.x == 0, fragments, squares);
  const Fragments x{fragments, shared_stride(residual.hidden)};
  ring.run(InputColumns<kColumnBlocks<kRows>, true>(x, 2 * residual.rows, lane), begin, end, sums);
}

// --- rms(residual) Wᵀ ------------------------------------------------------------------------------------

constexpr int kSplits = 8;  // warps that share a row tile's columns
template <Codes kCodes>
using ProductsRing = TileRing<kCodes, 1, std::min(3, kStages<kCodes>)>;  // E2B's 24 tiles are three a warp

template <Codes kCodes, int kRows>
__global__ void __launch_bounds__(kProductThreads, kResident<kRows>)
    normed_products_kernel(const __grid_constant__ NormedProducts args) {
  constexpr int kBlocks = kColumnBlocks<kRows>;
  constexpr int kTiles = kProductWarps / kSplits;
  extern __shared__ uint4 fragments[];
  __shared__ float sums[kProductWarps * kBlocks * kWarpSums];
  __shared__ RowSums squares;
  __shared__ int64_t tile_row[kTiles];
  __shared__ int tile_matrix[kTiles];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();

  // Which 16 rows of which matrix.
  int64_t row = (int64_t{blockIdx.x} * kTiles + warp / kSplits) * kTileRows;
  int matrix = 0;
  while (matrix < args.count && row >= args.w[matrix].rows) row -= args.w[matrix++].rows;
  const bool active = matrix < args.count;
  const TileMatrix* const matrices[1] = {&args.w[active ? matrix : 0]};
  const int tiles = matrices[0]->tiles;
  const int split = warp % kSplits;
  const int begin = tiles * split / kSplits;
  const int end = active ? tiles * (split + 1) / kSplits : begin;
  if (lane == 0 && split == 0) {
    tile_row[warp / kSplits] = row;
    tile_matrix[warp / kSplits] = active ? matrix : -1;
  }

  TileSums<kBlocks> mine[1];
  multiply_residual<ProductsRing<kCodes>, kRows>(args.residual, args.norm, matrices, row, begin, end,
                                                 fragments, squares, mine);
  leave_sums(mine[0], sums + warp * kBlocks * kWarpSums, lane);
  __syncthreads();

  const auto i = static_cast<int>(threadIdx.x);
  const int r = i / (kTiles * kTileRows);
  const int tile = i / kTileRows % kTiles;
  const int o = i % kTileRows;
  if (r >= args.residual.rows || tile_matrix[tile] < 0) return;
  const float factor = args.norm != nullptr ? inverse_rms<kRows>(squares, r, args.residual) : 1.0F;
  const int m = tile_matrix[tile];
  args.out[m][r * args.w[m].rows + tile_row[tile] + o] =
      factor * total<kBlocks>(sums + tile * kSplits * kBlocks * kWarpSums, kSplits, o, r);
}

// --- gelu(gate) · up -------------------------------------------------------------------------------------

constexpr int kUnits = kTileColumns;  // of a block: a tile of the next product's input
constexpr int kUnitTiles = kUnits / kTileRows;
template <Codes kCodes>
using GegluRing = TileRing<kCodes, 2, std::max(1, kStages<kCodes, 2>)>;

struct Geglu {
  Residual residual;
  const float* norm;
  TileMatrix gate, up;
  Fragments m;
};

template <Codes kCodes, int kRows>
__global__ void __launch_bounds__(kProductThreads, kResident<kRows>)
    geglu_kernel(const __grid_constant__ Geglu args) {
  constexpr int kBlocks = kColumnBlocks<kRows>;
  constexpr int kWarps = kProductWarps / kUnitTiles;  // that share a row tile's columns
  extern __shared__ uint4 fragments[];
  __shared__ float gates[kProductWarps * kBlocks * kWarpSums];
  __shared__ float ups[kProductWarps * kBlocks * kWarpSums];
  __shared__ float m[kRows * kUnits];
  __shared__ RowSums squares;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();

  const int64_t row = int64_t{blockIdx.x} * kUnits + warp / kWarps * kTileRows;
  const TileMatrix* const matrices[2] = {&args.gate, &args.up};
  const int tiles = args.gate.tiles;
  const int split = warp % kWarps;
  const int begin = tiles * split / kWarps;
  const int end = tiles * (split + 1) / kWarps;

  TileSums<kBlocks> mine[2];
  multiply_residual<GegluRing<kCodes>, kRows>(args.residual, args.norm, matrices, row, begin, end, fragments,
                                              squares, mine);
  leave_sums(mine[0], gates + warp * kBlocks * kWarpSums, lane);
  leave_sums(mine[1], ups + warp * kBlocks * kWarpSums, lane);
  __syncthreads();

  for (auto i = static_cast<int>(threadIdx.x); i < args.residual.rows * kUnits; i += kProductThreads) {
    const int r = i / kUnits;
    const int unit = i % kUnits;
    const int from = unit / kTileRows * kWarps * kBlocks * kWarpSums;
    const float factor = inverse_rms<kRows>(squares, r, args.residual);
    const float gate = factor * total<kBlocks>(gates + from, kWarps, unit % kTileRows, r);
    const float up = factor * total<kBlocks>(ups + from, kWarps, unit % kTileRows, r);
    m[i] = gelu_tanh(gate) * up;
  }
  __syncthreads();
  leave_fragments(m, kUnits, args.residual.rows, static_cast<int>(blockIdx.x) * (kUnits / 8), args.m);
}

// --- fragments Wᵀ ----------------------------------------------------------------------------------------

struct FragmentProduct {
  Fragments a;
  TileMatrix w;
  float* y;
  int rows;
};

template <Codes kCodes>
using FragmentRing = TileRing<kCodes, 1, kStages<kCodes>>;

/// kStaged: a warp's activations are fetched to shared memory at once; without, each as it is needed, for
/// batches that do not fit.
template <Codes kCodes, int kRows, bool kStaged>
__global__ void __launch_bounds__(kProductThreads, kResident<kRows>)
    fragment_product_kernel(const __grid_constant__ FragmentProduct args) {
  constexpr int kBlocks = kColumnBlocks<kRows>;
  extern __shared__ uint4 fragments[];
  __shared__ float sums[kProductWarps * kBlocks * kWarpSums];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();

  const TileMatrix* const matrices[1] = {&args.w};
  const int64_t row = int64_t{blockIdx.x} * kTileRows;
  const int tiles = args.w.tiles;
  const auto warps = static_cast<int>(blockDim.x) / kWarp;
  const int begin = tiles * warp / warps;
  const int end = tiles * (warp + 1) / warps;

  const int columns = 2 * args.rows;
  using Ring = FragmentRing<kCodes>;
  const int staged = kStaged ? shared_fragments(args.rows, int64_t{tiles} * kTileColumns) : 0;
  Ring ring(ring_memory<Ring>(fragments, staged, warp), lane);
  ring.start(matrices, row, begin, end);
  wait_for_previous();
  TileSums<kBlocks> mine[1];
  if constexpr (kStaged) {
    const int stride = shared_stride(int64_t{tiles} * kTileColumns);
    const int span = (end - begin) * 8;
    const int count = columns * span;
    constexpr int kAtOnce = kRows == 1 ? 6 : 8;
#pragma unroll 1
    for (int start = lane; start < count; start += kAtOnce * kWarp) {
      uint4 v[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int i = start + j * kWarp;
        if (i < count) v[j] = __ldcg(args.a.chunks + i / span * args.a.stride + begin * 8 + i % span);
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int i = start + j * kWarp;
        if (i < count) fragments[i / span * stride + begin * 8 + i % span] = v[j];
      }
    }
    __syncwarp();
    ring.run(InputColumns<kBlocks, true>({fragments, stride}, columns, lane), begin, end, mine);
  } else {
    ring.run(InputColumns<kBlocks, false>(args.a, columns, lane), begin, end, mine);
  }
  leave_sums(mine[0], sums + warp * kBlocks * kWarpSums, lane);
  __syncthreads();
  const auto i = static_cast<int>(threadIdx.x);
  const int r = i / kTileRows;
  if (r < args.rows)
    args.y[r * args.w.rows + row + i % kTileRows] = total<kBlocks>(sums, warps, i % kTileRows, r);
}

// --- the per-layer embedding -----------------------------------------------------------------------------

struct PerLayerGate {
  Residual residual;
  TileMatrix gate;
  const float* inputs;
  int64_t inputs_stride;
  Fragments m;
};

template <Codes kCodes>
using GateRing = TileRing<kCodes, 1, 2>;  // E2B's 24 tiles are one or two a warp

/// A block a row tile.
template <Codes kCodes, int kRows>
__global__ void __launch_bounds__(kProductThreads, kResident<kRows>)
    per_layer_gate_kernel(const __grid_constant__ PerLayerGate args) {
  constexpr int kBlocks = kColumnBlocks<kRows>;
  extern __shared__ uint4 fragments[];
  __shared__ float sums[kProductWarps * kBlocks * kWarpSums];
  __shared__ float m[kRows * kTileRows];
  __shared__ RowSums squares;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();

  const TileMatrix* const matrices[1] = {&args.gate};
  const int64_t row = int64_t{blockIdx.x} * kTileRows;
  const int tiles = args.gate.tiles;
  const int begin = tiles * warp / kProductWarps;
  const int end = tiles * (warp + 1) / kProductWarps;
  TileSums<kBlocks> mine[1];
  multiply_residual<GateRing<kCodes>, kRows>(args.residual, nullptr, matrices, row, begin, end, fragments,
                                             squares, mine);
  leave_sums(mine[0], sums + warp * kBlocks * kWarpSums, lane);
  __syncthreads();
  const auto i = static_cast<int>(threadIdx.x);
  if (i < args.residual.rows * kTileRows) {
    const int r = i / kTileRows;
    const int unit = i % kTileRows;
    m[i] = gelu_tanh(total<kBlocks>(sums, kProductWarps, unit, r)) *
           __ldcg(args.inputs + r * args.inputs_stride + row + unit);
  }
  __syncthreads();
  leave_fragments(m, kTileRows, args.residual.rows, static_cast<int>(row) / 8, args.m);
}

constexpr int kCombineThreads = 256;

/// Grid: (layers, rows).
__global__ void __launch_bounds__(kCombineThreads)
    combine_per_layer_kernel(const __grid_constant__ PerLayerCombination args) {
  __shared__ float shared[kWarp];
  let_next_start();
  const int64_t r = blockIdx.y;
  const int64_t width = int64_t{args.layers} * args.ple_dim;
  const int64_t base = int64_t{blockIdx.x} * args.ple_dim;
  const int32_t token = args.tokens[r];  // uploaded before the step
  const auto thread = static_cast<int>(threadIdx.x);
  // The table may be the host's: its latency passes while the product runs.
  const float first = thread < args.ple_dim ? element(args.table, token, base + thread) : 0.0F;
  wait_for_previous();
  const float* y = args.y + r * width + base;
  float squares = 0;
  for (int i = thread; i < args.ple_dim; i += kCombineThreads) {
    const float v = __ldcg(y + i) * args.projection_scale;
    squares += v * v;
  }
  squares = block_reduce<false>(squares, shared);
  const float inverse = rsqrtf(squares / static_cast<float>(args.ple_dim) + args.eps);
  for (int i = thread; i < args.ple_dim; i += kCombineThreads) {
    const float stored = i == thread ? first : element(args.table, token, base + i);
    const float projected = __ldcg(y + i) * args.projection_scale * inverse * args.norm[i];
    args.out[r * width + base + i] = (projected + stored * args.embed_scale) * args.combination_scale;
  }
}

/// A block a row.
__global__ void __launch_bounds__(kProductThreads)
    settle_kernel(const __grid_constant__ Residual residual, const float* norm, float* out) {
  __shared__ float shared[kWarp];
  let_next_start();
  wait_for_previous();
  const int64_t base = int64_t{blockIdx.x} * residual.hidden;
  const auto thread = static_cast<int>(threadIdx.x);
  float inverse_y = 0;
  if (residual.y != nullptr) {
    float squares = 0;
    for (int i = thread; i < residual.hidden; i += kProductThreads) {
      const float v = __ldcg(residual.y + base + i);
      squares += v * v;
    }
    inverse_y =
        rsqrtf(block_reduce<false>(squares, shared) / static_cast<float>(residual.hidden) + residual.eps);
  }
  const auto value = [&](int i) {
    const float x = __ldcg(residual.x + base + i);
    if (residual.y == nullptr) return x;
    return (x + __ldcg(residual.y + base + i) * inverse_y * residual.norm[i]) * residual.scale;
  };
  float factor = 1;
  if (norm != nullptr) {
    float squares = 0;
    for (int i = thread; i < residual.hidden; i += kProductThreads) squares += value(i) * value(i);
    factor =
        rsqrtf(block_reduce<false>(squares, shared) / static_cast<float>(residual.hidden) + residual.eps);
  }
  for (int i = thread; i < residual.hidden; i += kProductThreads) {
    const float v = value(i);
    if (residual.sum != nullptr) residual.sum[base + i] = v;
    out[base + i] = v * factor * (norm != nullptr ? norm[i] : 1.0F);
  }
}

// --- the head --------------------------------------------------------------------------------------------

struct Logits {
  const float* h;
  TileMatrix w;
  float* out;
  float cap;
  int rows;
};

/// Runs on from one row tile to the warp's next.
template <Codes kCodes>
class LogitsRing : public TileRing<kCodes, 1, kStages<kCodes>> {
  using Base = TileRing<kCodes, 1, kStages<kCodes>>;

 public:
  using Base::Base;

  /// `step`: row tiles from one of the warp's to the next.
  __device__ void start(const TileMatrix& w, int64_t row_tile, int64_t step) {
    tiles_ = w.tiles;
    next_codes_ = (step - 1) * w.tiles * Base::kTileVectors;
    next_pairs_ = step * w.groups * 8;
    const int64_t row_tiles = w.rows / kTileRows;
    rows_left_ = row_tile < row_tiles ? (row_tiles - row_tile + step - 1) / step : 0;
    this->codes_[0] = w.codes + row_tile * w.tiles * Base::kTileVectors + this->lane_;
    this->pairs_[0] = w.pairs + row_tile * w.groups * 8 + this->lane_ % 8;
    this->group_shift_ = w.group_shift;
    this->left_ = rows_left_ > 0 ? tiles_ : 0;
#pragma unroll 1
    for (int i = 0; i < kStages<kCodes>; ++i) {
      this->load_next(i);
      go_on();
    }
  }
  /// After a tile was loaded: where the next one is.
  __device__ void go_on() {
    if (this->left_ > 0 || rows_left_ <= 1) return;
    --rows_left_;
    this->left_ = tiles_;
    this->tile_ = 0;
    this->codes_[0] += next_codes_;
    this->pairs_[0] += next_pairs_;
  }

 private:
  int tiles_ = 0;
  int64_t next_codes_ = 0;
  int64_t next_pairs_ = 0;
  int64_t rows_left_ = 0;
};

/// Every warp takes whole row tiles, and loads the next one's first columns while it ends the last.
template <Codes kCodes, int kRows>
__global__ void __launch_bounds__(kProductThreads, kResident<kRows>)
    logits_kernel(const __grid_constant__ Logits args) {
  constexpr int kBlocks = kColumnBlocks<kRows>;
  extern __shared__ uint4 fragments[];
  __shared__ RowSums squares;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  let_next_start();
  const int64_t step = int64_t{gridDim.x} * kProductWarps;
  const int64_t first = int64_t{blockIdx.x} * kProductWarps + warp;
  const int tiles = args.w.tiles;
  const int hidden = tiles * kTileColumns;
  using Ring = LogitsRing<kCodes>;
  Ring ring(ring_memory<Ring>(fragments, shared_fragments(kRows, hidden), warp), lane);
  ring.start(args.w, first, step);
  Residual h;
  h.x = args.h;
  h.hidden = hidden;
  h.rows = args.rows;
  const HeldNorms<kRows> norms(h, nullptr);
  wait_for_previous();
  make_input<kRows>(h, nullptr, norms, false, fragments, squares);
  const InputColumns<kBlocks, true> input({fragments, shared_stride(hidden)}, 2 * args.rows, lane);

  int slot = 0;
#pragma unroll 1
  for (int64_t row_tile = first; row_tile < args.w.rows / kTileRows; row_tile += step) {
    TileSums<kBlocks> mine[1];
#pragma unroll 1
    for (int kt = 0; kt < tiles; ++kt) {
      ring.multiply_next(input, kt, slot, mine);
      ring.go_on();
      slot = slot + 1 == kStages<kCodes> ? 0 : slot + 1;
    }
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      const int r = 4 * n + lane % 4;
      if (r >= args.rows) continue;
      float* out = args.out + r * args.w.rows + row_tile * kTileRows + lane / 4;
      const auto capped = [&](float v) { return args.cap > 0 ? args.cap * tanhf(v / args.cap) : v; };
      out[0] = capped(mine[0].a[n]);
      out[8] = capped(mine[0].b[n]);
    }
  }
}

// --- launches --------------------------------------------------------------------------------------------

/// Calls f.template operator()<codes, rows>() for a matrix's kind and the batch's size.
template <class F>
void for_kinds(const TileMatrix& w, int rows, F f) {
  const auto sized = [&]<Codes kCodes>() {
    if (rows == 1) return f.template operator()<kCodes, 1>();
    if (rows <= 4) return f.template operator()<kCodes, 4>();
    return f.template operator()<kCodes, 8>();
  };
  switch (w.codes_kind) {
    case Codes::kQ4: return sized.template operator()<Codes::kQ4>();
    case Codes::kQ8: return sized.template operator()<Codes::kQ8>();
    default: return sized.template operator()<Codes::kBF16>();
  }
}

unsigned blocks(int64_t n, int64_t each) {
  return static_cast<unsigned>((n + each - 1) / each);
}

}  // namespace

void normed_products(const NormedProducts& args, cudaStream_t stream) {
  int64_t rows = 0;
  for (int i = 0; i < args.count; ++i) rows += args.w[i].rows;
  for_kinds(args.w[0], args.residual.rows, [&]<Codes kCodes, int kRows>() {
    LaunchShape shape;
    shape.grid = blocks(rows, kProductWarps / kSplits * kTileRows);
    shape.threads = kProductThreads;
    shape.shared =
        shared_bytes<ProductsRing<kCodes>>(shared_fragments(kRows, args.residual.hidden), kProductWarps);
    launch_dependent(normed_products_kernel<kCodes, kRows>, shape, stream, args);
  });
}

void normed_geglu(const Residual& residual, const float* norm, const TileMatrix& gate, const TileMatrix& up,
                  const Fragments& m, cudaStream_t stream) {
  for_kinds(gate, residual.rows, [&]<Codes kCodes, int kRows>() {
    LaunchShape shape;
    shape.grid = blocks(gate.rows, kUnits);
    shape.threads = kProductThreads;
    shape.shared = shared_bytes<GegluRing<kCodes>>(shared_fragments(kRows, residual.hidden), kProductWarps);
    launch_dependent(geglu_kernel<kCodes, kRows>, shape, stream, Geglu{residual, norm, gate, up, m});
  });
}

void fragment_product(const Fragments& a, int rows, const TileMatrix& w, float* y, cudaStream_t stream) {
  for_kinds(w, rows, [&]<Codes kCodes, int kRows>() {
    LaunchShape shape;
    shape.grid = blocks(w.rows, kTileRows);
    // A warp needs a tile to be of use, but sixteen threads a row write the result.
    static_assert(kDecodeRows * kTileRows <= 4 * kWarp);
    shape.threads = kWarp;
    shape.threads *= w.tiles >= 16 ? 16 : w.tiles >= 8 ? 8 : 4;
    const FragmentProduct args{a, w, y, rows};
    const auto warps = static_cast<int>(shape.threads) / kWarp;
    shape.shared = shared_bytes<FragmentRing<kCodes>>(shared_fragments(rows, w.cols()), warps);
    if (shape.shared > kMostShared) {
      shape.shared = shared_bytes<FragmentRing<kCodes>>(0, warps);
      return launch_dependent(fragment_product_kernel<kCodes, kRows, false>, shape, stream, args);
    }
    launch_dependent(fragment_product_kernel<kCodes, kRows, true>, shape, stream, args);
  });
}

void per_layer_gate(const Residual& residual, const TileMatrix& gate, const float* inputs,
                    int64_t inputs_stride, const Fragments& m, cudaStream_t stream) {
  for_kinds(gate, residual.rows, [&]<Codes kCodes, int kRows>() {
    LaunchShape shape;
    shape.grid = blocks(gate.rows, kTileRows);
    shape.threads = kProductThreads;
    shape.shared = shared_bytes<GateRing<kCodes>>(shared_fragments(kRows, residual.hidden), kProductWarps);
    launch_dependent(per_layer_gate_kernel<kCodes, kRows>, shape, stream,
                     PerLayerGate{residual, gate, inputs, inputs_stride, m});
  });
}

void combine_per_layer(const PerLayerCombination& args, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(args.layers), static_cast<unsigned>(args.rows));
  shape.threads = kCombineThreads;
  launch_dependent(combine_per_layer_kernel, shape, stream, args);
}

void settle(const Residual& residual, const float* norm, float* out, cudaStream_t stream) {
  LaunchShape shape;
  shape.grid = static_cast<unsigned>(residual.rows);
  shape.threads = kProductThreads;
  launch_dependent(settle_kernel, shape, stream, residual, norm, out);
}

bool logits(const float* h, int rows, const TileMatrix& w, float cap, float* out, const Device& device,
            cudaStream_t stream) {
  bool fits = false;
  for_kinds(w, rows, [&]<Codes kCodes, int kRows>() {
    LaunchShape shape;
    shape.grid = std::min(blocks(w.rows, kProductWarps * kTileRows),
                          static_cast<unsigned>(device.multiprocessors * kResident<kRows>));
    shape.threads = kProductThreads;
    shape.shared = shared_bytes<LogitsRing<kCodes>>(shared_fragments(kRows, w.cols()), kProductWarps);
    fits = shape.shared + sizeof(RowSums) <= device.shared_memory_a_block;
    if (fits) launch_dependent(logits_kernel<kCodes, kRows>, shape, stream, Logits{h, w, out, cap, rows});
  });
  return fits;
}

}  // namespace facet::cuda
