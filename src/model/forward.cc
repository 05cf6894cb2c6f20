#include "model/forward.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace facet {

void ForwardPass::run(const Step& step, bool whole) {
  Rows rows = upload(step);
  cache_.upload_tables();
  const auto outputs = static_cast<int>(step.outputs.size());
  const StepShape shape{rows.count, outputs, whole, rows.distinct, rows.last_position};
  if (!backend_.begin_step(shape)) return;
  x_ = residual_;
  backend_.set_reading(whole);
  if (!whole && outputs < rows.count && backend_.reads_apart()) {
    // Rows that nobody wants the outcome of are read, and come before those of their sequence that somebody
    // does. These go on alone, from the start.
    rows = upload(pick(step, /*wanted=*/false));
    backend_.set_reading(true);
    fill_cache(rows);
    rows = upload(pick(step, /*wanted=*/true));
    backend_.set_reading(false);
  }
  run_layers(step, rows, whole);
  backend_.end_step();
}

/// Rows that nobody wants the outcome of are there to fill the cache: they need the layers before the last
/// one that owns its K and V, and of that one only K and V.
void ForwardPass::fill_cache(const Rows& rows) {
  const int last_owner = spec_.last_kv_owner();
  embed(rows, last_owner, x_);
  for (int l = 0; l < last_owner; ++l) run_layer(l, rows);
  store_kv(last_owner, rows);
}

void ForwardPass::run_layers(const Step& step, Rows rows, bool whole) {
  const auto outputs = static_cast<int>(step.outputs.size());
  const int layers = spec_.layer_count();
  int l = 0;
  if (outputs == 0 && rows.count == 0) return;
  if (!whole && outputs < rows.count) {
    fill_cache(rows);
    if (outputs == 0) return;
    rows = keep_outputs(step, rows);
    embed(rows, layers, hidden_);  // per-layer inputs of all layers; hidden_ is free until the end
    l = spec_.last_kv_owner();
  } else {
    embed(rows, layers, x_);
  }
  for (; l < layers; ++l) run_layer(l, rows);

  if (outputs < rows.count) {
    backend_.gather_rows(x_, outputs_of(rows), outputs, spec_.hidden_size, kept_);
    x_ = kept_;
  }
  backend_.rms_norm(x_, outputs, spec_.hidden_size, weights_.final_norm.data(), eps_, hidden_);
  backend_.set_tap_scope("");
  backend_.tap_and_anchor("model.norm", hidden_, outputs, spec_.hidden_size);
}

void ForwardPass::embed(const Rows& rows, int layers, float* x0) {
  backend_.set_tap_scope("");
  backend_.gather(*weights_.embedding, rows.tokens, rows.count, spec_.hidden_size,
                  static_cast<float>(spec_.embed_scale), x0);
  backend_.tap_and_anchor("model.embed_tokens", x0, rows.count, spec_.hidden_size);
  if (spec_.ple_dim == 0) return;
  ple_layers_ = layers;
  Backend::PerLayerInputs args;
  args.table = weights_.ple_table.get();
  args.projection = weights_.ple_projection.get();
  args.norm = weights_.ple_projection_norm.data();
  args.ple_dim = spec_.ple_dim;
  args.eps = eps_;
  args.embed_scale = static_cast<float>(spec_.ple_embed_scale);
  args.projection_scale = static_cast<float>(spec_.ple_projection_scale);
  args.combination_scale = static_cast<float>(spec_.ple_combination_scale);
  backend_.per_layer_inputs(x0, rows, layers, args, ple_);
}

void ForwardPass::run_layer(int l, const Rows& rows) {
  const LayerSpec& layer = spec_.layers[static_cast<size_t>(l)];
  const LayerWeights& w = weights_.layers[static_cast<size_t>(l)];
  const int n = rows.count;
  const int64_t hidden = spec_.hidden_size;
  if (backend_.tapped()) backend_.set_tap_scope(fmt::format("model.layers.{}.", l));

  const QkvArgs qkv = qkv_args(l);
  backend_.qkv_rope_store(x_, rows, qkv);
  backend_.attend(q_, rows, qkv.shape, cache_.view(layer.kv_source), attended_);
  backend_.project_add(attended_, n, *w.o, w.post_attention_norm.data(), eps_, x_,
                       {"self_attn.o_proj", "self_attn", "post_attention_layernorm"});

  backend_.geglu(x_, n, w.pre_ffn_norm.data(), eps_, *w.gate, *w.up, ffn_);
  if (layer.moe) {
    const MoeArgs moe{layer.moe->experts,
                      layer.moe->top_k,
                      layer.moe->ffn_dim,
                      eps_,
                      w.moe.router.get(),
                      w.moe.router_scale.data(),
                      w.moe.per_expert_scale.data(),
                      w.moe.pre_norm.data(),
                      w.moe.post_norm_dense.data(),
                      w.moe.post_norm_experts.data(),
                      w.moe.gate_up.get(),
                      w.moe.down.get()};
    backend_.project_moe_add(ffn_, n, *w.down, w.post_ffn_norm.data(), moe, x_);
  } else {
    backend_.project_add(ffn_, n, *w.down, w.post_ffn_norm.data(), eps_, x_,
                         {"mlp.down_proj", "mlp", "post_feedforward_layernorm"});
  }

  if (spec_.ple_dim > 0) {
    const PerLayerArgs ple{spec_.ple_dim,
                           eps_,
                           w.ple_gate.get(),
                           w.ple_projection.get(),
                           w.post_ple_norm.data(),
                           ple_ + int64_t{l} * spec_.ple_dim,
                           int64_t{ple_layers_} * spec_.ple_dim,
                           w.layer_scalar};
    backend_.per_layer_embed(x_, n, ple);
  } else if (layer.has_layer_scalar) {
    backend_.scale(x_, w.layer_scalar, n * hidden);
  }
  if (backend_.tapped()) {
    backend_.set_tap_scope("");
    backend_.tap_and_anchor(fmt::format("model.layers.{}", l), x_, n, hidden);
  }
}

void ForwardPass::store_kv(int l, const Rows& rows) {
  QkvArgs args = qkv_args(l);
  args.q = nullptr;
  backend_.qkv_rope_store(x_, rows, args);
}

QkvArgs ForwardPass::qkv_args(int l) const {
  const LayerSpec& layer = spec_.layers[static_cast<size_t>(l)];
  const LayerWeights& w = weights_.layers[static_cast<size_t>(l)];
  QkvArgs args;
  args.shape = attention_shape(layer);
  args.eps = eps_;
  args.input_norm = w.input_norm.data();
  args.q = w.q.get();
  args.q_norm = w.q_norm.data();
  args.q_out = q_;
  args.k = w.k.get();
  args.v = w.v.get();
  args.k_norm = w.k_norm.data();
  args.v_norm = layer.v_norm;
  args.kv = cache_.view(layer.kv_source);
  return args;
}

AttentionShape ForwardPass::attention_shape(const LayerSpec& layer) const {
  return {layer.head_dim,
          layer.q_heads,
          layer.kv_heads,
          layer.window,
          static_cast<float>(spec_.attention_scale),
          inv_freq_[static_cast<size_t>(layer.rope)].data()};
}

const float* ForwardPass::logits(int first, int count) noexcept {
  logits_to(first, count, logits_);
  return logits_;
}

void ForwardPass::logits_to(int first, int count, float* out) noexcept {
  backend_.logits(hidden_ + int64_t{first} * spec_.hidden_size, count, *weights_.head,
                  static_cast<float>(spec_.logit_softcap), out);
  backend_.tap("logits", out, count, spec_.vocab_size);
}

Rows ForwardPass::upload(const Step& step) {
  // In one piece: to a GPU, each upload takes the host microseconds.
  const auto count = static_cast<int>(step.tokens.size());
  auto end = ids_host_.begin();
  for (const auto& part : {step.tokens, step.positions, step.sequences, step.outputs})
    end = std::copy(part.begin(), part.end(), end);
  const auto size = static_cast<size_t>(end - ids_host_.begin());
  if (size > 0) backend_.upload(ids_, ids_host_.data(), size * sizeof(int32_t));
  Rows rows{count, ids_, ids_ + count, ids_ + 2 * int64_t{count}};
  // A sequence's rows are neighbours.
  rows.distinct = std::adjacent_find(step.sequences.begin(), step.sequences.end()) == step.sequences.end();
  if (!step.positions.empty())
    rows.last_position = *std::max_element(step.positions.begin(), step.positions.end());
  return rows;
}

const int32_t* ForwardPass::outputs_of(const Rows& rows) const noexcept {
  return ids_ + 3 * int64_t{rows.count};
}

Rows ForwardPass::keep_outputs(const Step& step, const Rows& rows) {
  backend_.gather_rows(x_, outputs_of(rows), static_cast<int>(step.outputs.size()), spec_.hidden_size, kept_);
  x_ = kept_;
  return upload(pick(step, /*wanted=*/true));
}

/// The step's rows whose outcome is wanted, or the others; no outputs.
Step ForwardPass::pick(const Step& step, bool wanted) {
  const size_t count = wanted ? step.outputs.size() : step.tokens.size() - step.outputs.size();
  const auto of = [&](std::span<const int32_t> from, int row) {
    const auto begin = kept_ids_.begin() + std::ptrdiff_t{row} * max_rows_;
    auto output = step.outputs.begin();
    auto to = begin;
    for (size_t r = 0; r < from.size(); ++r) {
      const bool is_output = output != step.outputs.end() && static_cast<size_t>(*output) == r;
      if (is_output) ++output;
      if (is_output == wanted) *to++ = from[r];
    }
    return std::span<const int32_t>(begin, count);
  };
  return {of(step.tokens, 0), of(step.positions, 1), of(step.sequences, 2), {}};
}

ForwardPass::ForwardPass(const ModelSpec& spec, const ModelWeights& weights, KvCache& cache, Backend& backend,
                         int max_rows, int max_logit_rows)
    : spec_(spec),
      weights_(weights),
      cache_(cache),
      backend_(backend),
      max_rows_(max_rows),
      max_logit_rows_(max_logit_rows),
      eps_(static_cast<float>(spec.rms_eps)),
      ids_host_(4 * static_cast<size_t>(max_rows)),
      kept_ids_(3 * static_cast<size_t>(max_rows)) {
  const int64_t rows = max_rows;
  const int64_t ple_width = int64_t{spec.layer_count()} * spec.ple_dim;
  struct Part {
    float** place;
    int64_t floats;
  };
  const std::array parts = {
      Part{&residual_, rows * spec.hidden_size}, Part{&kept_, rows * spec.hidden_size},
      Part{&q_, rows * spec.max_q_width()},      Part{&attended_, rows * spec.max_q_width()},
      Part{&ffn_, rows * spec.max_ffn_dim()},    Part{&ple_, rows * ple_width},
      Part{&hidden_, rows * spec.hidden_size},   Part{&logits_, int64_t{max_logit_rows} * spec.vocab_size},
  };
  const auto aligned = [](int64_t n) { return (n + 15) / 16 * 16; };  // 64 bytes
  int64_t total = 4 * rows;
  for (const Part& part : parts) total += aligned(part.floats);
  memory_ = backend.allocate(static_cast<size_t>(total) * sizeof(float));
  auto* next = reinterpret_cast<float*>(memory_.get());
  for (const Part& part : parts) {
    *part.place = next;
    next += aligned(part.floats);
  }
  ids_ = reinterpret_cast<int32_t*>(next);

  for (const RopeSpec& rope : spec.ropes) {
    const size_t bytes = rope.inv_freq.size() * sizeof(float);
    Vector& v = inv_freq_.emplace_back(Vector{backend.allocate(bytes)});
    backend.upload(v.memory.get(), rope.inv_freq.data(), bytes);
  }
  Limits limits;
  limits.rows = max_rows;
  limits.logit_rows = max_logit_rows;
  limits.hidden = spec.hidden_size;
  limits.q_width = spec.max_q_width();
  limits.kv_width = spec.max_kv_width();
  limits.ffn_dim = spec.max_ffn_dim();
  limits.ple_width = static_cast<int>(ple_width);
  limits.vocab = spec.vocab_size;
  for (const LayerSpec& layer : spec.layers) {
    limits.q_heads = std::max(limits.q_heads, layer.q_heads);
    if (!layer.moe) continue;
    limits.experts = std::max(limits.experts, layer.moe->experts);
    limits.ffn_dim = std::max(limits.ffn_dim, layer.moe->ffn_dim);
  }
  limits.sequences = cache.options().sequences;
  limits.context = cache.options().context;
  backend.reserve(limits);
}

}  // namespace facet
