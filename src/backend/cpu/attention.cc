// Attention over the paged cache, and rope.
//
// A row's keys are cut into spans at absolute positions; each span is a running softmax of its own, and spans
// are merged in order. How long spans are depends on how much the row sees, never on what else is in the
// batch, so a row's result is the same to the bit whether its spans go to different threads (decode) or its
// item stays on one (prefill).
#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/cpu_backend.h"

namespace facet {
namespace {

using cpu::AttentionState;
using cpu::kLanes;

int32_t first_visible(int32_t position, int window) noexcept {
  return window > 0 ? std::max(0, position - window + 1) : 0;
}

/// Tokens a span for a row that sees `visible` keys: at most 16 whole spans, and two pages at least.
int32_t span_tokens(int32_t visible) noexcept {
  int32_t tokens = 2 * kPageTokens;
  while (int64_t{tokens} * 16 < visible) tokens *= 2;
  return tokens;
}

void clear(const AttentionState& state) noexcept {
  std::fill_n(state.top, state.queries, -std::numeric_limits<float>::infinity());
  std::fill_n(state.sum, state.queries, 0.0F);
  std::fill_n(state.acc, int64_t{state.queries} * state.padded_dim, 0.0F);
}

}  // namespace

/// The longest run of rows from `row` on with one sequence and one span length.
CpuBackend::Item CpuBackend::item_at(const AttentionTask& task, int row) noexcept {
  const auto visible_from = [&](int r) { return first_visible(task.rows.positions[r], task.shape.window); };
  const auto span_of = [&](int r) { return span_tokens(task.rows.positions[r] - visible_from(r) + 1); };
  Item item{row, row, visible_from(row), task.rows.positions[row], span_of(row)};
  const int most = std::max(1, kQueriesPerItem / task.group);
  for (; item.end < task.rows.count && item.end - row < most; ++item.end) {
    const int r = item.end;
    if (task.rows.sequences[r] != task.rows.sequences[row] || span_of(r) != item.span) break;
    item.first = std::min(item.first, visible_from(r));
    item.last = std::max(item.last, task.rows.positions[r]);
  }
  return item;
}

/// Lays out an item's queries in this thread's scratch: scaled and padded.
AttentionState CpuBackend::load_queries(int thread, const AttentionTask& task, const Item& item,
                                        int head) noexcept {
  ThreadScratch& s = thread_scratch_[static_cast<size_t>(thread)];
  AttentionState state;
  state.queries = (item.end - item.begin) * task.group;
  state.head_dim = task.shape.head_dim;
  state.padded_dim = task.padded_dim;
  state.q = s.q;
  state.first = s.first;
  state.last = s.last;
  state.weights = s.weights;
  state.rows = s.slots;
  int query = 0;
  for (int r = item.begin; r < item.end; ++r) {
    for (int g = 0; g < task.group; ++g, ++query) {
      const float* from =
          task.q + (int64_t{r} * task.shape.q_heads + int64_t{head} * task.group + g) * task.shape.head_dim;
      float* to = s.q + int64_t{query} * task.padded_dim;
      kernels_.scale_to(from, task.shape.scale, task.shape.head_dim, to);
      std::fill(to + task.shape.head_dim, to + task.padded_dim, 0.0F);
      s.first[query] = first_visible(task.rows.positions[r], task.shape.window);
      s.last[query] = task.rows.positions[r];
    }
  }
  return state;
}

/// Where the key of `position` lies.
const unsigned char* CpuBackend::key(const AttentionTask& task, int32_t sequence, int32_t position,
                                     int head) noexcept {
  const KvView& kv = task.kv;
  return reinterpret_cast<const unsigned char*>(kv.k + kv.slot(sequence, position, head) *
                                                           kv_row_bytes(kv.type, kv.head_dim));
}

/// Takes keys [begin, end) into `state`. `next` is the key that this thread reads afterwards, or null.
void CpuBackend::attend_span(const AttentionTask& task, const Item& item, int head, int32_t begin,
                             int32_t end, const unsigned char* next, const AttentionState& state) noexcept {
  clear(state);
  const KvView& kv = task.kv;
  const int64_t row_bytes = kv_row_bytes(kv.type, kv.head_dim);
  const int32_t sequence = task.rows.sequences[item.begin];
  for (int32_t position = begin / kPageTokens * kPageTokens; position < end; position += kPageTokens) {
    const int64_t slot = kv.slot(sequence, position, head);
    cpu::KvPage page;
    page.element = kv_element(kv.type);
    page.k = reinterpret_cast<const unsigned char*>(kv.k + slot * row_bytes);
    page.v = reinterpret_cast<const unsigned char*>(kv.v + slot * row_bytes);
    if (kv.type == KvType::kQ8) {
      page.k_scale = kv.k_scale + slot;
      page.v_scale = kv.v_scale + slot;
    }
    page.stride = kv.kv_heads * row_bytes;
    page.scale_stride = kv.kv_heads;
    page.position = position;
    page.begin = std::max(begin - position, 0);
    page.end = std::min(end - position, kPageTokens);
    page.next = position + kPageTokens < end ? key(task, sequence, position + kPageTokens, head) : next;
    kernels_.attend_page(state, page);
  }
}

void CpuBackend::store_attended(const AttentionTask& task, const Item& item, int head,
                                const AttentionState& total) const noexcept {
  int query = 0;
  for (int r = item.begin; r < item.end; ++r)
    for (int g = 0; g < task.group; ++g, ++query)
      kernels_.scale_to(total.acc + int64_t{query} * total.padded_dim, 1.0F / total.sum[query],
                        total.head_dim,
                        task.out + (int64_t{r} * task.shape.q_heads + int64_t{head} * task.group + g) *
                                       task.shape.head_dim);
}

void CpuBackend::attend_item(int thread, const AttentionTask& task, const Item& item, int head,
                             const unsigned char* next) noexcept {
  ThreadScratch& s = thread_scratch_[static_cast<size_t>(thread)];
  AttentionState total = load_queries(thread, task, item, head);
  AttentionState span = total;
  total.acc = s.acc[0], total.top = s.top[0], total.sum = s.sum[0];
  span.acc = s.acc[1], span.top = s.top[1], span.sum = s.sum[1];
  const int32_t first = item.first / item.span * item.span;
  for (int32_t begin = first; begin <= item.last; begin += item.span) {
    const bool last = begin + item.span > item.last;
    // Merging into nothing changes no bit: the first span is the total.
    attend_span(task, item, head, std::max(begin, item.first), last ? item.last + 1 : begin + item.span,
                last ? next : key(task, task.rows.sequences[item.begin], begin + item.span, head),
                begin == first ? total : span);
    if (begin != first) kernels_.merge_attention(total, span);
  }
  store_attended(task, item, head, total);
}

/// Lists the spans of all items as units of work; false when there are too many for the scratch.
bool CpuBackend::list_spans(const AttentionTask& task) noexcept {
  spans_.units.clear();
  int64_t floats = 0;
  int64_t queries = 0;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    const int64_t item_queries = int64_t{item.end - item.begin} * task.group;
    for (int head = 0; head < task.shape.kv_heads; ++head) {
      for (int32_t begin = item.first / item.span * item.span; begin <= item.last; begin += item.span) {
        if (spans_.units.size() == spans_.units.capacity()) return false;
        spans_.units.push_back({static_cast<int>(i), head, std::max(begin, item.first),
                                std::min(begin + item.span, item.last + 1), floats, queries});
        floats += item_queries * task.padded_dim;
        queries += item_queries;
      }
    }
  }
  return floats <= spans_.floats && queries <= spans_.queries;
}

/// The part of the span scratch that belongs to `unit`.
AttentionState CpuBackend::span_state(AttentionState state, const SpanUnit& unit) const noexcept {
  state.acc = spans_.acc + unit.floats;
  state.top = spans_.top + unit.queries;
  state.sum = spans_.sum + unit.queries;
  return state;
}

void CpuBackend::attend_spans(int thread, const AttentionTask& task) noexcept {
  const auto count = static_cast<int64_t>(spans_.units.size());
  const StaticRange mine = static_range(count, thread, pool_.team());
  AttentionState queries;
  int loaded_item = -1;
  int loaded_head = -1;
  for (int64_t u = mine.begin; u < mine.end; ++u) {
    const SpanUnit& unit = spans_.units[static_cast<size_t>(u)];
    const Item& item = items_[static_cast<size_t>(unit.item)];
    if (unit.item != loaded_item || unit.head != loaded_head)
      queries = load_queries(thread, task, item, unit.head);
    loaded_item = unit.item;
    loaded_head = unit.head;
    const unsigned char* next = nullptr;
    if (u + 1 < mine.end) {
      const SpanUnit& following = spans_.units[static_cast<size_t>(u + 1)];
      const Item& its = items_[static_cast<size_t>(following.item)];
      next = key(task, task.rows.sequences[its.begin], following.begin, following.head);
    }
    attend_span(task, item, unit.head, unit.begin, unit.end, next, span_state(queries, unit));
  }
  pool_.barrier(thread);
  // Units of an item and head are neighbours: each such run is merged by one thread.
  ThreadScratch& s = thread_scratch_[static_cast<size_t>(thread)];
  int run = 0;
  for (int64_t u = 0; u < count; ++run) {
    const SpanUnit& head_unit = spans_.units[static_cast<size_t>(u)];
    int64_t end = u;
    while (end < count && spans_.units[static_cast<size_t>(end)].item == head_unit.item &&
           spans_.units[static_cast<size_t>(end)].head == head_unit.head)
      ++end;
    if (run % pool_.team() == thread) {
      const Item& item = items_[static_cast<size_t>(head_unit.item)];
      AttentionState total;
      total.queries = (item.end - item.begin) * task.group;
      total.head_dim = task.shape.head_dim;
      total.padded_dim = task.padded_dim;
      total.acc = s.acc[0], total.top = s.top[0], total.sum = s.sum[0];
      clear(total);
      for (int64_t i = u; i < end; ++i)
        kernels_.merge_attention(total, span_state(total, spans_.units[static_cast<size_t>(i)]));
      store_attended(task, item, head_unit.head, total);
    }
    u = end;
  }
}

void CpuBackend::attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                        float* out) noexcept {
  const AttentionTask task{q,
                           rows,
                           shape,
                           kv,
                           out,
                           shape.q_heads / shape.kv_heads,
                           (shape.head_dim + kLanes - 1) / kLanes * kLanes};
  // Who keeps keys and values in f32 wants them exact.
  // A cache in f32, or a model that is stored as floats, is worth f32's precision.
  if (reading_ && kv.type != KvType::kF32 && !floats_alone()) return attend_prompt(task);
  items_.clear();
  for (int row = 0; row < rows.count; row = items_.back().end) items_.push_back(item_at(task, row));
  const auto count = static_cast<int64_t>(items_.size()) * shape.kv_heads;
  const bool few = pool_.size() > 1 && count < 2 * int64_t{pool_.size()};
  if (few && list_spans(task)) {
    pool_.run([&](int thread) noexcept { attend_spans(thread, task); });
    return;
  }
  const auto item_of = [&](int64_t i) -> const Item& {
    return items_[static_cast<size_t>(i / shape.kv_heads)];
  };
  const auto head_of = [&](int64_t i) { return static_cast<int>(i % shape.kv_heads); };
  const auto first_key = [&](int64_t i) {
    return key(task, rows.sequences[item_of(i).begin], item_of(i).first, head_of(i));
  };
  // Sequences' single rows go where the products took them, so that their queries and newest keys are in
  // reach.
  const int unit = static_cast<int>(items_.size()) == rows.count ? unit_rows(rows.count) * shape.kv_heads : 1;
  in_units(count, unit, [&](int thread, StaticRange mine) noexcept {
    for (int64_t i = mine.begin; i < mine.end; ++i)
      attend_item(thread, task, item_of(i), head_of(i), i + 1 < count ? first_key(i + 1) : nullptr);
  });
}

const CpuBackend::RopeTable& CpuBackend::rope_table(const Rows& rows, const AttentionShape& shape) noexcept {
  const int half = shape.head_dim / 2;
  const auto count = static_cast<size_t>(rows.count);
  for (RopeTable& t : rope_tables_) {
    if (t.inv_freq != shape.inv_freq || t.half != half || t.positions.size() != count ||
        !std::equal(t.positions.begin(), t.positions.end(), rows.positions))
      continue;
    t.used = ++rope_clock_;
    return t;
  }
  RopeTable& t = *std::min_element(rope_tables_.begin(), rope_tables_.end(),
                                   [](const RopeTable& a, const RopeTable& b) { return a.used < b.used; });
  t.inv_freq = shape.inv_freq;
  t.half = half;
  t.used = ++rope_clock_;
  t.positions.assign(rows.positions, rows.positions + rows.count);
  t.cosines.resize(count * static_cast<size_t>(half));
  t.sines.resize(t.cosines.size());
  in_units(rows.count, unit_rows(rows.count), [&](int /*thread*/, StaticRange mine) noexcept {
    for (int64_t r = mine.begin; r < mine.end; ++r) {
      for (int64_t i = 0; i < half; ++i) {
        // The angle is rounded to f32 before the cosine, as the checkpoints were trained with.
        const float angle = static_cast<float>(rows.positions[r]) * shape.inv_freq[i];
        t.cosines[static_cast<size_t>(r * half + i)] = angle == 0 ? 1.0F : std::cos(angle);
        t.sines[static_cast<size_t>(r * half + i)] = angle == 0 ? 0.0F : std::sin(angle);
      }
    }
  });
  return t;
}

void CpuBackend::rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept {
  const RopeTable& table = rope_table(rows, shape);
  for (int64_t r = 0; r < rows.count; ++r)
    kernels_.rope_row(x + r * heads * shape.head_dim, heads, table.half,
                      table.cosines.data() + r * table.half, table.sines.data() + r * table.half);
}

}  // namespace facet
