// y = x Wᵀ over packed tiles of 16 weight rows, a lane a row, over an instruction set S.
//
// Few activation rows: tiles are unpacked in registers as they stream by, once for all rows. Many: a panel of
// a tile's columns is unpacked once into the first- or second-level cache and swept by blocks of activation
// rows. Either way an output is the same sum in the same order: quantised kinds add up exact integers within
// a group and then, group by group, acc = acc + scale·xscale · dot, acc = acc + bias · xsum; float kinds add
// column by column; then come the row's outliers. So the two agree to the bit.
#pragma once

#include "backend/cpu/kernels.h"

namespace facet::cpu {

// --- quantised tiles ------------------------------------------------------------------------------------

constexpr int kScaleBytes(ScaleKind kind) {
  return kind == ScaleKind::kF32 ? 4 : 2;
}

/// Bytes of a group of a packed tile: scales, biases and codes.
template <int kBits, ScaleKind kScale>
constexpr int64_t group_bytes(int group) {
  return 2 * kTileRows * kScaleBytes(kScale) + int64_t{kTileRows} * group * kBits / 8;
}

template <class S, ScaleKind kScale>
typename S::F load_scales(const unsigned char* p) {
  if constexpr (kScale == ScaleKind::kF32) {
    return S::load(reinterpret_cast<const float*>(p));
  } else if constexpr (kScale == ScaleKind::kF16) {
    return S::load_f16(p);
  } else {
    return S::load_bf16(p);
  }
}

/// Where a block of outputs goes: rows [lane_begin, lane_end) of `tiles` tiles × tokens.
template <class S, int kTiles, int kTokens>
struct Sums {
  typename S::F v[kTiles][kTokens];
};

/// What all blocks of a product share about the activations.
struct TokenRows {
  const int8_t* codes;  // of the block's first token
  const float* scales;
  const float* sums;
  int64_t stride;
  int64_t groups;
};

/// acc += scales · xscale · dot + biases · xsum for one group.
template <class S>
typename S::F add_group(typename S::F acc, typename S::F scales, typename S::F biases, typename S::I dot,
                        float x_scale, float x_sum) {
  acc = S::fma(S::mul(scales, S::set1(x_scale)), S::to_float(dot), acc);
  return S::fma(biases, S::set1(x_sum), acc);
}

/// How far ahead of its use a tile's stream is prefetched.
constexpr int kPrefetchBytes = 2048;

/// Group `g` of a packed tile, at `p`, against kTokens rows, unpacking as it goes. kFold columns (32, or a
/// group when that is less) are taken at a time: a constant, so that the loop unrolls and its sums stay in
/// registers. They are folded then, unless the set's partial sums can hold a whole group.
template <class S, int kBits, ScaleKind kScale, int kFold, int kTokens>
void stream_group(const unsigned char* p, int group, int64_t g, const TokenRows& x,
                  typename S::F (&acc)[kTokens]) {
  constexpr int kHeader = kTileRows * kScaleBytes(kScale);
  constexpr int kLineColumns = kBits == 4 ? 8 : 4;
  const auto scales = load_scales<S, kScale>(p);
  const auto biases = load_scales<S, kScale>(p + kHeader);
  for (int line = 0; line < 2 * kHeader; line += 64) __builtin_prefetch(p + kPrefetchBytes + line);
  p += 2 * kHeader;
  typename S::I dot[kTokens];
  for (auto& d : dot) d = S::zero_int();
  const int8_t* codes = x.codes + g * group;
  // One token alone gets two sums: the chain of dependent dot products would be longer than the load it
  // hides behind.
  constexpr int kChains = kTokens == 1 ? 2 : S::kDotChains;
  typename S::template Partial<kBits> part[kChains][kTokens];
  for (int k = 0; k < group; k += kFold) {
    if (!S::kHoldsGroup || k == 0)
      for (auto& chain : part)
        for (auto& sum : chain) sum = S::template zero_partial<kBits>();
#pragma GCC unroll 4
    for (int c = 0; c < kFold; c += 8) {
      __builtin_prefetch(p + kPrefetchBytes);
      typename S::template Split<kBits> first;
      typename S::template Split<kBits> second;
      if constexpr (kBits == 4) {
        const auto line = S::load_codes(p);
        first = S::template split<4>(S::low_nibbles(line));
        second = S::template split<4>(S::high_nibbles(line));
      } else {
        first = S::template split<8>(S::load_codes(p));
        second = S::template split<8>(S::load_codes(p + 64));
        __builtin_prefetch(p + kPrefetchBytes + 64);
      }
      p += 64 * (8 / kLineColumns);
      for (int t = 0; t < kTokens; ++t) {
        S::add(part[0][t], first, codes + t * x.stride + k + c);
        S::add(part[kChains - 1][t], second, codes + t * x.stride + k + c + 4);
      }
    }
    if (!S::kHoldsGroup || k + kFold >= group)
      for (const auto& chain : part)
        for (int t = 0; t < kTokens; ++t) S::fold(dot[t], chain[t]);
  }
  for (int t = 0; t < kTokens; ++t)
    acc[t] =
        add_group<S>(acc[t], scales, biases, dot[t], x.scales[t * x.groups + g], x.sums[t * x.groups + g]);
}

/// kStreams packed tiles, `stride` bytes apart, against kTokens rows.
template <class S, int kBits, ScaleKind kScale, int kFold, int kStreams, int kTokens>
void stream_tiles(const unsigned char* tile, int64_t stride, int group, const TokenRows& x,
                  typename S::F (&acc)[kStreams][kTokens]) {
  const int64_t block = group_bytes<kBits, kScale>(group);
  for (auto& stream : acc)
    for (auto& sum : stream) sum = S::zero();
  for (int64_t g = 0; g < x.groups; ++g, tile += block)
    for (int i = 0; i < kStreams; ++i)
      stream_group<S, kBits, kScale, kFold, kTokens>(tile + i * stride, group, g, x, acc[i]);
}

/// A panel: `tiles` tiles × `columns` columns unpacked to one code a byte, [columns / 4][tiles][64], followed
/// by f32 scales and biases [groups][tiles][2][16].
template <class S, int kBits, ScaleKind kScale>
void unpack_panel(const PackedMatrix& w, int64_t tile, int tiles, int64_t group_begin, int64_t group_end,
                  unsigned char* codes, float* scales) {
  constexpr int kHeader = kTileRows * kScaleBytes(kScale);
  const int64_t block = group_bytes<kBits, kScale>(w.group);
  for (int t = 0; t < tiles; ++t) {
    const unsigned char* p = w.data + (tile + t) * w.tile_bytes + group_begin * block;
    unsigned char* out = codes + t * 64;
    for (int64_t g = group_begin; g < group_end; ++g) {
      float* s = scales + ((g - group_begin) * tiles + t) * 2 * kTileRows;
      S::store(s, load_scales<S, kScale>(p));
      S::store(s + kTileRows, load_scales<S, kScale>(p + kHeader));
      p += 2 * kHeader;
      for (int k = 0; k < w.group; k += 8) {
        if constexpr (kBits == 4) {
          const auto line = S::load_codes(p);
          S::store_codes(out, S::low_nibbles(line));
          S::store_codes(out + tiles * 64, S::high_nibbles(line));
          p += 64;
        } else {
          S::store_codes(out, S::load_codes(p));
          S::store_codes(out + tiles * 64, S::load_codes(p + 64));
          p += 128;
        }
        out += int64_t{2} * tiles * 64;
      }
    }
  }
}

/// Packed weights that the next panel is made of, fetched a few lines a group while this one is multiplied:
/// no product waits for memory then.
struct PanelAhead {
  const unsigned char* data;
  const unsigned char* end;
  int64_t bytes;  // a group

  void fetch() {
    const unsigned char* stop = end - data < bytes ? end : data + bytes;
    for (; data < stop; data += 64) __builtin_prefetch(data);
  }
};

/// A panel against kTokens rows; `acc` holds the sums of the columns before it.
template <class S, int kBits, int kFold, int kTiles, int kTokens>
void panel_block(const unsigned char* panel, const float* scales, int64_t group_begin, int64_t group_end,
                 int group, const TokenRows& x, PanelAhead& ahead, Sums<S, kTiles, kTokens>& acc) {
  for (int64_t g = group_begin; g < group_end; ++g) {
    ahead.fetch();
    typename S::I dot[kTiles][kTokens];
    for (auto& row : dot)
      for (auto& d : row) d = S::zero_int();
    const int8_t* codes = x.codes + g * group;
    typename S::template Partial<kBits> part[kTiles][kTokens];
    for (int k = 0; k < group; k += kFold) {
      if (!S::kHoldsGroup || k == 0)
        for (auto& row : part)
          for (auto& q : row) q = S::template zero_partial<kBits>();
#pragma GCC unroll 8
      for (int c = 0; c < kFold; c += 4) {
        typename S::template Split<kBits> w[kTiles];
        for (int i = 0; i < kTiles; ++i) w[i] = S::template split<kBits>(S::load_codes(panel + i * 64));
        panel += kTiles * 64;
        for (int t = 0; t < kTokens; ++t)
          for (int i = 0; i < kTiles; ++i) S::add(part[i][t], w[i], codes + t * x.stride + k + c);
      }
      if (!S::kHoldsGroup || k + kFold >= group)
        for (int i = 0; i < kTiles; ++i)
          for (int t = 0; t < kTokens; ++t) S::fold(dot[i][t], part[i][t]);
    }
    for (int i = 0; i < kTiles; ++i) {
      const auto s = S::load(scales + i * 2 * kTileRows);
      const auto b = S::load(scales + i * 2 * kTileRows + kTileRows);
      for (int t = 0; t < kTokens; ++t)
        acc.v[i][t] =
            add_group<S>(acc.v[i][t], s, b, dot[i][t], x.scales[t * x.groups + g], x.sums[t * x.groups + g]);
    }
    scales += kTiles * 2 * kTileRows;
  }
}

// --- float tiles ------------------------------------------------------------------------------------------

/// Widens columns [begin, end) (even) of `tiles` tiles to f32: [columns][tiles][16].
template <class S, TileKind kKind>
void widen_panel(const PackedMatrix& w, int64_t tile, int tiles, int64_t begin, int64_t end, float* panel) {
  constexpr int kBytes = kKind == TileKind::kF32 ? 4 : 2;
  for (int t = 0; t < tiles; ++t) {
    const unsigned char* p = w.data + (tile + t) * w.tile_bytes + begin * kTileRows * kBytes;
    float* out = panel + t * kTileRows;
    for (int64_t k = begin; k < end; k += 2) {
      typename S::F first;
      typename S::F second;
      if constexpr (kKind == TileKind::kF32) {
        first = S::load(reinterpret_cast<const float*>(p));
        second = S::load(reinterpret_cast<const float*>(p) + kTileRows);
      } else if constexpr (kKind == TileKind::kF16) {
        first = S::load_f16(p);
        second = S::load_f16(p + 2 * kTileRows);
      } else {
        S::load_bf16_pairs(p, first, second);
      }
      S::store(out, first);
      S::store(out + tiles * kTileRows, second);
      out += int64_t{2} * tiles * kTileRows;
      p += 2 * kTileRows * kBytes;
    }
  }
}

template <class S, int kTiles, int kTokens>
void float_block(const float* panel, int64_t begin, int64_t end, const float* x, int64_t stride,
                 Sums<S, kTiles, kTokens>& acc) {
  for (int64_t k = begin; k < end; ++k) {
    typename S::F w[kTiles];
    for (int i = 0; i < kTiles; ++i) w[i] = S::load(panel + i * kTileRows);
    panel += kTiles * kTileRows;
    for (int t = 0; t < kTokens; ++t) {
      const auto xt = S::set1(x[t * stride + k]);
      for (int i = 0; i < kTiles; ++i) acc.v[i][t] = S::fma(w[i], xt, acc.v[i][t]);
    }
  }
}

/// kTiles packed tiles against kTokens rows, widening as it goes.
template <class S, TileKind kKind, int kTiles, int kTokens>
void stream_float_tiles(const unsigned char* tile, int64_t tile_bytes, int64_t cols, const float* x,
                        int64_t stride, Sums<S, kTiles, kTokens>& acc) {
  constexpr int kBytes = kKind == TileKind::kF32 ? 4 : 2;
  for (int64_t k = 0; k < cols; k += 2) {
    for (int i = 0; i < kTiles; ++i) {
      const unsigned char* p = tile + i * tile_bytes + k * kTileRows * kBytes;
      typename S::F first;
      typename S::F second;
      if constexpr (kKind == TileKind::kF32) {
        first = S::load(reinterpret_cast<const float*>(p));
        second = S::load(reinterpret_cast<const float*>(p) + kTileRows);
      } else if constexpr (kKind == TileKind::kF16) {
        first = S::load_f16(p);
        second = S::load_f16(p + 2 * kTileRows);
      } else {
        S::load_bf16_pairs(p, first, second);
      }
      __builtin_prefetch(p + kPrefetchBytes);
      if constexpr (kBytes == 4) __builtin_prefetch(p + kPrefetchBytes + 64);
      for (int t = 0; t < kTokens; ++t) {
        acc.v[i][t] = S::fma(first, S::set1(x[t * stride + k]), acc.v[i][t]);
        acc.v[i][t] = S::fma(second, S::set1(x[t * stride + k + 1]), acc.v[i][t]);
      }
    }
  }
}

// --- drivers ----------------------------------------------------------------------------------------------

/// Calls body.operator()<n>() with n = min(count, kMost) as a constant; returns n.
template <int kMost, class Body>
int with_count(int count, Body&& body) {
  if constexpr (kMost > 1) {
    if (count < kMost) return with_count<kMost - 1>(count, body);
  }
  body.template operator()<kMost>();
  return kMost;
}

/// Calls body.operator()<bits, scale kind, fold>() for a quantised matrix; fold: the columns that are taken
/// at a time, 32, or a group when that is less.
template <class Body>
void with_codes(const PackedMatrix& w, Body body) {
  const auto with_scale = [&]<int kBits>() {
    switch (w.scale_kind) {
      case ScaleKind::kBF16: return body.template operator()<kBits, ScaleKind::kBF16, 32>();
      case ScaleKind::kF16: return body.template operator()<kBits, ScaleKind::kF16, 32>();
      case ScaleKind::kF32: return body.template operator()<kBits, ScaleKind::kF32, 32>();
    }
  };
  if (w.kind == TileKind::kQ4) return with_scale.template operator()<4>();
  // Groups of 16 come from GGUF's formats of 8-bit codes with f32 scales alone (packed_weight.cc).
  if (w.group == 16) return body.template operator()<8, ScaleKind::kF32, 16>();
  with_scale.template operator()<8>();
}

/// The wanted rows end or begin inside the tile.
template <class S>
[[gnu::noinline, gnu::cold]] void store_some_lanes(const ProductArgs& args, int64_t row, float* y,
                                                   typename S::F sums) {
  float lanes[kTileRows];
  S::store(lanes, sums);
  for (int lane = 0; lane < kTileRows; ++lane)
    if (row + lane >= args.row_begin && row + lane < args.row_end) y[lane] = lanes[lane];
}

template <class S>
[[gnu::noinline, gnu::cold]] typename S::F load_some_lanes(const ProductArgs& args, int64_t row,
                                                           const float* y) {
  float lanes[kTileRows] = {};
  for (int lane = 0; lane < kTileRows; ++lane)
    if (row + lane >= args.row_begin && row + lane < args.row_end) lanes[lane] = y[lane];
  return S::load(lanes);
}

/// Stores the lanes of tile `tile` that lie in the wanted rows.
template <class S>
void store_lanes(const ProductArgs& args, int64_t tile, int token, typename S::F sums) {
  const int64_t row = tile * kTileRows;
  float* y = args.y + token * args.ldy + (row - args.row_begin);
  if (row >= args.row_begin && row + kTileRows <= args.row_end) return S::store(y, sums);
  store_some_lanes<S>(args, row, y, sums);
}

/// The counterpart of store_lanes for sums that continue.
template <class S>
typename S::F load_lanes(const ProductArgs& args, int64_t tile, int token) {
  const int64_t row = tile * kTileRows;
  const float* y = args.y + token * args.ldy + (row - args.row_begin);
  if (row >= args.row_begin && row + kTileRows <= args.row_end) return S::load(y);
  return load_some_lanes<S>(args, row, y);
}

// Outliers: the stored weight, decoded, times the value, added to finished sums column by column. Done tile
// by tile, while the tile is still in the cache.

/// Sixteen weights of a column that stands at `place` of its line (bytes are columns 0 … 3, their high
/// nibbles 4 … 7).
template <class S, int kBits>
typename S::F decode_column(const unsigned char* line, int place, typename S::F scales,
                            typename S::F biases) {
  const auto codes = S::extract_bits(S::load_int(line), place % 4 * 8 + place / 4 * 4, kBits);
  return S::fma(scales, S::to_float(codes), biases);
}

/// For few tokens: decodes the columns that are wanted, of kTiles tiles that lie `step` apart.
template <class S, int kBits, ScaleKind kScale, int kTiles>
void add_outliers(const ProductArgs& args, int64_t tile, int64_t step) {
  constexpr int kHeader = kTileRows * kScaleBytes(kScale);
  constexpr int kLineColumns = 32 / kBits;
  const PackedMatrix& w = *args.w;
  const Activations& a = *args.a;
  const int group_shift = __builtin_ctz(static_cast<unsigned>(w.group));
  const int64_t block = group_bytes<kBits, kScale>(w.group);
  const unsigned char* data = w.data + tile * w.tile_bytes;
  for (int token = 0; token < a.rows; ++token) {
    const Outlier* outlier = a.outliers + token * a.outlier_stride;
    const Outlier* end = outlier + a.outlier_counts[token];
    if (outlier == end) continue;
    typename S::F sums[kTiles];
    for (int i = 0; i < kTiles; ++i) sums[i] = load_lanes<S>(args, tile + i * step, token);
    for (; outlier != end; ++outlier) {
      const unsigned char* group = data + (outlier->column >> group_shift) * block;
      const int k = outlier->column & (w.group - 1);
      const auto value = S::set1(outlier->value);
      for (int i = 0; i < kTiles; ++i, group += step * w.tile_bytes) {
        const auto weights =
            decode_column<S, kBits>(group + 2 * kHeader + k / kLineColumns * 64, k % kLineColumns,
                                    load_scales<S, kScale>(group), load_scales<S, kScale>(group + kHeader));
        sums[i] = S::fma(weights, value, sums[i]);
      }
    }
    for (int i = 0; i < kTiles; ++i) store_lanes<S>(args, tile + i * step, token, sums[i]);
  }
}

/// For many: decodes all columns of kTiles tiles, a panel at a time.
template <class S, int kBits, ScaleKind kScale, int kTiles>
void add_outliers_by_panel(const ProductArgs& args, int64_t tile) {
  constexpr int kHeader = kTileRows * kScaleBytes(kScale);
  constexpr int kLineColumns = 32 / kBits;
  constexpr int64_t kPanelColumns = 384;  // 24 KB of f32 a tile
  constexpr int kColumn = kTiles * kTileRows;
  static_assert(kPanelColumns * kColumn * sizeof(float) <= kPanelBytes);
  constexpr int kMostTokens = 512;
  const PackedMatrix& w = *args.w;
  const Activations& a = *args.a;
  const int64_t block = group_bytes<kBits, kScale>(w.group);
  auto* panel = reinterpret_cast<float*>(args.panel);
  for (int first = 0; first < a.rows; first += kMostTokens) {
    const int count = a.rows - first < kMostTokens ? a.rows - first : kMostTokens;
    int32_t taken[kMostTokens] = {};  // of each token's outliers
    for (int64_t begin = 0; begin < w.cols; begin += kPanelColumns) {
      const int64_t end = begin + kPanelColumns < w.cols ? begin + kPanelColumns : w.cols;
      for (int i = 0; i < kTiles; ++i) {
        const unsigned char* p = w.data + (tile + i) * w.tile_bytes + begin / w.group * block;
        float* out = panel + i * kTileRows;
        for (int64_t column = begin; column < end; column += w.group) {
          const auto scales = load_scales<S, kScale>(p);
          const auto biases = load_scales<S, kScale>(p + kHeader);
          p += 2 * kHeader;
          for (int k = 0; k < w.group; k += kLineColumns, p += 64)
            for (int place = 0; place < kLineColumns; ++place, out += kColumn)
              S::store(out, decode_column<S, kBits>(p, place, scales, biases));
        }
      }
      for (int t = 0; t < count; ++t) {
        const int token = first + t;
        const Outlier* outlier = a.outliers + token * a.outlier_stride + taken[t];
        const Outlier* last = a.outliers + token * a.outlier_stride + a.outlier_counts[token];
        if (outlier == last || outlier->column >= end) continue;
        typename S::F sums[kTiles];
        for (int i = 0; i < kTiles; ++i) sums[i] = load_lanes<S>(args, tile + i, token);
        for (; outlier != last && outlier->column < end; ++outlier, ++taken[t]) {
          const float* weights = panel + (outlier->column - begin) * kColumn;
          const auto value = S::set1(outlier->value);
          for (int i = 0; i < kTiles; ++i) sums[i] = S::fma(S::load(weights + i * kTileRows), value, sums[i]);
        }
        for (int i = 0; i < kTiles; ++i) store_lanes<S>(args, tile + i, token, sums[i]);
      }
    }
  }
}

template <class S>
struct Product {
  // Up to this many activation rows, tiles are unpacked in registers: unpacking into a panel pays from about
  // two register blocks on.
  static constexpr int kSweepRows = 2 * S::kDotTokens;

  /// Whether decoding whole tiles costs less than the outliers' own columns. A norm's output has about one
  /// outlier in 15,000 values, an MLP's gated activations have one in 50.
  static bool many_outliers(const ProductArgs& args) {
    constexpr int64_t kOwnColumn = 4;  // times a column's share of a whole tile
    int64_t count = 0;
    for (int row = 0; row < args.a->rows; ++row) count += args.a->outlier_counts[row];
    return count * kOwnColumn > args.w->cols;
  }

  static constexpr int kStreams = 4;  // tiles that few rows take at a time

  static TokenRows rows_from(const Activations& a, int64_t token) {
    return {a.codes + token * a.stride, a.scales + token * a.groups, a.sums + token * a.groups, a.stride,
            a.groups};
  }

  /// Tiles [tile, tile + count), kAtOnce at a time and as far apart as they can be: a stream of whole pages
  /// each, of which the processor's prefetchers follow several at once. Returns how many tiles that took.
  template <int kBits, ScaleKind kScale, int kFold, int kAtOnce>
  static int64_t sweep_streams(const ProductArgs& args, int64_t tile, int64_t count) {
    const PackedMatrix& w = *args.w;
    const int64_t part = count / kAtOnce;
    for (int64_t end = tile + part; tile < end; ++tile) {
      for (int token = 0; token < args.a->rows;)
        token += with_count<S::kDotTokens>(args.a->rows - token, [&]<int kTokens>() {
          typename S::F acc[kAtOnce][kTokens];
          stream_tiles<S, kBits, kScale, kFold, kAtOnce, kTokens>(
              w.data + tile * w.tile_bytes, part * w.tile_bytes, w.group, rows_from(*args.a, token), acc);
          for (int i = 0; i < kAtOnce; ++i)
            for (int t = 0; t < kTokens; ++t) store_lanes<S>(args, tile + i * part, token + t, acc[i][t]);
        });
      if (args.a->outlier_counts != nullptr) add_outliers<S, kBits, kScale, kAtOnce>(args, tile, part);
    }
    return part * kAtOnce;
  }

  template <int kBits, ScaleKind kScale, int kFold>
  static void sweep(const ProductArgs& args) {
    const int64_t end = (args.row_end + kTileRows - 1) / kTileRows;
    int64_t tile = args.row_begin / kTileRows;
    // Rows for a second pass should find the tile in the first-level cache.
    if (args.a->rows <= S::kDotTokens)
      tile += sweep_streams<kBits, kScale, kFold, kStreams>(args, tile, end - tile);
    sweep_streams<kBits, kScale, kFold, 1>(args, tile, end - tile);
  }

  /// kTiles tiles against all rows, a panel of kPanelCodes codes at a time: multiply(codes, scales, group,
  /// end, ahead) adds the panel of groups [group, end) to the outputs, which start with group 0, and may
  /// fetch what lies ahead.
  template <int kBits, ScaleKind kScale, int kTiles, int64_t kPanelCodes, class Multiply>
  static void by_panels(const ProductArgs& args, int64_t tile, Multiply multiply) {
    const PackedMatrix& w = *args.w;
    const int64_t groups = w.cols / w.group;
    constexpr int64_t kPanelColumns = kPanelCodes / (kTiles * kTileRows);
    const int64_t step = kPanelColumns / w.group > 0 ? kPanelColumns / w.group : 1;
    const int64_t block = group_bytes<kBits, kScale>(w.group);
    const int64_t token_blocks = (args.a->rows + S::kDotTokens - 1) / S::kDotTokens;
    unsigned char* codes = args.panel;
    auto* scales = reinterpret_cast<float*>(args.panel + kTiles * kTileRows * step * w.group);
    for (int64_t g = 0; g < groups; g += step) {
      const int64_t end = g + step < groups ? g + step : groups;
      unpack_panel<S, kBits, kScale>(w, tile, kTiles, g, end, codes, scales);
      const unsigned char* next =
          w.data + tile * w.tile_bytes + (end < groups ? end * block : kTiles * w.tile_bytes);
      PanelAhead ahead{next, next + kTiles * (end - g) * block, kTiles * block / token_blocks};
      multiply(codes, scales, g, end, ahead);
    }
    if (args.a->outlier_counts == nullptr) return;
    if (many_outliers(args)) return add_outliers_by_panel<S, kBits, kScale, kTiles>(args, tile);
    add_outliers<S, kBits, kScale, kTiles>(args, tile, 1);
  }

  template <int kBits, ScaleKind kScale, int kFold, int kTiles>
  static void panel_tiles(const ProductArgs& args, int64_t tile) {
    // Half the first-level cache for codes; the activations' rows stream through the other half.
    by_panels<kBits, kScale, kTiles, int64_t{12} * 1024>(
        args, tile,
        [&](const unsigned char* codes, const float* scales, int64_t g, int64_t end, PanelAhead& ahead) {
          for (int token = 0; token < args.a->rows;)
            token += with_count<S::kDotTokens>(args.a->rows - token, [&]<int kTokens>() {
              Sums<S, kTiles, kTokens> acc;
              for (int i = 0; i < kTiles; ++i)
                for (int t = 0; t < kTokens; ++t)
                  acc.v[i][t] = g == 0 ? S::zero() : load_lanes<S>(args, tile + i, token + t);
              panel_block<S, kBits, kFold, kTiles, kTokens>(codes, scales, g, end, args.w->group,
                                                            rows_from(*args.a, token), ahead, acc);
              for (int i = 0; i < kTiles; ++i)
                for (int t = 0; t < kTokens; ++t) store_lanes<S>(args, tile + i, token + t, acc.v[i][t]);
            });
        });
  }

  template <int kBits, ScaleKind kScale, int kFold>
  static void quantised(const ProductArgs& args) {
    if (args.a->rows <= kSweepRows) return sweep<kBits, kScale, kFold>(args);
    const int64_t end = (args.row_end + kTileRows - 1) / kTileRows;
    int64_t tile = args.row_begin / kTileRows;
    for (; tile + S::kDotTiles <= end; tile += S::kDotTiles)
      panel_tiles<kBits, kScale, kFold, S::kDotTiles>(args, tile);
    for (; tile < end; ++tile) panel_tiles<kBits, kScale, kFold, 1>(args, tile);
  }

  template <TileKind kKind, int kTiles, int kMostTokens>
  static void float_sweep(const ProductArgs& args, int64_t tile) {
    const PackedMatrix& w = *args.w;
    for (int token = 0; token < args.a->rows;)
      token += with_count<kMostTokens>(args.a->rows - token, [&]<int kTokens>() {
        Sums<S, kTiles, kTokens> acc;
        for (auto& row : acc.v)
          for (auto& sum : row) sum = S::zero();
        stream_float_tiles<S, kKind, kTiles, kTokens>(w.data + tile * w.tile_bytes, w.tile_bytes, w.cols,
                                                      args.a->x + token * args.a->stride, args.a->stride,
                                                      acc);
        for (int i = 0; i < kTiles; ++i)
          for (int t = 0; t < kTokens; ++t) store_lanes<S>(args, tile + i, token + t, acc.v[i][t]);
      });
  }

  template <TileKind kKind, int kTiles>
  static void float_panel(const ProductArgs& args, int64_t tile) {
    const PackedMatrix& w = *args.w;
    constexpr int64_t kPanelColumns = int64_t{24} * 1024 / (kTiles * kTileRows * 4);
    auto* panel = reinterpret_cast<float*>(args.panel);
    for (int64_t k = 0; k < w.cols; k += kPanelColumns) {
      const int64_t end = k + kPanelColumns < w.cols ? k + kPanelColumns : w.cols;
      widen_panel<S, kKind>(w, tile, kTiles, k, end, panel);
      for (int token = 0; token < args.a->rows;)
        token += with_count<S::kFloatTokens>(args.a->rows - token, [&]<int kTokens>() {
          Sums<S, kTiles, kTokens> acc;
          for (int i = 0; i < kTiles; ++i)
            for (int t = 0; t < kTokens; ++t)
              acc.v[i][t] = k == 0 ? S::zero() : load_lanes<S>(args, tile + i, token + t);
          float_block<S, kTiles, kTokens>(panel, k, end, args.a->x + token * args.a->stride, args.a->stride,
                                          acc);
          for (int i = 0; i < kTiles; ++i)
            for (int t = 0; t < kTokens; ++t) store_lanes<S>(args, tile + i, token + t, acc.v[i][t]);
        });
    }
  }

  template <TileKind kKind>
  static void floats(const ProductArgs& args) {
    const int64_t end = (args.row_end + kTileRows - 1) / kTileRows;
    int64_t tile = args.row_begin / kTileRows;
    if (args.a->rows <= 2) {
      for (; tile + S::kLatencyTiles <= end; tile += S::kLatencyTiles)
        float_sweep<kKind, S::kLatencyTiles, 1>(args, tile);
      for (; tile < end; ++tile) float_sweep<kKind, 1, 1>(args, tile);
    } else if (args.a->rows <= S::kFloatTokens) {
      for (; tile < end; ++tile) float_sweep<kKind, 1, S::kFloatTokens>(args, tile);
    } else {
      for (; tile + S::kFloatTiles <= end; tile += S::kFloatTiles)
        float_panel<kKind, S::kFloatTiles>(args, tile);
      for (; tile < end; ++tile) float_panel<kKind, 1>(args, tile);
    }
  }

  static void run(const ProductArgs& args) {
    switch (args.w->kind) {
      case TileKind::kF32: return floats<TileKind::kF32>(args);
      case TileKind::kF16: return floats<TileKind::kF16>(args);
      case TileKind::kBF16: return floats<TileKind::kBF16>(args);
      default:
        return with_codes(*args.w, [&]<int kBits, ScaleKind kScale, int kFold>() {
          quantised<kBits, kScale, kFold>(args);
        });
    }
  }
};

}  // namespace facet::cpu
