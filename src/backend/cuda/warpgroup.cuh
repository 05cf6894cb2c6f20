// Hopper's matrix instruction: four warps multiply from shared memory, asynchronously. sm_90a alone.
//
// Operands in shared memory are panels of 64 bf16 columns: rows of 128 bytes, 1,024-byte aligned, whose
// 16-byte chunks are XORed with the row's number modulo 8 (the 128-byte swizzle). The accumulators are four
// warps' m16n8 fragments: warp w has rows 16 w to 16 w + 15 of the 64, laid out as tensor_core.cuh says.
#pragma once

#include <cstdint>

#include "backend/cuda/tensor_core.cuh"

namespace facet::cuda {

/// Bytes of a panel's row.
constexpr int kPanelRow = 128;
constexpr int kPanelColumns = 64;

/// Byte offset of a 16-byte chunk in an operand of `rows` rows.
__device__ inline uint32_t panel_offset(int row, int chunk, int rows) {
  return static_cast<uint32_t>(chunk / 8 * rows * kPanelRow + row * kPanelRow + (((chunk ^ row) & 7) << 4));
}

/// The matrix descriptor of what begins at a shared address: 128-byte swizzle, 8-row groups 1,024 bytes
/// apart.
__device__ inline uint64_t panel_descriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kGroups = uint64_t{1024 >> 4} << 32;
  constexpr uint64_t kUnused = uint64_t{1} << 16;  // the leading offset: no operand is wider than a panel
  return kSwizzle128 | kGroups | kUnused | (uint64_t{address >> 4} & 0x3FFF);
}

/// What ordinary and cp.async stores of this thread wrote to shared memory is visible to the matrix unit
/// after the next barrier.
__device__ inline void publish_to_matrix_unit() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Before the first product on registers that other instructions wrote.
__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Waits for all products begun; their accumulators may be read after it.
__device__ inline void finish_products() {
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}
/// Keeps reads and writes of accumulators on their side of the waits.
template <int kTiles>
__device__ inline void pin_registers(float (&c)[kTiles][4]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(c[n][i])::"memory");
}

/// c [64, 64] = a [64, 16] · b [64, 16]ᵀ, added to c where `add`. Both in shared memory, 16 columns of
/// panels.
__device__ inline void multiply_panels(float (&c)[8][4], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, 0;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3])
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

/// c [64, 64] += a [64, 16] · b [16, 64]: a in registers, each warp's m16k16 fragment; b 16 rows of a panel.
__device__ inline void multiply_rows_by_panel(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]),
        "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
        "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]),
        "+f"(c[7][2]), "+f"(c[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

}  // namespace facet::cuda
