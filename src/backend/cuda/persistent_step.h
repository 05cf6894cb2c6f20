// All layers of a decode step of Gemma 4 E2B in one kernel, of fourteen clusters of eight blocks.
//
// A kernel's end costs microseconds, and so does a barrier of the whole grid; between a layer's six products
// and its attention that is more than the products take. E2B has eight query heads, so eight clusters have
// one each: a cluster projects, rotates and attends its head, takes an eighth of the output projection's
// columns, its part of the MLP, and the whole per-layer embedding, which is small. Six more help with the
// MLP. Within a cluster a vector is passed on through the blocks' shared memory in a third of a microsecond;
// only the two sums over clusters, and the per-layer embedding for the helpers, go through global memory
// (cluster_exchange.cuh). (Clusters of sixteen would be faster still, but an H100 has room for seven of
// them.) Weights and keys arrive by bulk copies that run ahead of all of that (tape.cuh).
//
// All pointers are device memory. Compute capability 9.0.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/tile_matrix.h"

namespace facet::cuda {

/// The sizes the kernel is made for: E2B's. The MLP has kFfnUnit times 1 or 2 units, a head 256 or 512
/// values.
struct PersistentShape {
  static constexpr int kHidden = 1536;
  static constexpr int kHeads = 8;
  static constexpr int kKvHeads = 1;
  static constexpr int kPleDim = 256;
  static constexpr int kFfnUnit = 6144;
  static constexpr int kMostFfn = 2 * kFfnUnit;
  static constexpr int kMostHead = 512;
};
constexpr int kPersistentRows = 4;  ///< most rows of a step
/// Positions of one row from which a step is faster in spans (below): in the kernel, eight clusters read the
/// keys of a full layer each on its own. Of several rows, a quarter: fewer blocks share a row's.
constexpr int kSpansContext = 3600;
constexpr int kPersistentLayers = 40;  ///< most layers: they are kernel parameters

/// Two values, each with the number of its exchange.
struct alignas(16) TaggedPair {
  float first = 0;
  uint32_t first_tag = 0;
  float second = 0;
  uint32_t second_tag = 0;
};

/// Of eight blocks, one for each query head and the helpers; an H100 has room for 15.
constexpr int kPersistentClusters = 14;

/// What the clusters tell each other, and what one step leaves to the next (cluster_exchange.cuh). The sums:
/// attention's, and the MLP's by turns, as a helper may be a layer behind in reading them.
struct ClusterExchange {
  static constexpr int kSums = 3;
  uint64_t sums[kSums][kPersistentRows][PersistentShape::kHidden];
  /// What each cluster has added to them last.
  uint64_t added[kSums][kPersistentClusters][kPersistentRows][PersistentShape::kHidden];
  TaggedPair ple[kPersistentRows][PersistentShape::kHidden / 2];
  uint32_t tag;   ///< of the last of those
  uint32_t laps;  ///< a bit a sum and row: whether it was made an odd number of times
};

/// A matrix in tiles, of a shape and kind that the step knows.
struct TapeMatrix {
  const uint4* codes = nullptr;
  const uint2* pairs = nullptr;
};

/// A layer's matrices in the order in which a step reads them.
enum LayerMatrix : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown, kPleGate, kPleProjection, kLayerMatrices };

using LayerMatrices = TapeMatrix[kLayerMatrices];  // K and V without codes: another layer's cache

/// What a layer has beside its matrices.
struct PersistentLayer {
  const float* input_norm = nullptr;
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  const float* post_attention_norm = nullptr;
  const float* pre_ffn_norm = nullptr;
  const float* post_ffn_norm = nullptr;
  const float* post_ple_norm = nullptr;
  const float* ple_inputs = nullptr;  // [rows, kPleDim], ple_stride apart
  float layer_scalar = 1;
  bool v_norm = true;
  bool owns_kv = false;
  int head_dim = 0;
  int window = 0;
  int ffn_dim = 0;
  int kv_source = 0;  // the layer whose keys it attends to
  // The cache; bf16.
  std::byte* k_cache = nullptr;
  std::byte* v_cache = nullptr;
  const int32_t* pages = nullptr;
  int page_stride = 0;

  /// Of the two kinds of attention: 0 slides.
  [[nodiscard]] __host__ __device__ int kind() const { return window > 0 ? 0 : 1; }
};

/// The layers of one launch: all, or those between two attentions that a kernel of their own computes, over
/// all multiprocessors (decode.h). Then the first layer begins behind its attention, or the last ends before
/// it.
struct LayerSpan {
  int begin = 0, end = 0;
  bool begins_attended = false;
  bool ends_projected = false;
};

struct PersistentStep {
  PersistentLayer layers[kPersistentLayers];
  LayerMatrices matrices[kPersistentLayers];
  int layer_count = 0;
  LayerSpan span;
  int rows = 0;
  Codes codes = Codes::kQ4,
        ple_codes = Codes::kQ8;  ///< of the layers' products, of the per-layer embedding's
  int group_shift = 0, ple_group_shift = 0;
  float eps = 0;
  float attention_scale = 1;
  int ple_stride = 0;
  const float* inv_freq[2] = {};  // [head_dim / 2] by kind()
  int head_dim[2] = {};           // by kind()
  const int32_t* positions = nullptr;
  const int32_t* sequences = nullptr;
  float* x = nullptr;  // [rows, hidden]: in, and the last layer's out
  const float* final_norm = nullptr;
  float* out = nullptr;  // [rows, hidden]: rms(x) · final_norm, of the last span
  // Of a layer that another kernel attends: q [rows, heads · head_dim], k and v [rows, head_dim] as
  // projected, and what comes back, like q.
  float *q = nullptr, *k = nullptr, *v = nullptr;
  const float* attended = nullptr;      // null: the launch is of all layers
  ClusterExchange* exchange = nullptr;  // zero before the first step
};

[[nodiscard]] inline bool runs_in_spans(const StepShape& shape) noexcept {
  return int64_t{shape.last_position} * (shape.rows > 1 ? kPersistentRows : 1) >= kSpansContext;
}

/// Whether this device can hold the whole grid at once, and has the kernel for these sizes and codes.
[[nodiscard]] bool serves_persistent(const PersistentStep& step) noexcept;
void persistent_step(const PersistentStep& step, cudaStream_t stream);

}  // namespace facet::cuda
