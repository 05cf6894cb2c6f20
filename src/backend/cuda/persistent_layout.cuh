// How the persistent step is laid out: over clusters, blocks and warps, and in a block's shared memory.
#pragma once

#include "backend/cuda/digits.cuh"
#include "backend/cuda/lane_attention.cuh"
#include "backend/cuda/persistent_step.h"
#include "backend/cuda/tape.cuh"

namespace facet::cuda::persistent {

using Shape = PersistentShape;
constexpr int kHidden = Shape::kHidden;
constexpr float kOfHidden = 1.0F / kHidden;
constexpr int kBlocks = 8;                 // of a cluster
constexpr int kSlice = kHidden / kBlocks;  // of the residual stream that a block sums up
constexpr int kHeadClusters = Shape::kHeads;
constexpr int kClusters = kPersistentClusters;
constexpr int kHelperClusters = kClusters - kHeadClusters;  // that do nothing but a part of the MLP

constexpr int kWorkerThreads = kWorkers * kWarp;
constexpr int kThreads = kWorkerThreads + 128;  // and a group of warps of which one issues the copies
constexpr int kWorkerRegisters = 152;
constexpr int kWriterRegisters = 56;
static_assert(4 * kWorkerThreads == kHidden);  // a worker thread holds four columns of the residual stream

/// What a block receives from the others of its cluster; each kind has a barrier of its own.
enum Gather { kQueries, kPartials, kSums, kMiddle, kPleMiddle, kGathers };

/// Units of the MLP that a cluster has: a helper, which has nothing else to do, a third more.
__host__ __device__ constexpr int cluster_units(int ffn_dim, bool helper) {
  return helper ? ffn_dim / 12 : ffn_dim / 16;
}
static_assert(kHeadClusters * cluster_units(Shape::kFfnUnit, false) +
                  kHelperClusters * cluster_units(Shape::kFfnUnit, true) ==
              Shape::kFfnUnit);
constexpr int kMostUnits = cluster_units(Shape::kMostFfn, true);
constexpr int kWarpColumns = kHidden / kWorkers;  // of an input that a warp multiplies: two tiles
static_assert(kWarpColumns == 4 * kWarp && kWarpColumns == 2 * kTileColumns);

/// Floats between the warps' shares of a product's row: gates and ups are the most that a block has.
constexpr int kShareStride = 2 * kMostUnits / kBlocks + 8;
static_assert(kSlice <= kShareStride);

/// Warps that sum up a block's slice of a row, two columns a lane.
constexpr int kPairColumns = 2 * kWarp;
constexpr int kSumWarps = kSlice / kPairColumns;
static_assert(kSumWarps * kPairColumns == kSlice && kSumWarps * kPersistentRows <= kWorkers);
static_assert(kSlice / 4 * kBlocks == kWorkerThreads);  // a worker thread sends four columns to a block

/// A block's shared memory.
template <int kRows>
struct Memory {
  float sums[kRows * kHidden];                                     // gathered
  union {                                                          // gathered
    float middle[kRows * kMostUnits];                              // of the MLP
    float partials[kBlocks * attention_stride(Shape::kMostHead)];  // the blocks' attention
  };
  float ple_middle[kRows * Shape::kPleDim];  // gathered
  float queries[3 * Shape::kMostHead];       // gathered: a head of q, k and v as projected
  union {
    float shares[kWorkers * kRows * kShareStride];                   // the warps', of a product
    float attention[kWorkers * attention_stride(Shape::kMostHead)];  // and of the attention
  };
  float rotations[2][Shape::kMostHead];             // by kind: cosines, then sines, of this block's row
  uint4 newest[2][2][Shape::kMostHead / 8];         // by kind: k and v of the step's own token
  uint4 digits[kWorkers][Digits<kRows>::kVectors];  // of each warp's input
  alignas(16) float squares_of_x[kRows * kWorkers];
  float squares_of_sums[2][kRows * kWorkers];  // by turns
  uint64_t gathers[kGathers];
  PersistentLayer layers[kPersistentLayers];  // a kernel's parameters are slow to come
  TapeSlots slots;
};
constexpr int kMostShared = 227 << 10;
template <int kRows>
constexpr int kRingBegin = (static_cast<int>(sizeof(Memory<kRows>)) + 127) / 128 * 128;
template <int kRows>
constexpr int kRingBytes = (kMostShared - kRingBegin<kRows>) / 128 * 128;

/// How the warps share the column tiles of a product: some split the columns, times some that split the rows.
struct Tiling {
  int column_warps;
  int each;     // column tiles of a warp: 1 or 2
  int groups;   // that split the rows
  int inverse;  // 256 / column_warps, rounded up: a division would take longer than a product's tile
  /// Of a warp: the group it is in, and its place there.
  [[nodiscard]] __device__ int group(int warp) const { return warp * inverse >> 8; }
  [[nodiscard]] __device__ int part(int warp) const { return warp - group(warp) * column_warps; }
  /// Row tiles of a chunk of the tape: two for each group.
  [[nodiscard]] __device__ int chunk_rows() const { return 2 * groups; }
};
/// Of 4, 6, 8, 12, 16 (a third of the warps are idle) or 24 column tiles. (No switch, which would be a jump
/// through a table, and no division.)
__host__ __device__ constexpr Tiling tiling_of(int column_tiles) {
  const bool two = column_tiles == 8 || column_tiles >= 16;
  const int warps = two ? column_tiles >> 1 : column_tiles;
  const int groups = warps == 4 ? 3 : warps == 6 ? 2 : 1;
  const int inverse = warps == 4 ? 64 : warps == 6 ? 43 : warps == 8 ? 32 : 22;
  return {warps, two ? 2 : 1, groups, inverse};
}

/// The tiles of a matrix that a block multiplies.
struct Portion {
  int row_tile, row_tiles;
  int column_tile, column_tiles;
  int columns;  // of the matrix, in tiles
};

/// What block `rank` of cluster `cluster` takes of each matrix: an eighth of some rows, by some columns.
struct Portions {
  int cluster, rank;

  [[nodiscard]] __device__ bool helper() const { return cluster >= kHeadClusters; }

  __device__ Portion of(int matrix, const PersistentLayer& layer) const {
    const int head = layer.head_dim;
    const int units = cluster_units(layer.ffn_dim, helper());
    const int first =
        helper() ? kHeadClusters * cluster_units(layer.ffn_dim, false) + (cluster - kHeadClusters) * units
                 : cluster * units;
    switch (matrix) {
      case kQ: return slice(cluster * head, head, 0, kHidden, kHidden);
      case kK:
      case kV: return slice(0, head, 0, kHidden, kHidden);
      case kO: return slice(0, kHidden, cluster * head, head, Shape::kHeads * head);
      case kGate:
      case kUp: return slice(first, units, 0, kHidden, kHidden);
      case kDown: return slice(0, kHidden, first, units, layer.ffn_dim);
      case kPleGate: return slice(0, Shape::kPleDim, 0, kHidden, kHidden);
      default: return slice(0, kHidden, 0, Shape::kPleDim, Shape::kPleDim);
    }
  }

 private:
  __device__ Portion slice(int row, int rows, int column, int width, int columns) const {
    const int tiles = rows / kBlocks / kTileRows;
    return {row / kTileRows + rank * tiles, tiles, column / kTileColumns, width / kTileColumns,
            columns / kTileColumns};
  }
};

/// A launch's layers; of a kernel for whole steps known where it is compiled.
template <bool kInSpans>
__device__ LayerSpan span_of(const PersistentStep& step) {
  if constexpr (kInSpans) return step.span;
  return {0, step.layer_count, false, false};
}

/// The row of the step whose keys a block looks at, and which of them: [begin, end) of those before the
/// step's own, and whether the own one, too.
template <int kRows>
class BlockKeys {
 public:
  static constexpr int kSpans = kBlocks / kRows;  // blocks that share a row's keys

  /// `first_layer`: of this launch.
  __device__ BlockKeys(const PersistentStep& step, int first_layer, int rank)
      : span_(rank % kSpans), first_layer_(first_layer) {
    const int row = rank / kSpans;
    if (row >= step.rows) return;
    position = step.positions[row];
    sequence = step.sequences[row];
  }

  struct Range {
    int begin, end;
    bool newest;
  };
  [[nodiscard]] __device__ Range of(const PersistentLayer& layer) const {
    if (position < 0) return {0, 0, false};
    const int first = layer.window > 0 ? max(0, position - layer.window + 1) : 0;
    const int64_t count = position + 1 - first;
    // What an earlier launch of the step has stored is a key like the others.
    const bool stored = first_layer_ > 0 && layer.kv_source < first_layer_;
    return {first + static_cast<int>(count * span_ / kSpans),
            min(first + static_cast<int>(count * (span_ + 1) / kSpans), position + (stored ? 1 : 0)),
            !stored && span_ + 1 == kSpans};
  }
  /// Where a position lies in the cache: rows of one head.
  [[nodiscard]] __device__ int64_t slot(const PersistentLayer& layer, int at) const {
    const int32_t page =
        __ldg(layer.pages + int64_t{sequence} * layer.page_stride + at / kPageTokens % layer.page_stride);
    return int64_t{page} * kPageTokens + at % kPageTokens;
  }

  int position = -1;  ///< the step's own; -1: no row
  int sequence = 0;

 private:
  int span_;
  int first_layer_;
};

}  // namespace facet::cuda::persistent
