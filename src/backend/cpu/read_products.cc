// Products and the fused operations around them for rows that are read, where these have kernels of their
// own: activations in bf16, weights decoded to bf16 a panel at a time. Threads take panels as they come, and
// meet between an operation's parts; such rows are many or few, but all take this way.
#include <algorithm>

#include "backend/cpu/cpu_backend.h"

namespace facet {
namespace {

using cpu::kReadColumns;
using cpu::kReadPanelColumns;
using cpu::kReadTokens;

constexpr int kUnitTokens = 16;   // rows that a thread norms or adds at a time
constexpr int kUnitOutputs = 32;  // outputs that it computes: a panel

int64_t column_tiles(int64_t cols) noexcept {
  return (cols + kReadColumns - 1) / kReadColumns;
}

/// Token rows that are taken together: as many as the second-level cache holds the columns of that are
/// multiplied at a time.
int block_tokens(int64_t columns, int most) noexcept {
  constexpr int64_t kBytes = int64_t{3} << 19;
  const int64_t rows = kBytes / (columns * 2) / kReadTokens * kReadTokens;
  return static_cast<int>(std::clamp<int64_t>(rows, kReadTokens, most));
}

}  // namespace

void CpuBackend::reserve_read() {
  if (!reads_apart()) return;
  const int64_t rows = (int64_t{limits_.rows} + kReadTokens - 1) / kReadTokens * kReadTokens;
  const int64_t values = rows * column_tiles(widest_) * kReadColumns;
  read_.count = form_used_[0] ? cpu::kReadParts : 1;
  read_.memory = cpu::allocate_pages(static_cast<size_t>(values * read_.count) * sizeof(uint16_t));
  for (int i = 0; i < read_.count; ++i)
    read_.parts[static_cast<size_t>(i)] = reinterpret_cast<uint16_t*>(read_.memory.get()) + i * values;
}

template <class Row>
void CpuBackend::prepare_read(int rows, int64_t cols, Row row) noexcept {
  in_units(rows, kUnitTokens, [&](int /*thread*/, StaticRange mine) noexcept {
    for (int64_t r = mine.begin; r < mine.end; ++r)
      kernels_.to_bf16_row(row(r), cols, r, read_.count, read_.parts.data());
  });
}

void CpuBackend::prepare_read(const Input& input) noexcept {
  prepare_read(input.rows, input.cols, [&](int64_t r) noexcept {
    const float* x = input.x + r * input.cols;
    if (!input.normed) return x;
    float* h = scratch_.h + r * input.cols;
    kernels_.rms_norm_row(x, input.cols, input.norm, input.eps, h);
    return static_cast<const float*>(h);
  });
}

cpu::ReadProductArgs CpuBackend::read_args(int thread, const Weight& w, int64_t token, int64_t tokens,
                                           StaticRange outputs) const noexcept {
  cpu::ReadProductArgs args;
  args.w = &packed(w).matrix();
  args.column_tiles = column_tiles(w.cols());
  for (int i = 0; i < read_.count; ++i)
    args.x[i] = read_.parts[static_cast<size_t>(i)] + token * args.column_tiles * kReadColumns;
  args.rows = static_cast<int>(tokens);
  args.column_end = args.w->cols;
  args.row_begin = outputs.begin;
  args.row_end = outputs.end;
  args.panel = thread_scratch_[static_cast<size_t>(thread)].panel;
  return args;
}

void CpuBackend::read_multiply(int rows, std::span<const ReadOutput> outputs) noexcept {
  const auto units = [](const ReadOutput& o) { return (o.count + kUnitOutputs - 1) / kUnitOutputs; };
  int64_t all_units = 0;
  for (const ReadOutput& o : outputs) all_units += o.w != nullptr ? units(o) : 0;
  const int64_t cols = std::find_if(outputs.begin(), outputs.end(), [](const ReadOutput& o) {
                         return o.w != nullptr;
                       })->w->cols();
  const int block = block_tokens(std::min<int64_t>(cols, kReadPanelColumns), rows);
  const int64_t blocks = (rows + block - 1) / block;
  for (int64_t column = 0; column < cols; column += kReadPanelColumns) {
    pool_.each(static_cast<int>(blocks * all_units), [&](int thread, int i) noexcept {
      int64_t unit = i % all_units;
      const ReadOutput* o = outputs.data();
      for (; o->w == nullptr || unit >= units(*o); ++o) unit -= o->w != nullptr ? units(*o) : 0;
      const int64_t token = i / all_units * block;
      const int64_t begin = unit * kUnitOutputs;
      const int64_t end = std::min(begin + kUnitOutputs, o->count);
      cpu::ReadProductArgs args = read_args(thread, *o->w, token, std::min<int64_t>(block, rows - token),
                                            {o->first + begin, o->first + end});
      args.column_begin = column;
      args.column_end = std::min<int64_t>(column + kReadPanelColumns, args.w->cols);
      args.ldy = o->count;
      args.y = o->y + token * o->count + begin;
      kernels_.read_product(args);
    });
  }
}

/// m[:, i] = gelu(gate) · up for `width` outputs, rows gate_row + i and up_row + i of the weights.
void CpuBackend::read_geglu(int rows, const Weight& gate, int64_t gate_row, const Weight& up, int64_t up_row,
                            int64_t width, float* m) noexcept {
  const int block = block_tokens(gate.cols(), std::min(rows, kBlockTokens));
  const int64_t units = (width + kUnitOutputs - 1) / kUnitOutputs;
  const int64_t blocks = (rows + block - 1) / block;
  pool_.each(static_cast<int>(blocks * units), [&](int thread, int i) noexcept {
    const int64_t token = i / units * block;
    const int64_t tokens = std::min<int64_t>(block, rows - token);
    const int64_t begin = i % units * kUnitOutputs;
    const int64_t count = std::min<int64_t>(kUnitOutputs, width - begin);
    float* gated = thread_scratch_[static_cast<size_t>(thread)].block;
    float* factor = gated + int64_t{kBlockTokens} * kUnitOutputs;
    const auto multiply = [&](const Weight& w, int64_t row, float* y) {
      cpu::ReadProductArgs args = read_args(thread, w, token, tokens, {row + begin, row + begin + count});
      args.y = y;
      args.ldy = count;
      kernels_.read_product(args);
    };
    multiply(gate, gate_row, gated);
    multiply(up, up_row, factor);
    kernels_.gelu_mul(gated, factor, tokens * count);
    for (int64_t t = 0; t < tokens; ++t)
      std::copy_n(gated + t * count, count, m + (token + t) * width + begin);
  });
}

void CpuBackend::read_matmul(const Input& input, const Weight& w, int64_t out, float* y) noexcept {
  prepare_read(input);
  const std::array outputs = {ReadOutput{&w, 0, out, y}};
  read_multiply(input.rows, outputs);
}

void CpuBackend::read_qkv(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  const auto all = [](const Weight* w, float* y) {
    return ReadOutput{w, 0, w != nullptr ? w->rows() : 0, y};
  };
  prepare_read({x, rows.count, limits_.hidden, true, args.input_norm, args.eps});
  const std::array outputs = {all(args.q, args.q_out), all(args.k, scratch_.k), all(args.v, scratch_.v)};
  read_multiply(rows.count, outputs);
  const RopeTable& rope = rope_table(rows, args.shape);
  in_units(rows.count, kUnitTokens, [&](int /*thread*/, StaticRange mine) noexcept {
    const int64_t heads = finished_heads(args);
    finish_heads(rope, rows, args, {mine.begin * heads, mine.end * heads});
  });
}

void CpuBackend::read_per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept {
  const int64_t hidden = args.projection->rows();
  const int64_t dim = args.ple_dim;
  read_matmul({.x = x, .rows = rows, .cols = hidden}, *args.gate, dim, scratch_.ple);
  prepare_read(rows, dim, [&](int64_t r) noexcept {
    float* gated = scratch_.ple + r * dim;
    kernels_.gelu_mul(gated, args.inputs + r * args.inputs_stride, dim);
    return static_cast<const float*>(gated);
  });
  const std::array outputs = {ReadOutput{args.projection, 0, hidden, scratch_.y}};
  read_multiply(rows, outputs);
  in_units(rows, kUnitTokens, [&](int /*thread*/, StaticRange mine) noexcept {
    for (int64_t r = mine.begin; r < mine.end; ++r)
      kernels_.rms_norm_add_row(scratch_.y + r * hidden, hidden, args.post_norm, args.eps, args.layer_scalar,
                                x + r * hidden);
  });
}

void CpuBackend::read_expert(int64_t e, int count, const MoeArgs& moe) noexcept {
  const int64_t hidden = moe.gate_up->cols();
  const int64_t width = moe.ffn_dim;
  ExpertScratch& s = experts_;
  prepare_read({.x = s.in.data(), .rows = count, .cols = hidden});
  read_geglu(count, *moe.gate_up, e * 2 * width, *moe.gate_up, e * 2 * width + width, width, s.gate.data());
  prepare_read({.x = s.gate.data(), .rows = count, .cols = width});
  const std::array outputs = {ReadOutput{moe.down, e * hidden, hidden, s.out.data()}};
  read_multiply(count, outputs);
}

}  // namespace facet
