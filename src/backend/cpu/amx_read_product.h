// y = x Wᵀ for rows that are read, on AMX. Included by isa_amx.cc alone.
//
// Weights are decoded to bf16 a panel at a time, which a block of token rows then sweeps: nothing is scaled
// or widened between the products, so the matrix units do nearly all of the work. Both factors are rounded to
// bf16 (2⁻⁹ at most), their products are added up in f32, column by column in the same order whatever the
// blocks: a row's result does not depend on its company.
#pragma once

#include "backend/cpu/product_kernels.h"
#include "backend/cpu/simd_amx.h"

namespace facet::cpu {

class AmxReadProduct {
 public:
  static void run(const ReadProductArgs& args) {
    const Amx::Shaped shaped(Amx::kMostColumns);
    switch (args.w->kind) {
      case TileKind::kF32: return panels<FloatColumns<TileKind::kF32>>(args);
      case TileKind::kF16: return panels<FloatColumns<TileKind::kF16>>(args);
      case TileKind::kBF16: return panels<FloatColumns<TileKind::kBF16>>(args);
      default:
        return with_codes(*args.w, [&]<int kBits, ScaleKind kScale, int /*kFold*/>() {
          panels<CodeColumns<kBits, kScale>>(args);
        });
    }
  }

  /// Brings row `row` of activations into the tiles of parts[0], what rounding left into those of parts[1],
  /// and so on, `count` of them. Zeros up to whole tiles.
  static void to_bf16(const float* x, int64_t cols, int64_t row, int count, uint16_t* const* parts) {
    const int64_t tiles = (cols + kReadColumns - 1) / kReadColumns;
    int64_t at = row / Amx::kTokens * tiles * kTile + row % Amx::kTokens * kReadColumns;
    for (int64_t i = 0; i < cols; i += kReadColumns, at += kTile) {
      alignas(64) float tail[kReadColumns];
      const float* from = x + i;
      if (cols - i < kReadColumns) {
        for (int64_t j = 0; j < kReadColumns; ++j) tail[j] = i + j < cols ? x[i + j] : 0.0F;
        from = tail;
      }
      auto first = Amx::load(from);
      auto second = Amx::load(from + kLanes);
      for (int part = 0; part < count; ++part) {
        store_bf16(parts[part] + at, first, second);
        first = rest_of(first);
        second = rest_of(second);
      }
    }
  }

 private:
  static constexpr int kTiles = 2;   // of 16 weight rows, side by side in a panel
  static constexpr int kBlocks = 2;  // of 16 token rows, multiplied with them
  static constexpr int kTokens = kBlocks * Amx::kTokens;
  static constexpr int kPairs = kReadColumns / 2;            // words of a weight tile, and its rows
  static constexpr int kTile = Amx::kTokens * kReadColumns;  // values of a tile of activations
  static_assert(kTokens == kReadTokens);
  static_assert(kReadParts * kReadPanelColumns * kTiles * kTileRows * 2 <= kPanelBytes);

  static constexpr int64_t kPanel = kReadPanelColumns / 2 * kTiles * kTileRows / kLanes;  // words of one part

  using Word = __m512i;  // sixteen pairs of bf16, a weight row each: the first column in the low half

  static Word rounded(Amx::F x) {
    return _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
  }
  static Amx::F rest_of(Amx::F x) {
    const Word high = _mm512_and_si512(rounded(x), _mm512_set1_epi32(static_cast<int>(0xffff0000U)));
    return Amx::sub(x, _mm512_castsi512_ps(high));
  }
  static Word pair(Amx::F first, Amx::F second) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(rounded(first), 16), rounded(second));
  }
  static void store_bf16(uint16_t* out, Amx::F first, Amx::F second) {
    const auto half = [](Amx::F x) { return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded(x), 16)); };
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), half(first));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + kLanes), half(second));
  }

  /// Columns of quantised tiles. A code becomes the float 2ᵉ + code by way of its bits, so that decoding it
  /// is one multiply-add: scale · (2ᵉ + code) + (bias − 2ᵉ · scale).
  template <int kBits, ScaleKind kScale>
  struct CodeColumns {
    static constexpr int kHeader = kTileRows * kScaleBytes(kScale);
    static constexpr int kLineColumns = 32 / kBits;
    static constexpr int kExponent = 3 + kBits;    // 128 or 2048, above the code
    static constexpr int kPlace = 23 - kExponent;  // the bit that counts one then
    static constexpr int kCodeMask = ((1 << kBits) - 1) << kPlace;

    static int64_t bytes(const PackedMatrix& w, int64_t columns) {
      return columns / w.group * group_bytes<kBits, kScale>(w.group);
    }

    /// Columns kAt and kAt + 1 of a line.
    template <int kAt>
    static Amx::F decode(Word line, Amx::F scales, Amx::F biases) {
      constexpr int kFrom = kAt % 4 * 8 + kAt / 4 * 4;
      if constexpr (kFrom < kPlace) line = _mm512_slli_epi32(line, kPlace - kFrom);
      if constexpr (kFrom > kPlace) line = _mm512_srli_epi32(line, kFrom - kPlace);
      const Word code = _mm512_ternarylogic_epi32(line, _mm512_set1_epi32(kCodeMask),
                                                  _mm512_set1_epi32((127 + kExponent) << 23), 0xea);
      return Amx::fma(scales, _mm512_castsi512_ps(code), biases);
    }

    static constexpr int kXParts = 1;
    static constexpr int kParts = 1;

    /// Decodes `columns` of a tile to where `place` has its pairs.
    template <class Place>
    static void unpack(const PackedMatrix& w, const unsigned char* p, int64_t columns, Place place) {
      const auto shift = Amx::set1(-static_cast<float>(1 << kExponent));
      int64_t pairs = 0;
      for (int64_t column = 0; column < columns; column += w.group) {
        const auto scales = load_scales<Amx, kScale>(p);
        const auto biases = Amx::fma(scales, shift, load_scales<Amx, kScale>(p + kHeader));
        p += 2 * kHeader;
        for (int k = 0; k < w.group; k += kLineColumns, p += 64, pairs += kLineColumns / 2) {
          const Word line = _mm512_load_si512(p);
          Word* out = place(pairs);
          out[0] = pair(decode<0>(line, scales, biases), decode<1>(line, scales, biases));
          out[1] = pair(decode<2>(line, scales, biases), decode<3>(line, scales, biases));
          if constexpr (kLineColumns == 8) {
            out[2] = pair(decode<4>(line, scales, biases), decode<5>(line, scales, biases));
            out[3] = pair(decode<6>(line, scales, biases), decode<7>(line, scales, biases));
          }
        }
      }
    }
  };

  template <TileKind kKind>
  struct FloatColumns {
    static constexpr int kBytes = kKind == TileKind::kF32 ? 4 : 2;
    static constexpr int kXParts = kReadParts;
    static constexpr int kParts = kKind == TileKind::kBF16 ? 1 : kKind == TileKind::kF16 ? 2 : 3;

    static int64_t bytes(const PackedMatrix& /*w*/, int64_t columns) { return columns * kTileRows * kBytes; }

    template <class Place>
    static void unpack(const PackedMatrix& /*w*/, const unsigned char* p, int64_t columns, Place place) {
      for (int64_t pairs = 0; pairs < columns / 2; ++pairs, p += 2 * kTileRows * kBytes) {
        Word* out = place(pairs);
        if constexpr (kParts > 1) {
          auto [first, second] = load(p);
          for (int part = 0; part < kParts; ++part) {
            out[part * kPanel] = pair(first, second);
            first = rest_of(first);
            second = rest_of(second);
          }
        } else {
          out[0] = _mm512_load_si512(p);
        }
      }
    }

   private:
    struct TwoColumns {
      Amx::F first, second;
    };
    static TwoColumns load(const unsigned char* p) {
      if constexpr (kKind == TileKind::kF16) {
        return {Amx::load_f16(p), Amx::load_f16(p + 2 * kTileRows)};
      } else {
        const auto* floats = reinterpret_cast<const float*>(p);
        return {Amx::load(floats), Amx::load(floats + kTileRows)};
      }
    }
  };

  /// Packed weights that the next panel is made of, fetched while this one is multiplied.
  struct Ahead {
    const unsigned char* data;
    int64_t bytes;
    int64_t step;
    int64_t done = 0;

    void fetch() {
      const int64_t end = done + step < bytes ? done + step : bytes;
      for (; done < end; done += 64) __builtin_prefetch(data + done);
    }
  };

  template <class Columns>
  static void panels(const ReadProductArgs& args) {
    const int64_t end = (args.row_end + kTileRows - 1) / kTileRows;
    for (int64_t tile = args.row_begin / kTileRows; tile < end; tile += kTiles) {
      if (end - tile == 1)
        panel<Columns, 1>(args, tile);
      else
        panel<Columns, kTiles>(args, tile);
    }
  }

  template <class Columns, int kWidth>
  static void panel(const ReadProductArgs& args, int64_t tile) {
    const PackedMatrix& w = *args.w;
    auto* words = reinterpret_cast<Word*>(args.panel);
    const int blocks = (args.rows + kTokens - 1) / kTokens;
    for (int64_t begin = args.column_begin; begin < args.column_end; begin += kReadPanelColumns) {
      const int64_t end =
          args.column_end - begin < kReadPanelColumns ? args.column_end : begin + kReadPanelColumns;
      const int64_t bytes = Columns::bytes(w, end - begin);
      const unsigned char* data = w.data + tile * w.tile_bytes + Columns::bytes(w, begin);
      const int64_t pairs = (end - begin) / 2;
      for (int i = 0; i < kWidth; ++i) {
        const auto place = [&](int64_t p) { return words + (p / kPairs * kWidth + i) * kPairs + p % kPairs; };
        Columns::unpack(w, data + i * w.tile_bytes, end - begin, place);
        for (int64_t p = pairs; p % kPairs != 0; ++p)  // the last 16 columns alone
          for (int part = 0; part < Columns::kParts; ++part) place(p)[part * kPanel] = _mm512_setzero_si512();
      }
      Amx::fence();
      const int64_t step = (bytes / blocks / 64 + 1) * 64;
      Ahead ahead[kWidth];
      for (int i = 0; i < kWidth; ++i) ahead[i] = {data + (kWidth + i) * w.tile_bytes, bytes, step};
      Factors f{words, begin / kReadColumns, (pairs + kPairs - 1) / kPairs, begin == 0};
      for (int token = 0; token < args.rows; token += kTokens) {
        for (Ahead& tile_ahead : ahead) tile_ahead.fetch();
        if (args.rows - token > Amx::kTokens)
          block<Columns, kWidth, 2>(args, tile, f, token);
        else
          block<Columns, kWidth, 1>(args, tile, f, token);
      }
    }
  }

  /// What a panel is multiplied with: `tiles` tiles of columns of the activations, from `first` on.
  struct Factors {
    const Word* panel;
    int64_t first;
    int64_t tiles;
    bool fresh;  // y holds nothing yet
  };

  /// kHigh · 16 tokens from `token` on with a panel's columns.
  template <class Columns, int kWidth, int kHigh>
  static void block(const ReadProductArgs& args, int64_t tile, const Factors& f, int token) {
    const int64_t row = tile * kTileRows;
    float* y = args.y + token * args.ldy + (row - args.row_begin);
    const bool whole = row >= args.row_begin && row + kWidth * kTileRows <= args.row_end &&
                       token + kHigh * Amx::kTokens <= args.rows;
    if (whole) return multiply<Columns, kWidth, kHigh>(args, f, token, y, args.ldy);
    // Some of the outputs are not wanted, and there may be no room for them.
    alignas(64) float sums[kTokens][kTiles * kTileRows] = {};
    const auto each = [&](auto&& body) {
      for (int t = 0; t < kHigh * Amx::kTokens && token + t < args.rows; ++t)
        for (int64_t r = 0; r < kWidth * kTileRows; ++r)
          if (row + r >= args.row_begin && row + r < args.row_end) body(sums[t][r], y[t * args.ldy + r]);
    };
    if (!f.fresh) each([](float& sum, float& out) { sum = out; });
    Amx::fence();
    multiply<Columns, kWidth, kHigh>(args, f, token, sums[0], kTiles * kTileRows);
    Amx::fence();
    each([](float& sum, float& out) { out = sum; });
  }

  template <class Columns, int kWidth, int kHigh>
  static void multiply(const ReadProductArgs& args, const Factors& f, int token, float* y, int64_t ldy) {
    const int64_t y_step = ldy * static_cast<int64_t>(sizeof(float));
    float* below = y + Amx::kTokens * ldy;
    if (f.fresh) {
      _tile_zero(0);
      if constexpr (kWidth == 2) _tile_zero(1);
      if constexpr (kHigh == 2) _tile_zero(2);
      if constexpr (kWidth == 2 && kHigh == 2) _tile_zero(3);
    } else {
      _tile_loadd(0, y, y_step);
      if constexpr (kWidth == 2) _tile_loadd(1, y + kTileRows, y_step);
      if constexpr (kHigh == 2) _tile_loadd(2, below, y_step);
      if constexpr (kWidth == 2 && kHigh == 2) _tile_loadd(3, below + kTileRows, y_step);
    }
    const int64_t at = (token / Amx::kTokens * args.column_tiles + f.first) * kTile;
    const int64_t down = args.column_tiles * kTile;  // to the next sixteen tokens
    const uint16_t* x[Columns::kXParts];
    for (int part = 0; part < Columns::kXParts; ++part) x[part] = args.x[part] + at;
    for (int64_t i = 0; i < f.tiles; ++i) {
      const Word* w = f.panel + i * kWidth * kPairs;
      for (int part = 0; part < Columns::kParts; ++part)
        for (int other = 0; other + part < Columns::kXParts; ++other)
          add<kWidth, kHigh>(x[other] + i * kTile, down, w + part * kPanel, other == 0);
    }
    _tile_stored(0, y, y_step);
    if constexpr (kWidth == 2) _tile_stored(1, y + kTileRows, y_step);
    if constexpr (kHigh == 2) _tile_stored(2, below, y_step);
    if constexpr (kWidth == 2 && kHigh == 2) _tile_stored(3, below + kTileRows, y_step);
  }

  /// Adds the products of tiles at x and `down` behind it with those at w. The weights' are loaded unless
  /// they are in the registers.
  template <int kWidth, int kHigh>
  [[gnu::always_inline]] static void add(const uint16_t* x, int64_t down, const Word* w, bool load) {
    if (load) _tile_loadd(6, w, 64);
    _tile_loadd(4, x, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kWidth == 2) {
      if (load) _tile_loadd(7, w + kPairs, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kHigh == 2) {
      _tile_loadd(5, x + down, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kWidth == 2 && kHigh == 2) _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace facet::cpu
