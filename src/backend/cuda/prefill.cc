#include "backend/cuda/prefill.h"

#include <algorithm>
#include <array>
#include <utility>

#include "backend/cuda/kernels.h"
#include "backend/cuda/prefill_kernels.h"

namespace facet::cuda {
namespace {

// The library plans a product for its number of rows, so that is rounded up: the rows beyond are garbage in
// and garbage out.
constexpr int kRowStep = 128;
constexpr int kBatchStep = 16;  // of a decode step's few rows

int64_t rounded_rows(int rows) noexcept {
  const int step = rows < kPrefillFrom ? kBatchStep : kRowStep;
  return (rows + step - 1) / step * step;
}

}  // namespace

void Prefill::reserve(const Limits& limits, const PrefillScratch& scratch) noexcept {
  limits_ = limits;
  scratch_ = scratch;
  copies_.clear();
  forget();
}

bool Prefill::serves(const DeviceMatrix& w) const noexcept {
  return library_ != nullptr && w.cols % 16 == 0 && w.rows % 16 == 0 &&
         w.rows * w.cols <= scratch_.most_converted;
}

bool Prefill::serves_hidden() const noexcept {
  return limits_.hidden % 16 == 0 && limits_.hidden <= kMostNormWidth;
}

void Prefill::multiply(const void* x, int rows, WeightStack weights, int64_t out, void* y) noexcept {
  const int64_t rounded = std::min<int64_t>(rounded_rows(rows), limits_.rows);
  const int64_t cols = weights[0]->cols;
  if (const void* copy = copies_.find(weights, stream_)) {
    failed_ |= !library_->multiply({copy, x, rounded, out, cols, y, out, true}, stream_);
    return;
  }
  auto* to = static_cast<std::byte*>(y);
  for (const DeviceMatrix* w : weights) {
    const int64_t part = std::min(w->rows, out);
    to_bf16(*w, part, scratch_.converted, stream_);
    failed_ |= !library_->multiply({scratch_.converted, x, rounded, part, cols, to, out, true}, stream_);
    to += 2 * part;
  }
}

bool Prefill::qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  queries_ = nullptr;
  const AttentionShape& shape = args.shape;
  if (!serves_hidden() || !flash_attention_serves(shape, args.kv, shared_memory_)) return false;
  std::array<const DeviceMatrix*, kMostStacked> stack{};
  size_t count = 0;
  int64_t width = 0;
  for (const Weight* w : {args.q, args.k, args.v}) {
    if (w == nullptr) continue;
    if (!serves(matrix(*w))) return false;
    stack[count++] = &matrix(*w);
    width += w->rows();
  }
  if (count == 0 || width > scratch_.wide_columns) return false;

  rms_norm_bf16(x, rows.count, limits_.hidden, args.input_norm, args.eps, scratch_.h, stream_);
  multiply(scratch_.h, rows.count, std::span(stack).first(count), width, scratch_.wide);
  const QkvProducts products{scratch_.wide, args.q != nullptr ? shape.q_heads : 0,
                             args.k != nullptr ? shape.kv_heads : 0, args.v != nullptr};
  norm_rope_store(products, rows, args, args.q_out, stream_);
  if (args.q != nullptr) queries_ = args.q_out;
  return true;
}

bool Prefill::attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                     float* out) noexcept {
  attended_ = nullptr;
  if (q == nullptr || q != queries_) return false;
  queries_ = nullptr;
  flash_attend_(q, rows, shape, kv, out, stream_);
  attended_ = out;
  return true;
}

bool Prefill::project_add(const float* a, int rows, const DeviceMatrix& w, const float* norm, float eps,
                          float* x) noexcept {
  const void* in = a;
  if (!holds_bf16(a)) {
    if (!serves_hidden() || !serves(w) || w.cols > scratch_.wide_columns) return false;
    narrow(a, rows * w.cols, scratch_.wide, stream_);
    in = scratch_.wide;
  }
  const DeviceMatrix* weights[] = {&w};
  multiply(in, rows, weights, w.rows, scratch_.y);
  attended_ = activations_ = nullptr;
  add_rms_norm(scratch_.y, rows, w.rows, norm, eps, 1, x, stream_);
  return true;
}

bool Prefill::geglu(const float* x, int rows, const float* norm, float eps, const DeviceMatrix& gate,
                    const DeviceMatrix& up, float* m) noexcept {
  activations_ = nullptr;
  if (!serves_hidden() || !serves(gate) || !serves(up) || 2 * gate.rows > scratch_.wide_columns) return false;
  const DeviceMatrix* weights[] = {&gate, &up};
  rms_norm_bf16(x, rows, gate.cols, norm, eps, scratch_.h, stream_);
  multiply(scratch_.h, rows, weights, 2 * gate.rows, scratch_.wide);
  gelu_mul_bf16(scratch_.wide, rows, gate.rows, m, stream_);
  activations_ = m;
  return true;
}

bool Prefill::per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept {
  const DeviceMatrix& gate = matrix(*args.gate);
  const DeviceMatrix& projection = matrix(*args.projection);
  if (!serves_hidden() || !serves(gate) || !serves(projection) || args.inputs_stride % 4 != 0) return false;
  const DeviceMatrix* gates[] = {&gate};
  const DeviceMatrix* projections[] = {&projection};
  narrow(x, int64_t{rows} * gate.cols, scratch_.h, stream_);
  multiply(scratch_.h, rows, gates, gate.rows, scratch_.per_layer);
  gelu_mul_inputs_bf16(scratch_.per_layer, args.inputs, rows, args.ple_dim, args.inputs_stride, stream_);
  multiply(scratch_.per_layer, rows, projections, projection.rows, scratch_.y);
  add_rms_norm(scratch_.y, rows, projection.rows, args.post_norm, args.eps, args.layer_scalar, x, stream_);
  return true;
}

bool Prefill::per_layer_inputs(const float* x0, const Rows& rows, int layers,
                               const Backend::PerLayerInputs& args, float* out) noexcept {
  const DeviceMatrix& projection = matrix(*args.projection);
  const DeviceMatrix& table = matrix(*args.table);
  if (layers == 0 || !serves_hidden() || !serves(projection) || args.ple_dim % 8 != 0 || table.cols % 16 != 0)
    return false;
  const DeviceMatrix* weights[] = {&projection};
  narrow(x0, int64_t{rows.count} * projection.cols, scratch_.h, stream_);
  multiply(scratch_.h, rows.count, weights, int64_t{layers} * args.ple_dim, scratch_.per_layer);
  per_layer_inputs_bf16(scratch_.per_layer, rows, layers, table, args, out, stream_);
  return true;
}

}  // namespace facet::cuda
