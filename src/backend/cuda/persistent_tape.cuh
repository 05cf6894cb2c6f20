// What a block of the persistent step has put on its tape: weights and keys, in the order of their use.
#pragma once

#include "backend/cuda/dependent_launch.cuh"
#include "backend/cuda/persistent_layout.cuh"

namespace facet::cuda::persistent {

/// Chunks of as many row tiles as the workers take at once: their codes, then their scales and biases.
template <Codes kCodes>
__device__ void put(TapeWriter& tape, const TapeMatrix& m, const Portion& portion, int group_shift) {
  constexpr int kTileVectors = Tile<kCodes>::kVectors * kWarp;
  const int rows = tiling_of(portion.column_tiles).chunk_rows();
  const int groups = portion.columns >> group_shift;
  const auto* codes =
      m.codes + (int64_t{portion.row_tile} * portion.columns + portion.column_tile) * kTileVectors;
  const auto* pairs =
      m.pairs + (int64_t{portion.row_tile} * groups + (portion.column_tile >> group_shift)) * 8;
  const auto code_bytes = static_cast<uint32_t>(portion.column_tiles * kTileVectors * 16);
  const auto pair_bytes = static_cast<uint32_t>((portion.column_tiles >> group_shift) * 64);
  const bool whole = portion.column_tiles == portion.columns;  // then rows follow each other
#pragma unroll 1
  for (int i = 0; i < portion.row_tiles; i += rows) {
    const int pieces = whole ? 1 : rows;
    const auto piece_rows = static_cast<uint32_t>(whole ? rows : 1);
    tape.begin(static_cast<uint32_t>(rows) * (code_bytes + pair_bytes));
#pragma unroll 1
    for (int j = 0; j < pieces; ++j)
      tape.copy(codes + j * portion.columns * kTileVectors, piece_rows * code_bytes);
#pragma unroll 1
    for (int j = 0; j < pieces; ++j) tape.copy(pairs + j * groups * 8, piece_rows * pair_bytes);
    codes += rows * portion.columns * kTileVectors;
    pairs += rows * groups * 8;
  }
}

/// Gates and ups, a row tile of each in a chunk.
template <Codes kCodes>
__device__ void put_gate_up(TapeWriter& tape, const LayerMatrices& matrices, const Portion& portion,
                            int group_shift) {
  const auto code_bytes = static_cast<uint32_t>(portion.columns) * Tile<kCodes>::kVectors * kWarp * 16;
  const auto pair_bytes = static_cast<uint32_t>(portion.columns >> group_shift) * 64;
#pragma unroll 1
  for (int i = 0; i < portion.row_tiles; ++i) {
    const int64_t row = portion.row_tile + i;
    tape.begin(2 * (code_bytes + pair_bytes));
#pragma unroll
    for (const int m : {kGate, kUp})
      tape.copy(reinterpret_cast<const std::byte*>(matrices[m].codes) + row * code_bytes, code_bytes);
#pragma unroll
    for (const int m : {kGate, kUp})
      tape.copy(reinterpret_cast<const std::byte*>(matrices[m].pairs) + row * pair_bytes, pair_bytes);
  }
}

/// Keys, then their values.
template <int kRows>
__device__ void put_keys(TapeWriter& tape, const PersistentLayer& layer, const BlockKeys<kRows>& keys) {
  const auto range = keys.of(layer);
  const auto row_bytes = static_cast<uint32_t>(layer.head_dim * 2);
  const int most = keys_in_chunk(layer.head_dim);
#pragma unroll 1
  for (int begin = range.begin; begin < range.end; begin += most) {
    const int end = min(begin + most, range.end);
    tape.begin(static_cast<uint32_t>(end - begin) * 2 * row_bytes);
    for (const std::byte* cache : {layer.k_cache, layer.v_cache})
      for (int at = begin, next = 0; at < end; at = next) {  // page by page
        next = min(at / kPageTokens * kPageTokens + kPageTokens, end);
        tape.copy(cache + keys.slot(layer, at) * row_bytes, static_cast<uint32_t>(next - at) * row_bytes);
      }
  }
}

template <Codes kCodes, Codes kPleCodes, int kRows, bool kInSpans>
__device__ void write_tape(const PersistentStep& step, const PersistentLayer* layers,
                           const Portions& portions, TapeWriter tape) {
  const LayerSpan span = span_of<kInSpans>(step);
  const BlockKeys<kRows> keys(step, span.begin, portions.rank);  // positions were uploaded before the step
#pragma unroll 1
  for (int l = span.begin; l < span.end; ++l) {
    const PersistentLayer& layer = layers[l];
    const LayerMatrices& matrices = step.matrices[l];
    const bool attended = span.begins_attended && l == span.begin;
    const int end = span.ends_projected && l + 1 == span.end ? kO : kLayerMatrices;
#pragma unroll 1
    for (int m = attended ? kO : kQ; m < end; ++m) {
      if (portions.helper() && m != kGate && m != kDown) continue;
      if (m == kGate) put_gate_up<kCodes>(tape, matrices, portions.of(m, layer), step.group_shift);
      if (m == kGate || m == kUp) continue;
      if (m == kO && !attended) {
        wait_for_previous();  // weights need not
        put_keys<kRows>(tape, layer, keys);
      }
      const TapeMatrix& matrix = matrices[m];
      if (matrix.codes == nullptr) continue;
      if (kCodes == kPleCodes || m < kPleGate)
        put<kCodes>(tape, matrix, portions.of(m, layer),
                    m < kPleGate ? step.group_shift : step.ple_group_shift);
      else
        put<kPleCodes>(tape, matrix, portions.of(m, layer), step.ple_group_shift);
    }
  }
}

}  // namespace facet::cuda::persistent
