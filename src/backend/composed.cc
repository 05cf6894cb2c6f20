// The definition of every fused operation, in primitives.
#include <array>
#include <vector>

#include "backend/backend.h"

namespace facet {

void Backend::reserve(const Limits& limits) {
  limits_ = limits;
  struct Part {
    float** place;
    int64_t width;
  };
  const std::array parts = {
      Part{&scratch_.h, limits.hidden},      Part{&scratch_.y, limits.hidden},
      Part{&scratch_.z, limits.hidden},      Part{&scratch_.k, limits.kv_width},
      Part{&scratch_.v, limits.kv_width},    Part{&scratch_.up, limits.ffn_dim},
      Part{&scratch_.ple, limits.ple_width}, Part{&scratch_.router, limits.experts},
  };
  const auto floats_of = [&](const Part& part) { return (part.width * limits.rows + 15) / 16 * 16; };
  int64_t total = 0;
  for (const Part& part : parts) total += floats_of(part);
  scratch_.memory = allocate(static_cast<size_t>(total) * sizeof(float));
  auto* next = reinterpret_cast<float*>(scratch_.memory.get());
  for (const Part& part : parts) {
    *part.place = next;
    next += floats_of(part);
  }
}

void Backend::tap(std::string_view name, const float* values, int64_t rows, int64_t width) {
  if (tap_ == nullptr) return;
  std::vector<float> host(static_cast<size_t>(rows * width));
  download(host.data(), values, host.size() * sizeof(float));
  tap_->record(scope_ + std::string(name), host, rows, width);
}

void Backend::tap_and_anchor(std::string_view name, float* values, int64_t rows, int64_t width) {
  if (tap_ == nullptr) return;
  tap(name, values, rows, width);
  const std::span<const float> anchor = tap_->anchor(scope_ + std::string(name));
  if (!anchor.empty()) upload(values, anchor.data(), anchor.size_bytes());
}

void Backend::qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  const AttentionShape& shape = args.shape;
  const int n = rows.count;
  const int64_t d = shape.head_dim;
  rms_norm(x, n, limits_.hidden, args.input_norm, args.eps, scratch_.h);
  tap("input_layernorm", scratch_.h, n, limits_.hidden);
  if (args.q != nullptr) {
    const int64_t width = shape.q_heads * d;
    matmul(scratch_.h, n, *args.q, width, args.q_out);
    tap("self_attn.q_proj", args.q_out, n, width);
    rms_norm(args.q_out, n * int64_t{shape.q_heads}, d, args.q_norm, args.eps, args.q_out);
    tap("self_attn.q_norm", args.q_out, n, width);
    rope(args.q_out, rows, shape.q_heads, shape);
  }
  if (args.k == nullptr) return;
  const int64_t width = shape.kv_heads * d;
  const int64_t heads = n * int64_t{shape.kv_heads};
  matmul(scratch_.h, n, *args.k, width, scratch_.k);
  tap("self_attn.k_proj", scratch_.k, n, width);
  if (args.v != nullptr) {
    matmul(scratch_.h, n, *args.v, width, scratch_.v);
    tap("self_attn.v_proj", scratch_.v, n, width);
  } else {
    copy(scratch_.v, scratch_.k, static_cast<size_t>(n * width) * sizeof(float));
  }
  rms_norm(scratch_.k, heads, d, args.k_norm, args.eps, scratch_.k);
  tap("self_attn.k_norm", scratch_.k, n, width);
  rope(scratch_.k, rows, shape.kv_heads, shape);
  if (args.v_norm) {
    rms_norm(scratch_.v, heads, d, nullptr, args.eps, scratch_.v);
    tap("self_attn.v_norm", scratch_.v, n, width);
  }
  kv_store(scratch_.k, scratch_.v, rows, args.kv);
}

void Backend::project_add(const float* a, int rows, const Weight& w, const float* norm, float eps, float* x,
                          const ProjectNames& names) noexcept {
  matmul(a, rows, w, w.rows(), scratch_.y);
  tap(names.projection, scratch_.y, rows, w.rows());
  tap(names.module, scratch_.y, rows, w.rows());
  rms_norm(scratch_.y, rows, w.rows(), norm, eps, scratch_.y);
  tap(names.norm, scratch_.y, rows, w.rows());
  add_scale(x, scratch_.y, 1, rows * w.rows());
}

void Backend::geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate,
                    const Weight& up, float* m) noexcept {
  rms_norm(x, rows, gate.cols(), norm, eps, scratch_.h);
  tap("pre_feedforward_layernorm", scratch_.h, rows, gate.cols());
  matmul(scratch_.h, rows, gate, gate.rows(), m);
  tap("mlp.gate_proj", m, rows, gate.rows());
  matmul(scratch_.h, rows, up, up.rows(), scratch_.up);
  tap("mlp.up_proj", scratch_.up, rows, up.rows());
  gelu_mul(m, scratch_.up, rows * gate.rows());
}

void Backend::project_moe_add(const float* m, int rows, const Weight& down, const float* norm,
                              const MoeArgs& moe, float* x) noexcept {
  const int64_t hidden = down.rows();
  matmul(m, rows, down, hidden, scratch_.y);
  tap("mlp.down_proj", scratch_.y, rows, hidden);
  tap("mlp", scratch_.y, rows, hidden);
  rms_norm(scratch_.y, rows, hidden, moe.post_norm_dense, moe.eps, scratch_.y);
  tap("post_feedforward_layernorm_1", scratch_.y, rows, hidden);

  // Router and experts read the residual before the MLP's add.
  rms_norm(x, rows, hidden, nullptr, moe.eps, scratch_.h);
  tap("router.norm", scratch_.h, rows, hidden);
  scale_columns(scratch_.h, moe.router_scale, rows, hidden);
  matmul(scratch_.h, rows, *moe.router, moe.experts, scratch_.router);
  softmax(scratch_.router, rows, moe.experts);
  tap("router", scratch_.router, rows, moe.experts);
  rms_norm(x, rows, hidden, moe.pre_norm, moe.eps, scratch_.h);
  tap("pre_feedforward_layernorm_2", scratch_.h, rows, hidden);
  experts(scratch_.h, scratch_.router, rows, moe, scratch_.z);
  tap("experts", scratch_.z, rows, hidden);
  rms_norm(scratch_.z, rows, hidden, moe.post_norm_experts, moe.eps, scratch_.z);
  tap("post_feedforward_layernorm_2", scratch_.z, rows, hidden);

  add_scale(scratch_.y, scratch_.z, 1, rows * hidden);
  rms_norm(scratch_.y, rows, hidden, norm, moe.eps, scratch_.y);
  tap("post_feedforward_layernorm", scratch_.y, rows, hidden);
  add_scale(x, scratch_.y, 1, rows * hidden);
}

void Backend::per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept {
  const int64_t hidden = args.projection->rows();
  matmul(x, rows, *args.gate, args.ple_dim, scratch_.ple);
  tap("per_layer_input_gate", scratch_.ple, rows, args.ple_dim);
  gelu_mul_strided(scratch_.ple, args.inputs, rows, args.ple_dim, args.inputs_stride);
  matmul(scratch_.ple, rows, *args.projection, hidden, scratch_.y);
  tap("per_layer_projection", scratch_.y, rows, hidden);
  rms_norm(scratch_.y, rows, hidden, args.post_norm, args.eps, scratch_.y);
  tap("post_per_layer_input_norm", scratch_.y, rows, hidden);
  add_scale(x, scratch_.y, args.layer_scalar, rows * hidden);
}

void Backend::per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                               float* out) noexcept {
  const int n = rows.count;
  const int64_t width = int64_t{layers} * args.ple_dim;
  matmul(x0, n, *args.projection, width, scratch_.ple);
  tap("model.per_layer_model_projection", scratch_.ple, n, width);
  scale(scratch_.ple, args.projection_scale, n * width);
  rms_norm(scratch_.ple, int64_t{n} * layers, args.ple_dim, args.norm, args.eps, scratch_.ple);
  tap("model.per_layer_projection_norm", scratch_.ple, n, width);
  gather(*args.table, rows.tokens, n, width, args.embed_scale, out);
  add_scale(out, scratch_.ple, args.combination_scale, n * width);
  tap_and_anchor("per_layer_inputs", out, n, width);
}

void Backend::logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept {
  matmul(h, rows, head, head.rows(), out);
  if (cap > 0) softcap(out, cap, rows * head.rows());
}

}  // namespace facet
