// Activations as the tensor cores take them.
//
// mma.m16n8k16 multiplies 16 weight rows with 8 columns of bf16 activations. bf16 alone would cost 8 bits of
// the activations' mantissa, but a decode step has columns to spare: row r of a batch takes two of them, 2r
// for the value rounded to bf16 and 2r + 1 for what the rounding left, and the products' sum is that of the
// f32 value but for 2⁻¹⁷ of it.
//
// Which of the 16 columns of an mma a weight's column becomes is free, as long as weights and activations
// agree. They agree on this: in a tile of 64 columns, lane group t (of 4) has columns 16t to 16t + 15, so
// that a row's codes are one aligned load a lane; within 8 of them, the pairs are (0, 4), (1, 5), (2, 6), (3,
// 7), which is how nibbles come out of a word.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace facet::cuda {

constexpr int kTileColumns = 64;
constexpr int kTileRows = 16;

/// [2 · rows, chunks] of 8 columns each: four words, pair (j, j + 4) in word j. The chunks of a tile lie in
/// the order that lets the four lane groups read theirs side by side.
struct Fragments {
  uint4* chunks = nullptr;
  int stride = 0;  ///< chunks from one column of the mma to the next
};

/// Where columns [8c, 8c + 8) lie in a row of chunks.
__host__ __device__ inline int chunk_place(int c) {
  const int in_tile = c % 8;
  return c - in_tile + in_tile % 2 * 4 + in_tile / 2;
}

}  // namespace facet::cuda
