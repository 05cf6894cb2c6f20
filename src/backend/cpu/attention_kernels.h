// Attention over one page of the cache with a running ("online") softmax: Milakov & Gimelshein 2018, as
// flash-attention uses it. All query heads that share a key/value head are queries here, so a key is read and
// widened once for all of them.
#pragma once

#include "backend/cpu/elementwise_kernels.h"
#include "backend/cpu/kernels.h"

namespace facet::cpu {

/// Slots taken at a time: 16 · 512 floats, widened, stay in the first-level cache. While one block is worked
/// on, the next is fetched: of many sequences together the cache holds little.
constexpr int kSlotBlock = 16;

/// A page's keys or its values as they are stored.
template <class S, KvElement kElement>
struct StoredSlots {
  static constexpr int kBytes = kElement == KvElement::kF32 ? 4 : kElement == KvElement::kBF16 ? 2 : 1;
  static constexpr int kLine = 64;

  const unsigned char* data;  // slot 0
  const float* scales;        // kQ8
  int64_t stride;             // bytes from slot to slot
  int64_t scale_stride;
  int end;                    // slots to read
  const unsigned char* next;  // what is read after them, of the same stride; or null

  /// Lanes [i, i + 16) of slot j.
  typename S::F load(int j, int i) const { return widen(data + j * stride + i * kBytes, j); }
  /// The lanes from i on, zeros beyond `dim`.
  typename S::F load_tail(int j, int i, int dim) const {
    alignas(64) unsigned char tail[kLanes * kBytes] = {};
    __builtin_memcpy(tail, data + j * stride + i * kBytes,
                     static_cast<size_t>(dim - i) * static_cast<size_t>(kBytes));
    return widen(tail, j);
  }
  /// Fetches slot j of the next block, from byte `from` to byte `to`. Inlined early: g++ 12 takes a function
  /// that does nothing but prefetch for one without effect and drops the call.
  [[gnu::always_inline]] void prefetch(int j, int64_t from, int64_t to) const {
    j += kSlotBlock;
    if (j >= end && next == nullptr) return;
    const unsigned char* slot = j < end ? data + j * stride : next + (j - end) * stride;
    for (int64_t i = from; i < to; i += kLine) __builtin_prefetch(slot + i);
  }
  [[gnu::always_inline]] void prefetch(int j, int dim) const { prefetch(j, 0, int64_t{dim} * kBytes); }
  [[gnu::always_inline]] void prefetch_lanes(int j, int i) const {
    prefetch(j, int64_t{i} * kBytes, int64_t{i} * kBytes + 1);
  }

 private:
  typename S::F widen(const unsigned char* p, int j) const {
    if constexpr (kElement == KvElement::kF32) {
      return S::load(reinterpret_cast<const float*>(p));
    } else if constexpr (kElement == KvElement::kBF16) {
      return S::load_bf16(p);
    } else {
      return S::mul(S::load_i8(p), S::set1(scales[j * scale_stride]));
    }
  }
};

/// Slots [begin, …) of a page widened to f32, rows of `dim` floats.
template <class S>
struct WidenedSlots {
  const float* rows;
  int begin;
  int64_t dim;

  typename S::F load(int j, int i) const { return S::load(rows + (j - begin) * dim + i); }
  // The next block was fetched while this one was widened.
  void prefetch(int /*j*/, int /*dim*/) const {}
  void prefetch_lanes(int /*j*/, int /*i*/) const {}
};

/// Widens slots [begin, begin + count) to rows of `padded` floats.
template <class S, class Slots>
WidenedSlots<S> widen_slots(const Slots& slots, int begin, int count, int dim, int padded, float* rows) {
  const int whole = dim / kLanes * kLanes;
  for (int j = 0; j < count; ++j) {
    slots.prefetch(begin + j, dim);
    float* row = rows + int64_t{j} * padded;
    for (int i = 0; i < whole; i += kLanes) S::store(row + i, slots.load(begin + j, i));
    if (whole < dim) S::store(row + whole, slots.load_tail(begin + j, whole, dim));
  }
  return {rows, begin, padded};
}

/// scores[q][j] = q · k for kQ queries and kK keys from slot j on.
template <class S, int kQ, int kK, class Slots>
void score_block(const float* q, const Slots& keys, int j, int dim, float* scores) {
  typename S::F sums[kQ][kK];
  for (auto& row : sums)
    for (auto& sum : row) sum = S::zero();
  for (int i = 0; i < dim; i += kLanes) {
    typename S::F key[kK];
    for (int c = 0; c < kK; ++c) key[c] = keys.load(j + c, i);
    for (int r = 0; r < kQ; ++r) {
      const auto query = S::load(q + int64_t{r} * dim + i);
      for (int c = 0; c < kK; ++c) sums[r][c] = S::fma(query, key[c], sums[r][c]);
    }
  }
  if constexpr (kQ * kK == kLanes && requires(typename S::F(&x)[kLanes]) { S::reduce_add_each(x); }) {
    typename S::F all[kLanes];
    for (int i = 0; i < kLanes; ++i) all[i] = sums[i / kK][i % kK];
    float each[kLanes];
    S::store(each, S::reduce_add_each(all));
    for (int r = 0; r < kQ; ++r)
      for (int c = 0; c < kK; ++c) scores[r * kPageSlots + j + c] = each[r * kK + c];
  } else {
    for (int r = 0; r < kQ; ++r)
      for (int c = 0; c < kK; ++c) scores[r * kPageSlots + j + c] = S::reduce_add(sums[r][c]);
  }
}

template <class S, int kQ, int kK, class Slots>
void score_queries(const float* q, const Slots& keys, int begin, int end, int dim, float* scores) {
  int j = begin;
  for (; j + kK <= end; j += kK) {
    for (int c = 0; c < kK; ++c) keys.prefetch(j + c, dim);
    score_block<S, kQ, kK>(q, keys, j, dim, scores);
  }
  for (; j < end; ++j) score_block<S, kQ, 1>(q, keys, j, dim, scores);
}

/// acc[q] += Σ_j weights[q][j] · v[j] for kQ queries, values in order, kC vectors of a row at a time.
template <class S, int kQ, int kC, class Slots>
void weigh_values(const float* weights, const Slots& values, int begin, int end, int dim, float* acc) {
  int i = 0;
  const auto columns = [&]<int kN>() {
    typename S::F sums[kQ][kN];
    for (int r = 0; r < kQ; ++r)
      for (int c = 0; c < kN; ++c) sums[r][c] = S::load(acc + int64_t{r} * dim + i + c * kLanes);
    for (int j = begin; j < end; ++j) {
      values.prefetch_lanes(j, i);
      typename S::F value[kN];
      for (int c = 0; c < kN; ++c) value[c] = values.load(j, i + c * kLanes);
      for (int r = 0; r < kQ; ++r) {
        const auto w = S::set1(weights[r * kPageSlots + j]);
        for (int c = 0; c < kN; ++c) sums[r][c] = S::fma(w, value[c], sums[r][c]);
      }
    }
    for (int r = 0; r < kQ; ++r)
      for (int c = 0; c < kN; ++c) S::store(acc + int64_t{r} * dim + i + c * kLanes, sums[r][c]);
  };
  for (; i + kC * kLanes <= dim; i += kC * kLanes) columns.template operator()<kC>();
  for (; i < dim; i += kLanes) columns.template operator()<1>();
}

/// Turns a query's scores of a page into weights relative to its new maximum and rescales what it has so far.
/// Slots it may not see get weight 0.
template <class S>
void update_softmax(const AttentionState& a, const KvPage& page, int query) {
  float* scores = a.weights + int64_t{query} * kPageSlots;
  const int low = a.first[query] - page.position;
  const int high = a.last[query] - page.position + 1;
  const int begin = low > page.begin ? low : page.begin;
  const int end = high < page.end ? high : page.end;
  if (begin >= end) {  // sees nothing of this page: its state stays as it is, to the bit
    for (int j = 0; j < kPageSlots; ++j) scores[j] = 0;
    return;
  }
  float top = a.top[query];
  for (int j = begin; j < end; ++j) top = scores[j] > top ? scores[j] : top;
  // Beyond the range: −∞, which exp() takes to nearly nothing, then exactly 0 below.
  for (int j = 0; j < begin; ++j) scores[j] = -__builtin_inff();
  for (int j = end; j < kPageSlots; ++j) scores[j] = -__builtin_inff();
  const auto shift = S::set1(top);
  auto sum = S::zero();
  for (int j = 0; j < kPageSlots; j += kLanes) {
    auto w = exp<S>(S::sub(S::load(scores + j), shift));
    w = S::first_lanes(w, S::zero(), end - j);
    w = S::first_lanes(S::zero(), w, begin - j);
    S::store(scores + j, w);
    sum = S::add(sum, w);
  }
  float* acc = a.acc + int64_t{query} * a.padded_dim;
  if (top > a.top[query]) {
    float correction[kLanes];
    S::store(correction, exp<S>(S::set1(a.top[query] - top)));
    a.sum[query] *= correction[0];
    scale<S>(acc, correction[0], a.padded_dim);
    a.top[query] = top;
  }
  a.sum[query] += S::reduce_add(sum);
}

/// Scores of all queries with the keys of slots [begin, end), kQ × kK at a time.
template <class S, int kQ, int kK, class Slots>
void score_all(const AttentionState& a, const Slots& keys, int begin, int end) {
  const auto from = [&](int q) { return a.q + int64_t{q} * a.padded_dim; };
  const auto to = [&](int q) { return a.weights + int64_t{q} * kPageSlots; };
  int q = 0;
  for (; q + kQ <= a.queries; q += kQ)
    score_queries<S, kQ, kK>(from(q), keys, begin, end, a.padded_dim, to(q));
  constexpr int kFew = kQ > 4 ? kQ * kK / 4 : kK;
  if constexpr (kQ > 4)
    for (; q + 4 <= a.queries; q += 4)
      score_queries<S, 4, kFew>(from(q), keys, begin, end, a.padded_dim, to(q));
  for (; q < a.queries; ++q) score_queries<S, 1, kFew>(from(q), keys, begin, end, a.padded_dim, to(q));
}

/// Takes the values of slots [begin, end) into all queries' sums.
template <class S, int kQ, int kC, class Slots>
void weigh_all(const AttentionState& a, const Slots& values, int begin, int end) {
  const auto from = [&](int q) { return a.weights + int64_t{q} * kPageSlots; };
  const auto to = [&](int q) { return a.acc + int64_t{q} * a.padded_dim; };
  int q = 0;
  for (; q + kQ <= a.queries; q += kQ)
    weigh_values<S, kQ, kC>(from(q), values, begin, end, a.padded_dim, to(q));
  constexpr int kFew = kQ > 4 ? kQ * kC / 4 : kC;
  if constexpr (kQ > 4)
    for (; q + 4 <= a.queries; q += 4)
      weigh_values<S, 4, kFew>(from(q), values, begin, end, a.padded_dim, to(q));
  for (; q < a.queries; ++q) weigh_values<S, 1, kFew>(from(q), values, begin, end, a.padded_dim, to(q));
}

/// Few queries widen a key in registers as they use it; for many it is widened once into the first-level
/// cache. The sums are the same either way.
template <class S, KvElement kElement>
void attend_stored(const AttentionState& a, const KvPage& page) {
  using Stored = StoredSlots<S, kElement>;
  const Stored keys{
      page.k, page.k_scale, page.stride, page.scale_stride, page.end, page.v + page.begin * page.stride};
  const Stored values{page.v, page.v_scale, page.stride, page.scale_stride, page.end, page.next};
  const bool direct = a.queries <= S::kDirectQueries && a.head_dim == a.padded_dim;
  const auto by_block = [&](auto&& body) {
    const int step = direct ? S::kDirectSlots : kSlotBlock;
    for (int j = page.begin; j < page.end; j += step) body(j, page.end - j < step ? page.end : j + step);
  };
  by_block([&](int begin, int end) {
    if (direct) return score_all<S, S::kDirectQueryBlock, S::kDirectKeyBlock>(a, keys, begin, end);
    const auto rows = widen_slots<S>(keys, begin, end - begin, a.head_dim, a.padded_dim, a.rows);
    score_all<S, S::kQueryBlock, S::kKeyBlock>(a, rows, begin, end);
  });
  for (int q = 0; q < a.queries; ++q) update_softmax<S>(a, page, q);
  by_block([&](int begin, int end) {
    if (direct) return weigh_all<S, S::kDirectQueryBlock, S::kDirectKeyBlock>(a, values, begin, end);
    const auto rows = widen_slots<S>(values, begin, end - begin, a.head_dim, a.padded_dim, a.rows);
    weigh_all<S, S::kQueryBlock, S::kKeyBlock>(a, rows, begin, end);
  });
}

template <class S>
void attend_page(const AttentionState& a, const KvPage& page) {
  switch (page.element) {
    case KvElement::kF32: return attend_stored<S, KvElement::kF32>(a, page);
    case KvElement::kBF16: return attend_stored<S, KvElement::kBF16>(a, page);
    case KvElement::kQ8: return attend_stored<S, KvElement::kQ8>(a, page);
  }
}

template <class S>
void merge_attention(const AttentionState& total, const AttentionState& span) {
  for (int q = 0; q < total.queries; ++q) {
    if (!(span.sum[q] > 0)) continue;  // saw nothing of the span
    const float top = total.top[q] > span.top[q] ? total.top[q] : span.top[q];
    float factors[kLanes];
    float shifts[kLanes] = {total.top[q] - top, span.top[q] - top};
    S::store(factors, exp<S>(S::load(shifts)));
    const bool fresh = !(total.sum[q] > 0);
    const float keep = fresh ? 0.0F : factors[0];
    const auto k = S::set1(keep);
    const auto t = S::set1(factors[1]);
    float* acc = total.acc + int64_t{q} * total.padded_dim;
    const float* from = span.acc + int64_t{q} * total.padded_dim;
    for (int i = 0; i < total.padded_dim; i += kLanes)
      S::store(acc + i, S::fma(S::load(from + i), t, S::mul(S::load(acc + i), k)));
    total.sum[q] = total.sum[q] * keep + span.sum[q] * factors[1];
    total.top[q] = top;
  }
}

}  // namespace facet::cpu
