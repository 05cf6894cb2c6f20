// Attention over one page of the cache with a running ("online") softmax: Milakov & Gimelshein 2018, as
// flash-attention uses it. All query heads that share a key/value head are queries here, so a key is read and
// widened once for all of them.
#pragma once

#include "backend/cpu/elementwise_kernels.h"
#include "backend/cpu/kernels.h"

namespace facet::cpu {

constexpr int kSlotBlock =
    16;  ///< keys widened to f32 at a time: 16 · 512 floats stay in the first-level cache

/// Widens slots [begin, begin + count) to rows of `padded` floats.
template <class S>
void widen_slots(const unsigned char* data, const float* slot_scales, const KvPage& page, int begin,
                 int count, int dim, int padded, float* rows) {
  for (int j = 0; j < count; ++j) {
    const unsigned char* slot = data + (begin + j) * page.stride;
    float* row = rows + int64_t{j} * padded;
    const int whole = dim / kLanes * kLanes;
    const int element = page.element == KvElement::kF32 ? 4 : page.element == KvElement::kBF16 ? 2 : 1;
    const auto widen = [&](const unsigned char* p) {
      if (page.element == KvElement::kF32) return S::load(reinterpret_cast<const float*>(p));
      if (page.element == KvElement::kBF16) return S::load_bf16(p);
      return S::mul(S::load_i8(p), S::set1(slot_scales[(begin + j) * page.scale_stride]));
    };
    for (int i = 0; i < whole; i += kLanes) S::store(row + i, widen(slot + i * element));
    if (whole == dim) continue;
    alignas(64) unsigned char tail[kLanes * 4] = {};
    __builtin_memcpy(tail, slot + whole * element,
                     static_cast<size_t>(dim - whole) * static_cast<size_t>(element));
    S::store(row + whole, widen(tail));
  }
}

/// scores[q][j] = q · k for kQ queries and kK keys.
template <class S, int kQ, int kK>
void score_block(const float* q, const float* k, int dim, float* scores) {
  typename S::F sums[kQ][kK];
  for (auto& row : sums)
    for (auto& sum : row) sum = S::zero();
  for (int i = 0; i < dim; i += kLanes) {
    typename S::F keys[kK];
    for (int j = 0; j < kK; ++j) keys[j] = S::load(k + int64_t{j} * dim + i);
    for (int r = 0; r < kQ; ++r) {
      const auto query = S::load(q + int64_t{r} * dim + i);
      for (int j = 0; j < kK; ++j) sums[r][j] = S::fma(query, keys[j], sums[r][j]);
    }
  }
  for (int r = 0; r < kQ; ++r)
    for (int j = 0; j < kK; ++j) scores[r * kPageSlots + j] = S::reduce_add(sums[r][j]);
}

template <class S, int kQ>
void score_queries(const float* q, const float* k, int keys, int dim, float* scores) {
  int j = 0;
  for (; j + S::kKeyBlock <= keys; j += S::kKeyBlock)
    score_block<S, kQ, S::kKeyBlock>(q, k + int64_t{j} * dim, dim, scores + j);
  for (; j < keys; ++j) score_block<S, kQ, 1>(q, k + int64_t{j} * dim, dim, scores + j);
}

/// acc[q] += Σ_j weights[q][j] · v[j] for kQ queries, keys in order.
template <class S, int kQ>
void weigh_values(const float* weights, const float* v, int keys, int dim, float* acc) {
  constexpr int kColumns = S::kKeyBlock;  // vectors of a row at a time
  int i = 0;
  const auto columns = [&]<int kC>() {
    typename S::F sums[kQ][kC];
    for (int r = 0; r < kQ; ++r)
      for (int c = 0; c < kC; ++c) sums[r][c] = S::load(acc + int64_t{r} * dim + i + c * kLanes);
    for (int j = 0; j < keys; ++j) {
      typename S::F values[kC];
      for (int c = 0; c < kC; ++c) values[c] = S::load(v + int64_t{j} * dim + i + c * kLanes);
      for (int r = 0; r < kQ; ++r) {
        const auto w = S::set1(weights[r * kPageSlots + j]);
        for (int c = 0; c < kC; ++c) sums[r][c] = S::fma(w, values[c], sums[r][c]);
      }
    }
    for (int r = 0; r < kQ; ++r)
      for (int c = 0; c < kC; ++c) S::store(acc + int64_t{r} * dim + i + c * kLanes, sums[r][c]);
  };
  for (; i + kColumns * kLanes <= dim; i += kColumns * kLanes) columns.template operator()<kColumns>();
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

template <class S>
void attend_page(const AttentionState& a, const KvPage& page) {
  constexpr int kQ = S::kQueryBlock;
  const int dim = a.padded_dim;
  for (int j = page.begin; j < page.end; j += kSlotBlock) {
    const int keys = page.end - j < kSlotBlock ? page.end - j : kSlotBlock;
    widen_slots<S>(page.k, page.k_scale, page, j, keys, a.head_dim, dim, a.rows);
    int q = 0;
    for (; q + kQ <= a.queries; q += kQ)
      score_queries<S, kQ>(a.q + int64_t{q} * dim, a.rows, keys, dim,
                           a.weights + int64_t{q} * kPageSlots + j);
    for (; q < a.queries; ++q)
      score_queries<S, 1>(a.q + int64_t{q} * dim, a.rows, keys, dim, a.weights + int64_t{q} * kPageSlots + j);
  }
  for (int q = 0; q < a.queries; ++q) update_softmax<S>(a, page, q);
  for (int j = page.begin; j < page.end; j += kSlotBlock) {
    const int keys = page.end - j < kSlotBlock ? page.end - j : kSlotBlock;
    widen_slots<S>(page.v, page.v_scale, page, j, keys, a.head_dim, dim, a.rows);
    int q = 0;
    for (; q + kQ <= a.queries; q += kQ)
      weigh_values<S, kQ>(a.weights + int64_t{q} * kPageSlots + j, a.rows, keys, dim,
                          a.acc + int64_t{q} * dim);
    for (; q < a.queries; ++q)
      weigh_values<S, 1>(a.weights + int64_t{q} * kPageSlots + j, a.rows, keys, dim,
                         a.acc + int64_t{q} * dim);
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
