// Attention of a prompt's rows in bf16 on AMX. Included by isa_amx.cc alone.
//
// Scores come out transposed, a lane a query: keys are the first operand as they lie in the cache, queries
// were laid out once as the second. So the running softmax is the same vector code for sixteen queries,
// whatever each of them sees. Weights are turned to be the first operand of the second product; two values
// side by side are its second.
//
// Keys are taken in blocks at absolute positions, and what a query does not see weighs exactly nothing, so a
// row's result is the same to the bit whatever rows it shares an item with.
#pragma once

#include "backend/cpu/attention_kernels.h"
#include "backend/cpu/product_kernels.h"
#include "backend/cpu/simd_amx.h"

namespace facet::cpu {

class AmxAttention {
 public:
  static void run(const PromptAttention& args) {
    const Amx::Shaped shaped(Amx::kMostColumns);
    const AmxAttention item(args);
    item.lay_out_queries();
    for (int32_t position = item.first_ / kPromptBlock * kPromptBlock; position <= item.last_;
         position += kPromptBlock)
      item.attend_block(item.block_at(position));
    item.store();
  }

 private:
  using F = Amx::F;
  static constexpr int kParts = 2;   // of a query: the value rounded to bf16, and what that left
  static constexpr int kChunk = 32;  // keys, or dimensions: what a product sums over
  static constexpr int kChunks = kPromptBlock / kChunk;
  static constexpr int kPages = kPromptBlock / kPageSlots;
  static constexpr int kBytes = kRegisterBytes;
  static constexpr int kFloats = kRegisterBytes / 4;
  // Scores are in units of ln 2: weights are powers of two. A query's reference moves only when a maximum is
  // beyond it by so much: bf16 and f32 are as exact at 2⁸ as at 1, and sums are seldom rescaled.
  static constexpr float kSlack = 8;
  static constexpr float kNothing = -1e30F;  // the reference of a query that has seen no key

  /// Keys [position, position + kPromptBlock), of which chunks [begin, end) hold some that the item sees.
  struct Block {
    int32_t position;
    int begin, end;
    const unsigned char* k[kPages];  // [64] slots, `stride` bytes apart
    const unsigned char* v[kPages];
    const float* k_scale[kPages];  // null: keys are not codes
    int64_t stride;
  };

  explicit AmxAttention(const PromptAttention& args)
      : a_(args),
        queries_(args.rows * args.group),
        tiles_((queries_ + kLanes - 1) / kLanes),
        chunks_((args.head_dim + kChunk - 1) / kChunk) {
    first_ = first_visible(0);
    last_ = args.positions[0];
    for (int r = 1; r < args.rows; ++r) {
      first_ = first_visible(r) < first_ ? first_visible(r) : first_;
      last_ = args.positions[r] > last_ ? args.positions[r] : last_;
    }
  }

  [[nodiscard]] int32_t first_visible(int row) const {
    const int32_t first = a_.window > 0 ? a_.positions[row] - a_.window + 1 : 0;
    return first > 0 ? first : 0;
  }

  // --- where things lie in the scratch -------------------------------------------------------------------
  [[nodiscard]] unsigned char* query(int tile, int chunk, int part) const {
    return a_.scratch.queries + ((int64_t{tile} * chunks_ + chunk) * kParts + part) * kBytes;
  }
  [[nodiscard]] unsigned char* weights(int tile, int chunk) const {
    return a_.scratch.weights + (int64_t{tile} * kChunks + chunk) * kBytes;
  }
  /// [16 queries][16 dimensions]. Of a chunk's two tiles, the first holds its dimensions 0 … 3, 8 … 11, …
  [[nodiscard]] float* sums(int tile, int half_chunk) const {
    return a_.scratch.sums + (int64_t{tile} * 2 * chunks_ + half_chunk) * kFloats;
  }

  // --- queries ---------------------------------------------------------------------------------------------
  /// Scales, splits and turns the queries; nothing is seen yet.
  void lay_out_queries() const {
    const PromptScratch& s = a_.scratch;
    constexpr float kLog2E = 1.44269504F;
    const auto scale = Amx::set1(a_.scale * kLog2E);
    for (int tile = 0; tile < tiles_; ++tile) {
      for (int lane = 0; lane < kLanes; ++lane) {
        const int query = tile * kLanes + lane;
        // Lanes beyond the last query see what it sees, with a query of zeros.
        const int row = (query < queries_ ? query : queries_ - 1) / a_.group;
        s.first[query] = first_visible(row);
        s.last[query] = a_.positions[row];
        s.top[query] = kNothing;
        s.sum[query] = 0;
      }
      for (int i = 0; i < 2 * chunks_ * kFloats; i += kLanes) Amx::store(sums(tile, 0) + i, Amx::zero());
      for (int chunk = 0; chunk < chunks_; ++chunk) {
        Amx::I parts[kParts][kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
          const int query = tile * kLanes + lane;
          F low = Amx::zero();
          F high = Amx::zero();
          if (query < queries_) {
            const float* q =
                a_.q + query / a_.group * a_.row_stride + int64_t{query % a_.group} * a_.head_dim;
            __builtin_prefetch(q + (chunk + 2) * kChunk);
            __builtin_prefetch(q + (chunk + 2) * kChunk + kLanes);
            low = Amx::mul(some(q, chunk * kChunk), scale);
            high = Amx::mul(some(q, chunk * kChunk + kLanes), scale);
          }
          for (auto& part : parts) {
            const F low_rounded = Amx::round_bf16(low);
            const F high_rounded = Amx::round_bf16(high);
            part[lane] = Amx::in_order(low_rounded, high_rounded);
            low = Amx::sub(low, low_rounded);
            high = Amx::sub(high, high_rounded);
          }
        }
        for (int p = 0; p < kParts; ++p) {
          Amx::transpose(parts[p]);
          for (int i = 0; i < kLanes; ++i) Amx::store_int(query(tile, chunk, p) + i * 64, parts[p][i]);
        }
      }
    }
  }
  /// Sixteen of a head's values from i on, zeros beyond its end.
  [[nodiscard]] F some(const float* x, int i) const {
    return i < a_.head_dim ? load_up_to<Amx>(x, i, a_.head_dim) : Amx::zero();
  }

  // --- keys and values -------------------------------------------------------------------------------------
  [[nodiscard]] Block block_at(int32_t position) const {
    Block b{};
    b.position = position;
    b.begin = first_ > position ? (first_ - position) / kChunk : 0;
    const int count = last_ - position + 1;
    b.end = count < kPromptBlock ? (count + kChunk - 1) / kChunk : kChunks;
    const bool as_stored = a_.element == KvElement::kBF16 && a_.head_dim % kChunk == 0;
    b.stride = as_stored ? a_.stride : int64_t{chunks_} * kChunk * 2;
    for (int p = b.begin * kChunk / kPageSlots; p * kPageSlots < b.end * kChunk; ++p) {
      const int64_t slot = int64_t{a_.pages[(position / kPageSlots + p) % a_.ring]} * kPageSlots;
      b.k[p] = a_.k + slot * a_.stride;
      b.v[p] = a_.v + slot * a_.stride;
      if (as_stored) continue;
      unsigned char* rounded = a_.scratch.rounded + int64_t{2} * p * kPageSlots * b.stride;
      unsigned char* rounded_v = rounded + kPageSlots * b.stride;
      if (a_.element == KvElement::kBF16) {
        b.k[p] = round_page<KvElement::kBF16>(b.k[p], nullptr, 0, b.stride, rounded);
        b.v[p] = round_page<KvElement::kBF16>(b.v[p], nullptr, 0, b.stride, rounded_v);
      } else {
        // Codes are exact in bf16: a key's scale is left for its scores.
        static constexpr float kOne = 1;
        b.k_scale[p] = a_.k_scale + slot * a_.scale_stride;
        b.k[p] = round_page<KvElement::kQ8>(b.k[p], &kOne, 0, b.stride, rounded);
        b.v[p] = round_page<KvElement::kQ8>(b.v[p], a_.v_scale + slot * a_.scale_stride, a_.scale_stride,
                                            b.stride, rounded_v);
      }
    }
    return b;
  }
  /// A page's slots as bf16, `stride` bytes apart with zeros beyond head_dim. Returns `to`.
  template <KvElement kElement>
  const unsigned char* round_page(const unsigned char* from, const float* scales, int64_t scale_stride,
                                  int64_t stride, unsigned char* to) const {
    const StoredSlots<Amx, kElement> slots{from, scales, a_.stride, scale_stride, kPageSlots, nullptr};
    for (int j = 0; j < kPageSlots; ++j) {
      const auto at = [&](int i) {
        if (i + kLanes <= a_.head_dim) return slots.load(j, i);
        return i < a_.head_dim ? slots.load_tail(j, i, a_.head_dim) : Amx::zero();
      };
      for (int c = 0; c < chunks_; ++c) {
        const F low = Amx::round_bf16(at(c * kChunk));
        const F high = Amx::round_bf16(at(c * kChunk + kLanes));
        Amx::store_int(to + j * stride + c * 64, Amx::in_order(low, high));
      }
    }
    return to;
  }
  static const unsigned char* slot(const unsigned char* const (&pages)[kPages], int64_t stride, int j) {
    return pages[j / kPageSlots] + j % kPageSlots * stride;
  }

  /// Values of a block, dimensions [32 chunk, 32 chunk + 32), as second operands: two keys side by side. What
  /// no query of the item sees may never have been written: it counts as 0.
  void lay_out_values(const Block& b, int chunk) const {
    const auto at = [&](int j) {
      const int32_t position = b.position + j;
      return position < first_ || position > last_ ? Amx::zero_int()
                                                   : Amx::load_any(slot(b.v, b.stride, j) + chunk * 64);
    };
    for (int c = b.begin; c < b.end; ++c) {
      unsigned char* to = a_.scratch.values + int64_t{2} * c * kBytes;
      for (int i = 0; i < kLanes; ++i) {
        const Amx::I even = at(c * kChunk + 2 * i);
        const Amx::I odd = at(c * kChunk + 2 * i + 1);
        Amx::store_int(to + i * 64, Amx::interleave_low(even, odd));
        Amx::store_int(to + kBytes + i * 64, Amx::interleave_high(even, odd));
      }
    }
  }

  // --- a block of keys -------------------------------------------------------------------------------------
  void attend_block(const Block& b) const {
    for (int tile = 0; tile < tiles_;)
      tile += with_count<2>(tiles_ - tile, [&]<int kTiles>() {
        score<kTiles>(b, tile);
        for (int t = 0; t < kTiles; ++t) weigh(b, tile + t, a_.scratch.scores + t * kPromptBlock * kLanes);
      });
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      lay_out_values(b, chunk);
      Amx::fence();
      for (int tile = 0; tile < tiles_;)
        tile += with_count<2>(tiles_ - tile, [&]<int kTiles>() { add_values<kTiles>(b, tile, chunk); });
    }
  }

  /// scores[tile][key][query]
  template <int kTiles>
  void score(const Block& b, int tile) const {
    Amx::fence();
    for (int c = b.begin; c < b.end; ++c) {
      const unsigned char* k0 = slot(b.k, b.stride, c * kChunk);
      const unsigned char* k1 = k0 + kLanes * b.stride;
      const unsigned char* q0 = query(tile, 0, 0);
      const unsigned char* q1 = query(tile + kTiles - 1, 0, 0);
      _tile_zero(0);
      _tile_zero(2);
      if constexpr (kTiles == 2) {
        _tile_zero(1);
        _tile_zero(3);
      }
      for (int d = 0; d < chunks_; ++d) {
        _tile_loadd(4, k0 + d * 64, b.stride);
        _tile_loadd(5, k1 + d * 64, b.stride);
        for (int p = 0; p < kParts; ++p, q0 += kBytes, q1 += kBytes) {
          _tile_loadd(6, q0, 64);
          _tile_dpbf16ps(0, 4, 6);
          _tile_dpbf16ps(2, 5, 6);
          if constexpr (kTiles == 2) {
            _tile_loadd(7, q1, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
          }
        }
      }
      float* to = a_.scratch.scores + c * kChunk * kLanes;
      _tile_stored(0, to, 64);
      _tile_stored(2, to + kFloats, 64);
      if constexpr (kTiles == 2) {
        _tile_stored(1, to + kPromptBlock * kLanes, 64);
        _tile_stored(3, to + kPromptBlock * kLanes + kFloats, 64);
      }
    }
    Amx::fence();
  }

  /// Turns sixteen queries' scores of a block into weights, relative to a reference that is moved if it must.
  void weigh(const Block& b, int tile, float* scores) const {
    float* tops = a_.scratch.top + tile * kLanes;
    float* totals = a_.scratch.sum + tile * kLanes;
    if (a_.element == KvElement::kQ8) scale_scores(b, scores);
    hide_unseen(b, tile, scores);
    F tallest = Amx::load(scores + b.begin * kChunk * kLanes);
    F tallest_odd = Amx::load(scores + (b.begin * kChunk + 1) * kLanes);
    for (int j = b.begin * kChunk + 2; j < b.end * kChunk; j += 2) {
      tallest = Amx::max(tallest, Amx::load(scores + j * kLanes));
      tallest_odd = Amx::max(tallest_odd, Amx::load(scores + (j + 1) * kLanes));
    }
    tallest = Amx::max(tallest, tallest_odd);
    const F old = Amx::load(tops);
    const F top = Amx::where_above(tallest, Amx::add(old, Amx::set1(kSlack)), tallest, old);
    const F factors = exp2(Amx::sub(old, top));
    const F total = Amx::mul(Amx::load(totals), factors);
    rescale(tile, factors);
    Amx::store(tops, top);

    // What is added up is what the values are multiplied by, weights as rounded: so the result is an exact
    // mean of values, with weights a little off, and what is off in all alike cancels.
    F even = Amx::zero();
    F odd = Amx::zero();
    for (int c = b.begin; c < b.end; ++c) {
      Amx::I pairs[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const float* s = scores + (c * kChunk + 2 * i) * kLanes;
        const F first = Amx::round_bf16(exp2(Amx::sub(Amx::load(s), top)));
        const F second = Amx::round_bf16(exp2(Amx::sub(Amx::load(s + kLanes), top)));
        even = Amx::add(even, first);
        odd = Amx::add(odd, second);
        pairs[i] = Amx::side_by_side(first, second);
      }
      Amx::transpose(pairs);
      unsigned char* to = weights(tile, c);
      for (int i = 0; i < kLanes; ++i) Amx::store_int(to + i * 64, pairs[i]);
    }
    Amx::store(totals, Amx::add(total, Amx::add(even, odd)));
  }

  void scale_scores(const Block& b, float* scores) const {
    for (int j = b.begin * kChunk; j < b.end * kChunk; ++j) {
      const float scale = b.k_scale[j / kPageSlots][j % kPageSlots * a_.scale_stride];
      float* s = scores + j * kLanes;
      Amx::store(s, Amx::mul(Amx::load(s), Amx::set1(scale)));
    }
  }

  /// Scores of keys that a query does not see become −∞.
  void hide_unseen(const Block& b, int tile, float* scores) const {
    const int32_t* first = a_.scratch.first + tile * kLanes;
    const int32_t* last = a_.scratch.last + tile * kLanes;
    int32_t all_from = first[0];
    int32_t all_to = last[0];
    for (int i = 1; i < kLanes; ++i) {
      all_from = first[i] > all_from ? first[i] : all_from;
      all_to = last[i] < all_to ? last[i] : all_to;
    }
    const Amx::I from = Amx::load_any(first);
    const Amx::I to = Amx::load_any(last);
    for (int j = b.begin * kChunk; j < b.end * kChunk; ++j) {
      const int32_t position = b.position + j;
      if (position >= all_from && position <= all_to) continue;
      float* s = scores + j * kLanes;
      Amx::store(s, Amx::where_within(position, from, to, Amx::load(s), Amx::set1(-__builtin_inff())));
    }
  }

  /// Multiplies the sums so far of queries whose reference has moved.
  void rescale(int tile, F factors) const {
    float each[kLanes];
    Amx::store(each, factors);
    for (int i = 0; i < kLanes; ++i) {
      if (each[i] == 1 || a_.scratch.sum[tile * kLanes + i] == 0) continue;
      const F factor = Amx::set1(each[i]);
      float* row = sums(tile, 0) + i * kLanes;
      for (int half = 0; half < 2 * chunks_; ++half, row += kFloats)
        Amx::store(row, Amx::mul(Amx::load(row), factor));
    }
  }

  /// 2^x to 10⁻⁴ of it, a tenth of what bf16 keeps, for x < 127; exactly 0 for x ≤ −127 and 1 for 0.
  static F exp2(F x) {
    constexpr float kMagic = 12582912;  // 1.5 · 2²³: a sum's last bits are x to the nearest integer
    x = Amx::max(x, Amx::set1(-127.0F));
    const F shifted = Amx::add(x, Amx::set1(kMagic));
    const F r = Amx::sub(x, Amx::sub(shifted, Amx::set1(kMagic)));
    F p = Amx::fma(r, Amx::set1(5.500893000e-2F), Amx::set1(2.422109596e-1F));
    p = Amx::fma(p, r, Amx::set1(6.932829273e-1F));
    p = Amx::fma(p, r, Amx::set1(1.0F));
    return Amx::add_exponent(p, shifted);
  }

  /// sums[tile] += weights · values over a block, for one chunk of dimensions.
  template <int kTiles>
  void add_values(const Block& b, int tile, int chunk) const {
    float* s0 = sums(tile, 2 * chunk);
    float* s1 = sums(tile + kTiles - 1, 2 * chunk);
    _tile_loadd(0, s0, 64);
    _tile_loadd(1, s0 + kFloats, 64);
    if constexpr (kTiles == 2) {
      _tile_loadd(2, s1, 64);
      _tile_loadd(3, s1 + kFloats, 64);
    }
    for (int c = b.begin; c < b.end; ++c) {
      const unsigned char* v = a_.scratch.values + int64_t{2} * c * kBytes;
      _tile_loadd(4, weights(tile, c), 64);
      _tile_loadd(6, v, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, v + kBytes, 64);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTiles == 2) {
        _tile_loadd(5, weights(tile + 1, c), 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, s0, 64);
    _tile_stored(1, s0 + kFloats, 64);
    if constexpr (kTiles == 2) {
      _tile_stored(2, s1, 64);
      _tile_stored(3, s1 + kFloats, 64);
    }
  }

  // --- results ---------------------------------------------------------------------------------------------
  void store() const {
    Amx::fence();
    for (int query = 0; query < queries_; ++query) {
      float* out = a_.out + query / a_.group * a_.row_stride + int64_t{query % a_.group} * a_.head_dim;
      const F inverse = Amx::set1(1.0F / a_.scratch.sum[query]);
      const float* row = sums(query / kLanes, 0) + query % kLanes * kLanes;
      for (int chunk = 0; chunk < chunks_; ++chunk, row += 2 * kFloats) {
        F low;
        F high;
        Amx::put_in_order(Amx::mul(Amx::load(row), inverse), Amx::mul(Amx::load(row + kFloats), inverse), low,
                          high);
        store_some(out, chunk * kChunk, low);
        store_some(out, chunk * kChunk + kLanes, high);
      }
    }
  }
  void store_some(float* x, int i, F values) const {
    if (i + kLanes <= a_.head_dim) return Amx::store(x + i, values);
    float each[kLanes];
    Amx::store(each, values);
    for (int j = i; j < a_.head_dim; ++j) x[j] = each[j - i];
  }

  const PromptAttention& a_;
  int queries_;                   // rows × heads
  int tiles_;                     // of sixteen queries
  int chunks_;                    // of a head's dimensions
  int32_t first_ = 0, last_ = 0;  // keys that any row sees
};

}  // namespace facet::cpu
