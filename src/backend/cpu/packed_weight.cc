#include "backend/cpu/packed_weight.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "backend/cpu/block_groups.h"
#include "base/error.h"
#include "quant/dequantize.h"

namespace facet::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

int64_t round_up(int64_t n, int64_t multiple) noexcept {
  return (n + multiple - 1) / multiple * multiple;
}

int64_t scale_bytes(ScaleKind kind) noexcept {
  return kind == ScaleKind::kF32 ? 4 : 2;
}

ScaleKind scale_kind_of(DType dtype) noexcept {
  return dtype == DType::kBF16 ? ScaleKind::kBF16 : dtype == DType::kF16 ? ScaleKind::kF16 : ScaleKind::kF32;
}

/// The tile that holds `stored` exactly.
PackedMatrix layout_of(const MatrixView& stored) {
  PackedMatrix m;
  m.rows = stored.rows;
  m.cols = stored.cols;
  switch (stored.encoding) {
    case Encoding::kAffine4:
    case Encoding::kAffine8:
      m.kind = stored.encoding == Encoding::kAffine4 ? TileKind::kQ4 : TileKind::kQ8;
      m.group = stored.group_size;
      m.scale_kind = scale_kind_of(stored.scale_dtype);
      if ((m.group != 32 && m.group != 64 && m.group != 128) || m.cols % m.group != 0)
        throw bad_input(fmt::format("group size: expected 32, 64 or 128, dividing the {} columns, got {}",
                                    m.cols, m.group));
      break;
    case Encoding::kF16: m.kind = TileKind::kF16; break;
    case Encoding::kBF16: m.kind = TileKind::kBF16; break;
    default:
      if (const auto form = group_form(stored.encoding)) {
        m.kind = form->kind;
        m.scale_kind = form->scale_kind;
        m.group = form->group;
      } else {
        m.kind = TileKind::kF32;
      }
      break;
  }
  m.cols = round_up(m.cols, kLanes);
  if (m.group > 0) {
    const int64_t code_bytes = int64_t{kTileRows} * m.group * (m.kind == TileKind::kQ4 ? 4 : 8) / 8;
    m.tile_bytes = m.cols / m.group * (2 * kTileRows * scale_bytes(m.scale_kind) + code_bytes);
  } else {
    m.tile_bytes = m.cols * kTileRows * (m.kind == TileKind::kF32 ? 4 : 2);
  }
  return m;
}

/// Spreads the four nibbles of `x`'s low half over four bytes, in order.
uint32_t spread_nibbles(uint32_t x) noexcept {
  x = (x | (x << 8)) & 0x00ff00ffU;
  return (x | (x << 4)) & 0x0f0f0f0fU;
}

/// Writes one row of an affine matrix into its lane of a tile.
void pack_affine_row(const MatrixView& stored, const PackedMatrix& m, int64_t row, int64_t lane,
                     std::byte* tile) noexcept {
  const int64_t width = scale_bytes(m.scale_kind);
  const int64_t groups = m.cols / m.group;
  const bool four_bits = m.kind == TileKind::kQ4;
  const int64_t words = m.group / (four_bits ? 8 : 4);  // of one row and group: 4 bytes each
  const std::byte* codes = stored.data + row * stored.row_bytes();
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t scale = (row * groups + g) * width;
    std::memcpy(tile + lane * width, stored.scales + scale, static_cast<size_t>(width));
    std::memcpy(tile + (kTileRows + lane) * width, stored.biases + scale, static_cast<size_t>(width));
    tile += 2 * kTileRows * width;
    for (int64_t i = 0; i < words; ++i) {
      uint32_t word = 0;
      std::memcpy(&word, codes, 4);
      codes += 4;
      if (four_bits) word = spread_nibbles(word & 0xffffU) | spread_nibbles(word >> 16) << 4;
      std::memcpy(tile + (i * kTileRows + lane) * 4, &word, 4);
    }
    tile += words * kTileRows * 4;
  }
}

void store_scale(ScaleKind kind, float value, std::byte* to) noexcept {
  if (kind == ScaleKind::kF32) {
    std::memcpy(to, &value, 4);
  } else {
    const uint16_t h = f32_to_f16(value);  // exact: a block's own f16, or that times a power of two
    std::memcpy(to, &h, 2);
  }
}

/// Writes one row of GGUF blocks into its lane of a tile.
void pack_block_row(const MatrixView& stored, const PackedMatrix& m, int64_t row, int64_t lane,
                    std::byte* tile) noexcept {
  const int64_t width = scale_bytes(m.scale_kind);
  const int elements = encoding_block(stored.encoding);
  std::array<uint8_t, kMostBlock> codes;
  std::array<float, kMostGroups> scales;
  std::array<float, kMostGroups> biases;
  const std::byte* block = stored.data + row * stored.row_bytes();
  for (int64_t b = 0; b < stored.cols / elements; ++b, block += encoding_block_bytes(stored.encoding)) {
    split_block(stored.encoding, block, codes.data(), scales.data(), biases.data());
    const uint8_t* q = codes.data();
    for (size_t g = 0; g < static_cast<size_t>(elements / m.group); ++g) {
      store_scale(m.scale_kind, scales[g], tile + lane * width);
      store_scale(m.scale_kind, biases[g], tile + (kTileRows + lane) * width);
      tile += 2 * kTileRows * width;
      const int step = m.kind == TileKind::kQ4 ? 8 : 4;
      for (int k = 0; k < m.group; k += step, q += step, tile += kTileRows * 4) {
        std::array<uint8_t, 4> word = {q[0], q[1], q[2], q[3]};
        if (m.kind == TileKind::kQ4)
          for (size_t j = 0; j < 4; ++j) word[j] = static_cast<uint8_t>(word[j] | q[j + 4] << 4);
        std::memcpy(tile + lane * 4, word.data(), 4);
      }
    }
  }
}

/// Writes one row of floats into its lane. 16-bit elements are copied as they are.
void pack_float_row(const MatrixView& stored, const PackedMatrix& m, int64_t row, int64_t lane,
                    float* scratch, std::byte* tile) noexcept {
  if (m.kind == TileKind::kF32) {
    dequantize_row(stored, row, scratch);
    for (int64_t k = 0; k < stored.cols; ++k) std::memcpy(tile + (k * kTileRows + lane) * 4, scratch + k, 4);
    return;
  }
  const std::byte* from = stored.data + row * stored.row_bytes();
  for (int64_t k = 0; k < stored.cols; ++k) {
    const int64_t place =
        m.kind == TileKind::kBF16 ? (k / 2 * kTileRows + lane) * 2 + k % 2 : k * kTileRows + lane;
    std::memcpy(tile + 2 * place, from + 2 * k, 2);
  }
}

}  // namespace

Buffer allocate_pages(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : 4096;
  const size_t size = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  // Mapped with room to align; the slack is never touched, so it costs address space alone.
  const size_t mapped = size + (alignment > 4096 ? alignment : 0);
  void* base = mapped < bytes
                   ? MAP_FAILED
                   : ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    throw Error(ErrorCode::kDevice, fmt::format("not enough memory: {} MiB wanted", bytes >> 20));
  const auto address = reinterpret_cast<uintptr_t>(base);
  auto* aligned = static_cast<std::byte*>(base) + ((alignment - address % alignment) % alignment);
  if (alignment == kHugePage) ::madvise(aligned, size, MADV_HUGEPAGE);  // a wish: works without
  return {aligned, [base, mapped](std::byte*) { ::munmap(base, mapped); }};
}

PackedWeight::PackedWeight(const MatrixView& stored, ThreadPool& pool)
    : Weight(stored), matrix_(layout_of(stored)) {
  const PackedMatrix& m = matrix_;
  const int64_t tiles = (m.rows + kTileRows - 1) / kTileRows;
  bytes_ = tiles * m.tile_bytes;
  // Kernels prefetch beyond their tile: harmless past the end, as prefetches do not fault.
  memory_ = allocate_pages(static_cast<size_t>(bytes_));
  std::byte* const data = memory_.get();
  const bool expands = m.kind == TileKind::kF32;
  std::vector<float> scratch(expands ? static_cast<size_t>(stored.cols * pool.size()) : 0);
  pool.run([&](int thread) noexcept {
    const StaticRange mine = static_range(tiles, thread, pool.team());
    float* row_scratch = expands ? scratch.data() + thread * stored.cols : nullptr;
    for (int64_t row = mine.begin * kTileRows; row < std::min(mine.end * kTileRows, m.rows); ++row) {
      std::byte* tile = data + row / kTileRows * m.tile_bytes;
      if (stored.is_affine())
        pack_affine_row(stored, m, row, row % kTileRows, tile);
      else if (m.group > 0)
        pack_block_row(stored, m, row, row % kTileRows, tile);
      else
        pack_float_row(stored, m, row, row % kTileRows, row_scratch, tile);
    }
  });
  matrix_.data = reinterpret_cast<const unsigned char*>(data);
}

}  // namespace facet::cpu
