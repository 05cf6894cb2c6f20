#include "backend/cuda/decode_path.h"

#include <algorithm>
#include <array>
#include <utility>

namespace facet::cuda {

void DecodePath::take_in(DeviceWeight& weight) {
  if (!device_.launches_dependent()) return;
  weight.make_tiles(stream_);
  weights_served_ = weights_served_ && weight.tiles().tiles > 0;
}

void DecodePath::reserve(Backend& backend, const Limits& limits) {
  limits_ = limits;
  reset();
  ready_ = weights_served_ && device_.launches_dependent() && limits.experts == 0 &&
           limits.hidden % kTileColumns == 0 && limits.q_width % kTileColumns == 0 &&
           limits.ffn_dim % kTileColumns == 0;
  if (!ready_) return;
  const int64_t rows = kDecodeRows;
  struct Part {
    float** place;
    int64_t floats;
  };
  float* attended = nullptr;
  float* m = nullptr;
  float* ple_m = nullptr;
  float* arrived = nullptr;
  const std::array parts = {
      Part{&spare_, rows * limits.hidden},
      Part{&y_[0], rows * limits.hidden},
      Part{&y_[1], rows * limits.hidden},
      Part{&k_, rows * limits.kv_width},
      Part{&v_, rows * limits.kv_width},
      Part{&ple_, rows * limits.ple_width},
      Part{&attended, rows * limits.q_width},  // two bf16 a value
      Part{&m, rows * limits.ffn_dim},
      Part{&ple_m, rows * limits.ple_width},  // no layer's is wider
      // No head is wider than all of a layer's.
      Part{&partial_, int64_t{kMostClusters} * limits.q_heads * partial_width(limits.q_width)},
      Part{&arrived, rows * limits.q_heads},
  };
  const auto aligned = [](int64_t n) { return (n + 31) / 32 * 32; };
  int64_t total = 0;
  for (const Part& part : parts) total += aligned(part.floats);
  memory_ = backend.allocate(static_cast<size_t>(total) * sizeof(float));
  auto* next = reinterpret_cast<float*>(memory_.get());
  for (const Part& part : parts) {
    *part.place = next;
    next += aligned(part.floats);
  }
  attended_ = {reinterpret_cast<uint4*>(attended), limits.q_width / 8};
  m_ = {reinterpret_cast<uint4*>(m), limits.ffn_dim / 8};
  ple_m_ = {reinterpret_cast<uint4*>(ple_m), limits.ple_width / 8};
  arrived_ = reinterpret_cast<int*>(arrived);
  persistent_.reserve(backend, limits, {k_, v_, attended, partial_, arrived_});
}

bool DecodePath::takes(const StepShape& shape) const noexcept {
  return ready_ && shape.distinct && shape.rows <= kDecodeRows && shape.outputs == shape.rows;
}

int64_t DecodePath::recording_key(const StepShape& shape) const noexcept {
  AttentionShape full;
  full.kv_heads = 1;
  const int64_t in_spans = runs_in_spans(shape) ? 1 : 0;
  return in_spans << 40 | int64_t{shape.rows} << 32 | decode_clusters(full, shape.last_position, shape.rows);
}

/// The residual stream x for a kernel that reads it; afterwards its values are in `sum`, or still at home.
Residual DecodePath::take(const float* x, int rows, float eps) noexcept {
  if (stream_of_ != x) {
    stream_of_ = x;
    home_ = const_cast<float*>(x);  // the caller's array, which it gave as writable to the operation before
    due_norm_ = nullptr;
  }
  rows_ = rows;
  eps_ = eps;
  Residual residual;
  residual.x = home_;
  residual.eps = eps;
  residual.hidden = limits_.hidden;
  residual.rows = rows;
  if (due_norm_ == nullptr) return residual;
  residual.y = y_[0];
  residual.norm = due_norm_;
  residual.scale = due_scale_;
  residual.sum = home_ == spare_ ? const_cast<float*>(x) : spare_;
  home_ = residual.sum;
  due_norm_ = nullptr;
  std::swap(y_[0], y_[1]);  // the kernel may write its own product while others still read this one
  return residual;
}

void DecodePath::owe(float* x, const float* norm, float scale) noexcept {
  if (stream_of_ != x) {
    stream_of_ = x;
    home_ = x;
  }
  due_norm_ = norm;
  due_scale_ = scale;
}

void DecodePath::settle(const void* x) noexcept {
  if (stream_of_ != x || x == nullptr) return;
  auto* const to = const_cast<float*>(stream_of_);
  if (due_norm_ != nullptr || home_ != to) {
    Residual residual = take(to, rows_, eps_);
    residual.sum = nullptr;
    cuda::settle(residual, nullptr, to, stream_);
  }
  stream_of_ = nullptr;
}

void DecodePath::reset() noexcept {
  persistent_.end();
  stream_of_ = nullptr;
  due_norm_ = nullptr;
  attended_of_ = nullptr;
  m_of_ = nullptr;
  projected_ = {};
}

bool DecodePath::qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  if (persistent_.qkv_rope_store(x, rows, args)) return true;
  const bool shares = args.k == nullptr;
  if (!ready_ || !rows.distinct || rows.count > kDecodeRows || args.q == nullptr ||
      (!shares && args.v == nullptr) || !serves_decode(args.shape, args.kv.type))
    return false;
  NormedProducts products;
  products.w[0] = tiles(*args.q);
  products.out[0] = args.q_out;
  products.count = 1;
  if (!shares) {
    products.w[1] = tiles(*args.k);
    products.w[2] = tiles(*args.v);
    products.out[1] = k_;
    products.out[2] = v_;
    products.count = 3;
  }
  for (int i = 1; i < products.count; ++i)
    if (products.w[i].codes_kind != products.w[0].codes_kind) return false;
  products.norm = args.input_norm;
  products.residual = take(x, rows.count, args.eps);
  normed_products(products, stream_);
  projected_ = args;
  return true;
}

bool DecodePath::attend(const float* q, const Rows& rows, const AttentionShape& shape, float* out) noexcept {
  if (persistent_.attend()) return true;
  if (projected_.q_out != q || q == nullptr) return false;
  DecodeAttention args;
  args.shape = shape;
  args.q = q;
  args.q_norm = projected_.q_norm;
  if (projected_.k != nullptr) {
    args.k = k_;
    args.v = v_;
    args.k_norm = projected_.k_norm;
    args.v_norm = projected_.v_norm;
  }
  args.eps = projected_.eps;
  args.rows = rows;
  args.kv = projected_.kv;
  args.clusters = decode_clusters(shape, rows.last_position, rows.count);
  args.partial = partial_;
  args.arrived = arrived_;
  args.out = attended_;
  decode_attention(args, stream_);
  projected_ = {};
  attended_of_ = out;
  return true;
}

bool DecodePath::geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate,
                       const Weight& up, float* m) noexcept {
  if (persistent_.geglu(norm, gate, up)) return true;
  if (stream_of_ != x || x == nullptr || rows > kDecodeRows ||
      tiles(gate).codes_kind != tiles(up).codes_kind || gate.rows() % kTileColumns != 0)
    return false;
  normed_geglu(take(x, rows, eps), norm, tiles(gate), tiles(up), m_, stream_);
  m_of_ = m;
  return true;
}

bool DecodePath::project_add(const float* a, int rows, const Weight& w, const float* norm, float eps,
                             float* x) noexcept {
  if (persistent_.project_add(w, norm)) return true;
  if (a == nullptr || (a != attended_of_ && a != m_of_)) return false;
  const Fragments& input = a == attended_of_ ? attended_ : m_;
  (a == attended_of_ ? attended_of_ : m_of_) = nullptr;
  fragment_product(input, rows, tiles(w), y_[0], stream_);
  eps_ = eps;
  owe(x, norm, 1);
  return true;
}

bool DecodePath::per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept {
  if (persistent_.per_layer_embed(args)) return true;
  if (stream_of_ != x || x == nullptr || rows > kDecodeRows) return false;
  per_layer_gate(take(x, rows, args.eps), tiles(*args.gate), args.inputs, args.inputs_stride, ple_m_,
                 stream_);
  fragment_product(ple_m_, rows, tiles(*args.projection), y_[0], stream_);
  owe(x, args.post_norm, args.layer_scalar);
  return true;
}

bool DecodePath::per_layer_inputs(const float* x0, const Rows& rows, int layers,
                                  const Backend::PerLayerInputs& args, float* out) noexcept {
  if (!ready_ || !rows.distinct || rows.count > kDecodeRows) return false;
  NormedProducts products;
  products.residual.x = x0;
  products.residual.hidden = limits_.hidden;
  products.residual.rows = rows.count;
  products.w[0] = tiles(*args.projection);
  products.w[0].rows = int64_t{layers} * args.ple_dim;
  products.out[0] = ple_;
  products.count = 1;
  if (products.w[0].rows % kTileRows != 0) return false;
  normed_products(products, stream_);
  combine_per_layer({ple_, matrix(*args.table), rows.tokens, args.norm, rows.count, layers, args.ple_dim,
                     args.eps, args.embed_scale, args.projection_scale, args.combination_scale, out},
                    stream_);
  return true;
}

bool DecodePath::rms_norm(const float* x, const float* weight, float eps, float* out) noexcept {
  if (persistent_.rms_norm(x, weight, out)) return true;
  if (stream_of_ != x || x == nullptr || weight == nullptr || out == x) return false;
  cuda::settle(take(x, rows_, eps), weight, out, stream_);
  return true;
}

bool DecodePath::logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept {
  if (!ready_) return false;
  for (int r = 0; r < rows; r += kDecodeRows) {
    const int count = std::min(kDecodeRows, rows - r);
    const float* const from = h + r * head.cols();
    float* const to = out + r * head.rows();
    if (!digit_logits(from, count, tiles(head), cap, to, device_, stream_) &&
        !cuda::logits(from, count, tiles(head), cap, to, device_, stream_))
      return false;  // the first of them, which is not smaller than the others
  }
  return true;
}

}  // namespace facet::cuda
