// y = x Wᵀ for quantised weights and many rows on AMX. Included by isa_amx.cc alone.
//
// A panel's codes lie as TDPBSUD wants its second operand: four columns of 16 weight rows a line. The product
// of 16 token rows with 16 weight rows over a group comes out as exact integers; folding them into the sums
// is the rest of the work, in the order and the operations of every other path, so the results are theirs to
// the bit.
#pragma once

#include "backend/cpu/product_kernels.h"
#include "backend/cpu/simd_amx.h"

namespace facet::cpu {

class AmxProduct {
 public:
  /// With fewer rows AVX-512 is as fast (16 rows: 399 µs against 463 for 2048 × 1536).
  static constexpr int kFewestRows = Amx::kTokens + 1;

  static void run(const ProductArgs& args) {
    with_codes(*args.w, [&]<int kBits, ScaleKind kScale, int kFold>() {
      const int group = args.w->group;
      const Amx::Shaped shaped(smaller(group, Amx::kMostColumns));
      const int64_t end = (args.row_end + kTileRows - 1) / kTileRows;
      int64_t tile = args.row_begin / kTileRows;
      for (; tile + kPanelTiles <= end; tile += kPanelTiles)
        panel_tiles<kBits, kScale, kPanelTiles>(args, tile);
      for (; tile < end; ++tile) panel_tiles<kBits, kScale, 1>(args, tile);
    });
  }

 private:
  // What a panel has more of its weight rows, the activations are read less often for. It takes half the
  // first-level cache.
  static constexpr int kPanelTiles = 4;
  static constexpr int64_t kPanelCodes = int64_t{24} * 1024;
  static constexpr int kMostGroups = 3;  // multiplied before they are folded
  static constexpr int kSums = kTileRows * Amx::kTokens;
  static constexpr int64_t kGroupBytes = int64_t{2} * 2 * kSums * 4;
  using Dots = int32_t[kMostGroups][2][2][kSums];  // [groups][token blocks][tiles][tokens × weight rows]

  template <class T>
  static T smaller(T a, T b) {
    return a < b ? a : b;
  }

  /// Sixteen tokens. The last block reaches back into the one before it to be whole: `done` of its rows are
  /// that one's.
  struct TokenBlock {
    int begin;
    int done;
    int end;
  };
  static TokenBlock token_block(int rows, int index) {
    const int first = index * Amx::kTokens;
    const int end = smaller(first + Amx::kTokens, rows);
    const int begin = end - Amx::kTokens;
    return {begin, first - begin, end};
  }

  template <int kBits, ScaleKind kScale, int kWidth>
  static void panel_tiles(const ProductArgs& args, int64_t tile) {
    const int rows = args.a->rows;
    const int blocks = (rows + Amx::kTokens - 1) / Amx::kTokens;
    Product<Amx>::by_panels<kBits, kScale, kWidth, kPanelCodes>(
        args, tile,
        [&](const unsigned char* codes, const float* scales, int64_t begin, int64_t end,
            PanelAhead& /*ahead*/) {
          for (int block = 0; block < blocks;)
            block += with_count<2>(blocks - block, [&]<int kBlocks>() {
              TokenBlock tokens[kBlocks];
              for (int b = 0; b < kBlocks; ++b) tokens[b] = token_block(rows, block + b);
              for (int64_t g = begin; g < end;)
                g += with_count<kMostGroups>(
                    static_cast<int>(smaller<int64_t>(end - g, kMostGroups)), [&]<int kGroups>() {
                      multiply_and_fold<kWidth, kBlocks, kGroups>(
                          args, tile, codes + (g - begin) * args.w->group * kWidth * kTileRows,
                          scales + (g - begin) * kWidth * 2 * kTileRows, g, tokens);
                    });
            });
        });
  }

  /// kGroups groups of a panel that is kWidth tiles wide, a pair of them at a time, or a lone one.
  template <int kWidth, int kBlocks, int kGroups>
  static void multiply_and_fold(const ProductArgs& args, int64_t tile, const unsigned char* codes,
                                const float* scales, int64_t group, const TokenBlock (&tokens)[kBlocks]) {
    constexpr int kTiles = kWidth == 1 ? 1 : 2;
    static_assert(kWidth % kTiles == 0);
    alignas(64) Dots dots;
    const Activations& a = *args.a;
    const int columns = args.w->group;
    for (int first = 0; first < kWidth; first += kTiles) {
      Amx::fence();
      for (int g = 0; g < kGroups; ++g) {
        const int8_t* x[2] = {a.codes + tokens[0].begin * a.stride + (group + g) * columns,
                              a.codes + tokens[kBlocks - 1].begin * a.stride + (group + g) * columns};
        multiply<kTiles, kBlocks>(codes + (g * columns * kWidth + first * 4) * kTileRows, kWidth * 64, x,
                                  a.stride, columns, dots[g]);
      }
      for (int b = 0; b < kBlocks; ++b)
        for (int i = 0; i < kTiles; ++i)
          fold<kGroups>(args, tile + first + i, tokens[b], scales + (first + i) * 2 * kTileRows,
                        kWidth * 2 * kTileRows, group, dots[0][b][i]);
    }
  }

  /// dots[block][tile][token · 16 + weight row] over one group's columns; four columns of codes lie `line`
  /// bytes from the next four.
  template <int kTiles, int kBlocks>
  static void multiply(const unsigned char* codes, int64_t line, const int8_t* const (&x)[2], int64_t stride,
                       int columns, int32_t (&dots)[2][2][kSums]) {
    _tile_zero(0);
    if constexpr (kTiles == 2) _tile_zero(1);
    if constexpr (kBlocks == 2) _tile_zero(2);
    if constexpr (kBlocks == 2 && kTiles == 2) _tile_zero(3);
    for (int k = 0; k < columns; k += Amx::kMostColumns, codes += Amx::kMostColumns / 4 * line) {
      _tile_loadd(4, x[0] + k, stride);
      _tile_loadd(6, codes, line);
      _tile_dpbsud(0, 4, 6);
      if constexpr (kTiles == 2) {
        _tile_loadd(7, codes + 64, line);
        _tile_dpbsud(1, 4, 7);
      }
      if constexpr (kBlocks == 2) {
        _tile_loadd(5, x[1] + k, stride);
        _tile_dpbsud(2, 5, 6);
      }
      if constexpr (kBlocks == 2 && kTiles == 2) _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, dots[0][0], 64);
    if constexpr (kTiles == 2) _tile_stored(1, dots[0][1], 64);
    if constexpr (kBlocks == 2) _tile_stored(2, dots[1][0], 64);
    if constexpr (kBlocks == 2 && kTiles == 2) _tile_stored(3, dots[1][1], 64);
  }

  /// Adds kGroups groups of a block to its outputs. scales: [groups] of 16 scales and 16 biases, `step`
  /// apart; dots: [groups], a whole [2][2][kSums] apart.
  template <int kGroups>
  static void fold(const ProductArgs& args, int64_t tile, const TokenBlock& tokens, const float* scales,
                   int step, int64_t group, const int32_t* dots) {
    const int64_t row = tile * kTileRows;
    const bool whole = row >= args.row_begin && row + kTileRows <= args.row_end;
    // Copies: the compiler has to think that storing sums changes what it reads through pointers.
    const int64_t ldy = args.ldy;
    const int64_t groups = args.a->groups;
    const int first = tokens.begin + tokens.done;
    const int end = tokens.end;
    float* y = args.y + first * ldy + (row - args.row_begin);
    const float* x_scales = args.a->scales + first * groups + group;
    const float* x_sums = args.a->sums + first * groups + group;
    const auto* dot = reinterpret_cast<const unsigned char*>(dots + tokens.done * kTileRows);
    Amx::F s[kGroups];
    Amx::F b[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      s[g] = Amx::load(scales + g * step);
      b[g] = Amx::load(scales + g * step + kTileRows);
    }
    for (int token = first; token < end; ++token) {
      auto sum = group == 0 ? Amx::zero() : whole ? Amx::load(y) : load_some_lanes<Amx>(args, row, y);
      for (int g = 0; g < kGroups; ++g)
        sum = add_group<Amx>(sum, s[g], b[g], Amx::load_int(dot + g * kGroupBytes), x_scales[g], x_sums[g]);
      if (whole)
        Amx::store(y, sum);
      else
        store_some_lanes<Amx>(args, row, y, sum);
      y += ldy;
      x_scales += groups;
      x_sums += groups;
      dot += kTileRows * sizeof(int32_t);
    }
  }
};

/// The products of a block of 32 × 32 outputs, on what stays in the registers.
inline double amx_int8_peak(int64_t iterations) {
  alignas(64) unsigned char lines[Amx::kTokens * 64];
  for (int i = 0; i < Amx::kTokens * 64; ++i) lines[i] = static_cast<unsigned char>(i % 13);
  const Amx::Shaped shaped(Amx::kMostColumns);
  Amx::fence();
  _tile_loadd(4, lines, 64);
  _tile_loadd(6, lines, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t n = 0; n < iterations; ++n) {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 6);
    _tile_dpbsud(2, 4, 6);
    _tile_dpbsud(3, 4, 6);
  }
  return 2.0 * 4 * kTileRows * Amx::kTokens * Amx::kMostColumns * static_cast<double>(iterations);
}

}  // namespace facet::cpu
