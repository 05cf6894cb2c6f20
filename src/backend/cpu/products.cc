// Products with packed weights, and the fused operations around them.
#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/kv_codec.h"

namespace facet {
namespace {

using cpu::Activations;
using cpu::kLanes;
using cpu::kTileRows;

/// Activations of rows [begin, begin + count).
Activations slice(const Activations& a, int64_t begin, int64_t count) noexcept {
  Activations s = a;
  s.rows = static_cast<int>(count);
  if (a.x != nullptr) s.x += begin * a.stride;
  if (a.codes != nullptr) {
    s.codes += begin * a.stride;
    s.scales += begin * a.groups;
    s.sums += begin * a.groups;
    s.outliers += begin * a.outlier_stride;
    s.outlier_counts += begin;
  }
  return s;
}

Activations slice(const Activations& a, StaticRange rows) noexcept {
  return slice(a, rows.begin, rows.end - rows.begin);
}

}  // namespace

size_t CpuBackend::form_of(const Weight& w) noexcept {
  const int group = packed(w).matrix().group;
  const auto* place = std::find(kForms.begin(), kForms.end(), group);
  return static_cast<size_t>(place - kForms.begin());
}

bool CpuBackend::apart(int rows, std::span<const Weight* const> weights) const noexcept {
  constexpr int64_t kSmall = int64_t{2} << 20;  // bytes: a share of the last-level cache
  return pool_.unit_team() > 1 && rows >= kUnitRows * pool_.unit_team() &&
         std::all_of(weights.begin(), weights.end(),
                     [](const Weight* w) { return w == nullptr || packed(*w).bytes() <= kSmall; });
}

template <class Body>
void CpuBackend::in_parts(int rows, std::span<const Weight* const> weights, Body body) noexcept {
  if (!apart(rows, weights)) {
    pool_.run([&](int thread) noexcept {
      body(Part{thread, static_range(rows, thread, pool_.team()), {0, rows}, false});
    });
    return;
  }
  in_units(rows, unit_rows(rows), [&](int thread, StaticRange own) noexcept {
    body(Part{thread, own, own, true});
  });
}

void CpuBackend::prepare(const Part& part, const Input& input,
                         std::span<const Weight* const> weights) noexcept {
  // Few rows without a norm over the whole row are split by groups, so that all threads have something.
  const bool split = !part.apart && !input.normed && input.rows < pool_.team();
  const int thread = part.thread;
  const StaticRange mine = split ? StaticRange{0, input.rows} : part.own;
  const bool quantised = std::any_of(weights.begin(), weights.end(), [](const Weight* w) {
    return w != nullptr && packed(*w).matrix().group > 0;
  });
  for (int64_t r = mine.begin; r < mine.end; ++r) {
    const float* x = input.x + r * input.cols;
    if (input.normed) {
      float* h = scratch_.h + r * input.cols;
      kernels_.rms_norm_row(x, input.cols, input.norm, input.eps, h);
      x = h;
    }
    const float outlier = quantised ? kernels_.outlier_limit(x, input.cols) : 0;
    if (quantised && (!split || thread == 0))
      outliers_.counts[r] = kernels_.list_outliers(x, input.cols, outlier, outliers_.stride,
                                                   outliers_.values + r * outliers_.stride);
    std::array<bool, kForms.size()> made = {};
    for (const Weight* w : weights) {
      const size_t form = w == nullptr ? 0 : form_of(*w);
      if (w == nullptr || made[form]) continue;
      made[form] = true;
      prepare_form(x, input.cols, r, outlier, packed(*w).matrix(), form,
                   split ? static_range(packed(*w).matrix().cols / std::max(kForms[form], kLanes), thread,
                                        pool_.team())
                         : StaticRange{0, packed(*w).matrix().cols / std::max(kForms[form], kLanes)});
    }
  }
}

/// Groups (16 columns in the float form) `groups` of row `r`.
void CpuBackend::prepare_form(const float* x, int64_t cols, int64_t r, float outlier,
                              const cpu::PackedMatrix& m, size_t form, StaticRange groups) noexcept {
  ActivationScratch& s = forms_[form];
  const int group = kForms[form];
  if (group == 0) {
    if (m.cols == cols) return;  // read where it is
    const int64_t begin = groups.begin * kLanes;
    const int64_t end = std::min(groups.end * kLanes, cols);
    float* to = s.x + r * m.cols;
    if (begin < end) std::copy(x + begin, x + end, to + begin);
    std::fill(to + std::max(begin, end), to + groups.end * kLanes, 0.0F);
    return;
  }
  const int64_t begin = groups.begin * group;
  const int64_t count = (groups.end - groups.begin) * group;
  const int64_t first = r * (m.cols / group) + groups.begin;
  if (count > 0)
    kernels_.quantize_row(x + begin, count, count, group, outlier, s.codes + r * code_stride(m.cols) + begin,
                          s.scales + first, s.sums + first);
}

Activations CpuBackend::activations(const Input& input, const Weight& w) const noexcept {
  const cpu::PackedMatrix& m = packed(w).matrix();
  const size_t form = form_of(w);
  const ActivationScratch& s = forms_[form];
  Activations a;
  a.rows = input.rows;
  a.stride = m.group > 0 ? code_stride(m.cols) : m.cols;
  if (m.group == 0) {
    a.x = m.cols != input.cols ? s.x : input.normed ? scratch_.h : input.x;
  } else {
    a.codes = s.codes;
    a.scales = s.scales;
    a.sums = s.sums;
    a.groups = m.cols / m.group;
    a.outliers = outliers_.values;
    a.outlier_counts = outliers_.counts;
    a.outlier_stride = outliers_.stride;
  }
  return a;
}

StaticRange CpuBackend::share(int thread, int64_t rows, int activation_rows) const noexcept {
  // Whole blocks where panels are used and there are plenty, else whole tiles.
  const bool blocks = activation_rows > kernels_.sweep_rows && rows >= int64_t{4} * kBlockRows * pool_.team();
  const int64_t unit = blocks ? kBlockRows : kTileRows;
  const StaticRange units = static_range((rows + unit - 1) / unit, thread, pool_.team());
  return {std::min(units.begin * unit, rows), std::min(units.end * unit, rows)};
}

template <class Epilogue>
void CpuBackend::multiply_blocks(int thread, const Activations& a, const cpu::PackedMatrix& w, int64_t begin,
                                 int64_t end, Epilogue epilogue) noexcept {
  const ThreadScratch& s = thread_scratch_[static_cast<size_t>(thread)];
  const int64_t row_bytes = a.stride * (w.group > 0 ? 1 : 4);
  int64_t block_tokens = kBlockTokens;
  while (block_tokens > kFewestBlockTokens && block_tokens * row_bytes > kernels_.block_bytes)
    block_tokens /= 2;
  for (int64_t token = 0; token < a.rows; token += block_tokens) {
    const Activations part = slice(a, token, std::min(block_tokens, a.rows - token));
    for (int64_t row = begin; row < end; row += kBlockRows) {
      const int64_t row_end = std::min(row + kBlockRows, end);
      const int64_t width = row_end - row;
      kernels_.product({&w, &part, row, row_end, s.block, width, s.panel});
      epilogue(row, width, token, part.rows);
    }
  }
}

void CpuBackend::multiply_rows(int thread, const Activations& a, const Weight& w, int64_t begin, int64_t end,
                               float* y, int64_t ldy) noexcept {
  const ThreadScratch& s = thread_scratch_[static_cast<size_t>(thread)];
  const cpu::PackedMatrix& m = packed(w).matrix();
  if (begin >= end) return;
  if (a.rows <= kernels_.sweep_rows) {
    kernels_.product({&m, &a, begin, end, y, ldy, s.panel});
    return;
  }
  // Sums that panels carry along stay in a dense block: rows of y lie a power of two apart often enough to
  // fall on the same few cache sets.
  multiply_blocks(thread, a, m, begin, end, [&](int64_t row, int64_t width, int64_t token, int tokens) {
    for (int t = 0; t < tokens; ++t)
      std::copy_n(s.block + t * width, width, y + (token + t) * ldy + row - begin);
  });
}

StaticRange CpuBackend::share(const Part& part, int64_t rows) const noexcept {
  if (part.apart) return {0, rows};
  return share(part.thread, rows, static_cast<int>(part.rows.end - part.rows.begin));
}

void CpuBackend::multiply(const Part& part, const Input& input, const Weight& w, int64_t out,
                          float* y) noexcept {
  const StaticRange mine = share(part, out);
  multiply_rows(part.thread, slice(activations(input, w), part.rows), w, mine.begin, mine.end,
                y + part.rows.begin * out + mine.begin, out);
}

/// m[:, begin … end) = gelu(gate) · up, columns being rows gate_row + i and up_row + i of the weights.
void CpuBackend::geglu_rows(int thread, const Activations& gate_a, const Weight& gate, int64_t gate_row,
                            const Activations& up_a, const Weight& up, int64_t up_row, StaticRange columns,
                            float* m, int64_t ldm, float* up_scratch) noexcept {
  const ThreadScratch& s = thread_scratch_[static_cast<size_t>(thread)];
  const int64_t begin = columns.begin;
  const int64_t end = columns.end;
  if (begin >= end) return;
  if (gate_a.rows <= kernels_.sweep_rows) {
    multiply_rows(thread, gate_a, gate, gate_row + begin, gate_row + end, m + begin, ldm);
    multiply_rows(thread, up_a, up, up_row + begin, up_row + end, up_scratch + begin, ldm);
    for (int t = 0; t < gate_a.rows; ++t)
      kernels_.gelu_mul(m + t * ldm + begin, up_scratch + t * ldm + begin, end - begin);
    return;
  }
  float* up_block = s.block + int64_t{kBlockTokens} * kBlockRows;
  multiply_blocks(thread, gate_a, packed(gate).matrix(), gate_row + begin, gate_row + end,
                  [&](int64_t row, int64_t width, int64_t token, int tokens) {
                    const Activations part = slice(up_a, token, tokens);
                    const int64_t first = row - gate_row;
                    kernels_.product({&packed(up).matrix(), &part, up_row + first, up_row + first + width,
                                      up_block, width, s.panel});
                    for (int t = 0; t < tokens; ++t) {
                      float* gated = s.block + t * width;
                      kernels_.gelu_mul(gated, up_block + t * width, width);
                      std::copy_n(gated, width, m + (token + t) * ldm + first);
                    }
                  });
}

void CpuBackend::matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept {
  const Input input{.x = x, .rows = rows, .cols = w.cols()};
  if (reading_) return read_matmul(input, w, out, y);
  const std::array weights = {&w};
  in_parts(rows, weights, [&](const Part& part) noexcept {
    prepare(part, input, weights);
    meet(part);
    multiply(part, input, w, out, y);
  });
}

void CpuBackend::qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  if (reading_) {
    read_qkv(x, rows, args);
  } else {
    const Input input{x, rows.count, limits_.hidden, true, args.input_norm, args.eps};
    const std::array weights = {args.q, args.k, args.v};
    const std::array outputs = {args.q_out, scratch_.k, scratch_.v};
    const int64_t heads = finished_heads(args);
    const RopeTable& rope = rope_table(rows, args.shape);
    in_parts(rows.count, weights, [&](const Part& part) noexcept {
      prepare(part, input, weights);
      meet(part);
      for (size_t i = 0; i < weights.size(); ++i)
        if (weights[i] != nullptr) multiply(part, input, *weights[i], weights[i]->rows(), outputs[i]);
      meet(part);
      // A row has more heads than few rows have threads.
      finish_heads(rope, rows, args,
                   part.apart ? StaticRange{part.own.begin * heads, part.own.end * heads}
                              : static_range(rows.count * heads, part.thread, pool_.team()));
    });
  }
  tap("input_layernorm", scratch_.h, rows.count, limits_.hidden);
}

int64_t CpuBackend::finished_heads(const QkvArgs& args) noexcept {
  return (args.q != nullptr ? args.shape.q_heads : 0) + (args.k != nullptr ? args.shape.kv_heads : 0);
}

/// Norms and rotates heads `mine` of all rows' heads, and stores keys and values.
void CpuBackend::finish_heads(const RopeTable& rope, const Rows& rows, const QkvArgs& args,
                              StaticRange mine) noexcept {
  const int64_t heads = finished_heads(args);
  const int q_heads = args.q != nullptr ? args.shape.q_heads : 0;
  for (int64_t unit = mine.begin; unit < mine.end; ++unit) {
    const int64_t row = unit / heads;
    const auto head = static_cast<int>(unit % heads);
    if (head < q_heads)
      finish_query(rope, row, head, args);
    else
      finish_key_value(rope, rows, row, head - q_heads, args);
  }
}

void CpuBackend::finish_query(const RopeTable& rope, int64_t row, int head, const QkvArgs& args) noexcept {
  const int dim = args.shape.head_dim;
  float* q = args.q_out + (row * args.shape.q_heads + head) * dim;
  kernels_.rms_norm_row(q, dim, args.q_norm, args.eps, q);
  const int64_t angles = row * rope.half;
  kernels_.rope_row(q, 1, rope.half, rope.cosines.data() + angles, rope.sines.data() + angles);
}

void CpuBackend::finish_key_value(const RopeTable& rope, const Rows& rows, int64_t row, int head,
                                  const QkvArgs& args) noexcept {
  const int dim = args.shape.head_dim;
  const int64_t place = (row * args.shape.kv_heads + head) * dim;
  float* k = scratch_.k + place;
  float* v = scratch_.v + place;
  if (args.v == nullptr) std::copy_n(k, dim, v);
  kernels_.rms_norm_row(k, dim, args.k_norm, args.eps, k);
  const int64_t angles = row * rope.half;
  kernels_.rope_row(k, 1, rope.half, rope.cosines.data() + angles, rope.sines.data() + angles);
  if (args.v_norm) kernels_.rms_norm_row(v, dim, nullptr, args.eps, v);
  const int64_t slot = args.kv.slot(rows.sequences[row], rows.positions[row], head);
  encode_kv(args.kv.type, k, dim, args.kv.k, args.kv.k_scale, slot);
  encode_kv(args.kv.type, v, dim, args.kv.v, args.kv.v_scale, slot);
}

void CpuBackend::project_add(const float* a, int rows, const Weight& w, const float* norm, float eps,
                             float* x, const ProjectNames& names) noexcept {
  const Input input{.x = a, .rows = rows, .cols = w.cols()};
  const std::array weights = {&w};
  const int64_t width = w.rows();
  const bool traced = tapped();
  const auto add_rows = [&](StaticRange mine) noexcept {
    for (int64_t r = mine.begin; r < mine.end; ++r)
      kernels_.rms_norm_add_row(scratch_.y + r * width, width, norm, eps, 1, x + r * width);
  };
  if (reading_) {
    read_matmul(input, w, width, scratch_.y);
    if (!traced) return in_units(rows, 1, [&](int, StaticRange mine) noexcept { add_rows(mine); });
  } else {
    in_parts(rows, weights, [&](const Part& part) noexcept {
      prepare(part, input, weights);
      meet(part);
      multiply(part, input, w, width, scratch_.y);
      if (traced) return;
      meet(part);
      add_rows(part.own);
    });
    if (!traced) return;
  }
  tap(names.projection, scratch_.y, rows, width);
  tap(names.module, scratch_.y, rows, width);
  add_rows({0, rows});
}

void CpuBackend::geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate,
                       const Weight& up, float* m) noexcept {
  const Input input{x, rows, gate.cols(), true, norm, eps};
  const std::array weights = {&gate, &up};
  const int64_t width = gate.rows();
  if (reading_) {
    prepare_read(input);
    read_geglu(rows, gate, 0, up, 0, width, m);
  } else {
    in_parts(rows, weights, [&](const Part& part) noexcept {
      prepare(part, input, weights);
      meet(part);
      const int64_t first = part.rows.begin * width;
      geglu_rows(part.thread, slice(activations(input, gate), part.rows), gate, 0,
                 slice(activations(input, up), part.rows), up, 0, share(part, width), m + first, width,
                 scratch_.up + first);
    });
  }
  tap("pre_feedforward_layernorm", scratch_.h, rows, gate.cols());
}

void CpuBackend::per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept {
  const int64_t hidden = args.projection->rows();
  const int64_t dim = args.ple_dim;
  const Input input{.x = x, .rows = rows, .cols = hidden};
  const Input gated{.x = scratch_.ple, .rows = rows, .cols = dim};
  const std::array gate = {args.gate};
  const std::array projection = {args.projection};
  if (reading_) {
    read_per_layer_embed(x, rows, args);
    return tap("per_layer_projection", scratch_.y, rows, hidden);
  }
  in_parts(rows, gate, [&](const Part& part) noexcept {
    prepare(part, input, gate);
    meet(part);
    multiply(part, input, *args.gate, dim, scratch_.ple);
    const StaticRange mine = share(part, dim);
    for (int64_t r = part.rows.begin; r < part.rows.end; ++r)
      kernels_.gelu_mul(scratch_.ple + r * dim + mine.begin,
                        args.inputs + r * args.inputs_stride + mine.begin, mine.end - mine.begin);
  });
  // A region of its own: rows of another width go into the same scratch.
  in_parts(rows, projection, [&](const Part& part) noexcept {
    prepare(part, gated, projection);
    meet(part);
    multiply(part, gated, *args.projection, hidden, scratch_.y);
    meet(part);
    for (int64_t r = part.own.begin; r < part.own.end; ++r)
      kernels_.rms_norm_add_row(scratch_.y + r * hidden, hidden, args.post_norm, args.eps, args.layer_scalar,
                                x + r * hidden);
  });
  tap("per_layer_projection", scratch_.y, rows, hidden);
}

void CpuBackend::per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                                  float* out) noexcept {
  const int n = rows.count;
  const int64_t width = int64_t{layers} * args.ple_dim;
  const Input input{.x = x0, .rows = n, .cols = args.projection->cols()};
  const std::array weights = {args.projection};
  const MatrixView& table = static_cast<const cpu::StoredTable&>(*args.table).stored;
  const auto combine = [&](int thread, StaticRange mine) noexcept {
    float* scratch = thread_scratch_[static_cast<size_t>(thread)].row;
    for (int64_t r = mine.begin; r < mine.end; ++r) {
      float* p = scratch_.ple + r * width;
      kernels_.scale(p, args.projection_scale, width);
      for (int l = 0; l < layers; ++l)
        kernels_.rms_norm_row(p + int64_t{l} * args.ple_dim, args.ple_dim, args.norm, args.eps,
                              p + int64_t{l} * args.ple_dim);
      gather_row(table, rows.tokens[r], width, args.embed_scale, scratch, out + r * width);
      kernels_.add_scale(out + r * width, p, args.combination_scale, width);
    }
  };
  if (reading_) {
    read_matmul(input, *args.projection, width, scratch_.ple);
    in_units(n, 1, combine);
  } else {
    in_parts(n, weights, [&](const Part& part) noexcept {
      prepare(part, input, weights);
      meet(part);
      multiply(part, input, *args.projection, width, scratch_.ple);
      meet(part);
      combine(part.thread, part.own);
    });
  }
  tap_and_anchor("per_layer_inputs", out, n, width);
}

void CpuBackend::logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept {
  const Input input{.x = h, .rows = rows, .cols = head.cols()};
  const std::array weights = {&head};
  const int64_t vocab = head.rows();
  if (reading_) {
    read_matmul(input, head, vocab, out);
    if (cap > 0)
      in_units(rows, 1, [&](int, StaticRange mine) noexcept {
        kernels_.softcap(out + mine.begin * vocab, cap, (mine.end - mine.begin) * vocab);
      });
    return;
  }
  in_parts(rows, weights, [&](const Part& part) noexcept {
    prepare(part, input, weights);
    meet(part);
    const StaticRange mine = share(part, vocab);
    const cpu::Activations a = slice(activations(input, head), part.rows);
    float* own = out + part.rows.begin * vocab;
    constexpr int64_t kChunk = 2048;  // outputs that are capped while they are in the cache
    for (int64_t begin = mine.begin; begin < mine.end; begin += kChunk) {
      const int64_t end = std::min(begin + kChunk, mine.end);
      multiply_rows(part.thread, a, head, begin, end, own + begin, vocab);
      for (int64_t r = 0; r < a.rows && cap > 0; ++r)
        kernels_.softcap(own + r * vocab + begin, cap, end - begin);
    }
  });
}

}  // namespace facet
