#include "model/weights.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/error.h"

namespace facet {
namespace {

/// The table: visits every weight of the model with its name, shape and place. `visit` has
///   matrix(name, rows, cols, WeightUse, Matrix&), vector(name, width, Vector&, scale),
///   norm(name, width, Vector&), scalar(name, float&).
template <class Visitor>
void each_weight(const ModelSpec& spec, ModelWeights& m, Visitor& visit) {
  const int64_t hidden = spec.hidden_size;
  const int64_t layers = spec.layer_count();
  visit.matrix("model.embed_tokens.weight", spec.vocab_size, hidden, WeightUse::kTable, m.embedding);
  if (spec.ple_dim > 0) {
    const int64_t width = layers * spec.ple_dim;
    visit.matrix("model.embed_tokens_per_layer.weight", spec.ple_vocab_size, width, WeightUse::kPerLayerTable,
                 m.ple_table);
    visit.matrix("model.per_layer_model_projection.weight", width, hidden, WeightUse::kMatmul,
                 m.ple_projection);
    visit.norm("model.per_layer_projection_norm.weight", spec.ple_dim, m.ple_projection_norm);
  }
  m.layers.resize(spec.layers.size());
  for (int l = 0; l < layers; ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    LayerWeights& w = m.layers[static_cast<size_t>(l)];
    const auto name = [l](const char* part) { return fmt::format("model.layers.{}.{}", l, part); };
    const int64_t q_width = int64_t{layer.q_heads} * layer.head_dim;
    const int64_t kv_width = int64_t{layer.kv_heads} * layer.head_dim;

    visit.norm(name("input_layernorm.weight"), hidden, w.input_norm);
    visit.matrix(name("self_attn.q_proj.weight"), q_width, hidden, WeightUse::kMatmul, w.q);
    visit.norm(name("self_attn.q_norm.weight"), layer.head_dim, w.q_norm);
    if (spec.owns_kv(l)) {
      visit.matrix(name("self_attn.k_proj.weight"), kv_width, hidden, WeightUse::kMatmul, w.k);
      visit.norm(name("self_attn.k_norm.weight"), layer.head_dim, w.k_norm);
      if (!layer.v_from_k)
        visit.matrix(name("self_attn.v_proj.weight"), kv_width, hidden, WeightUse::kMatmul, w.v);
    }
    visit.matrix(name("self_attn.o_proj.weight"), hidden, q_width, WeightUse::kMatmul, w.o);
    visit.norm(name("post_attention_layernorm.weight"), hidden, w.post_attention_norm);

    visit.norm(name("pre_feedforward_layernorm.weight"), hidden, w.pre_ffn_norm);
    visit.matrix(name("mlp.gate_proj.weight"), layer.ffn_dim, hidden, WeightUse::kMatmul, w.gate);
    visit.matrix(name("mlp.up_proj.weight"), layer.ffn_dim, hidden, WeightUse::kMatmul, w.up);
    visit.matrix(name("mlp.down_proj.weight"), hidden, layer.ffn_dim, WeightUse::kMatmul, w.down);
    visit.norm(name("post_feedforward_layernorm.weight"), hidden, w.post_ffn_norm);
    if (layer.moe) {
      const int64_t experts = layer.moe->experts;
      const int64_t width = layer.moe->ffn_dim;
      visit.matrix(name("router.proj.weight"), experts, hidden, WeightUse::kMatmul, w.moe.router);
      visit.vector(name("router.scale"), hidden, w.moe.router_scale,
                   static_cast<float>(1.0 / std::sqrt(static_cast<double>(hidden))));
      visit.vector(name("router.per_expert_scale"), experts, w.moe.per_expert_scale, 1.0F);
      visit.matrix(name("experts.gate_up_proj"), experts * 2 * width, hidden, WeightUse::kMatmul,
                   w.moe.gate_up);
      visit.matrix(name("experts.down_proj"), experts * hidden, width, WeightUse::kMatmul, w.moe.down);
      visit.norm(name("post_feedforward_layernorm_1.weight"), hidden, w.moe.post_norm_dense);
      visit.norm(name("pre_feedforward_layernorm_2.weight"), hidden, w.moe.pre_norm);
      visit.norm(name("post_feedforward_layernorm_2.weight"), hidden, w.moe.post_norm_experts);
    }
    if (spec.ple_dim > 0) {
      visit.matrix(name("per_layer_input_gate.weight"), spec.ple_dim, hidden, WeightUse::kMatmul, w.ple_gate);
      visit.matrix(name("per_layer_projection.weight"), hidden, spec.ple_dim, WeightUse::kMatmul,
                   w.ple_projection);
      visit.norm(name("post_per_layer_input_norm.weight"), hidden, w.post_ple_norm);
    }
    if (layer.has_layer_scalar) visit.scalar(name("layer_scalar"), w.layer_scalar);
  }
  visit.norm("model.norm.weight", hidden, m.final_norm);
  // The head is the embedding once more: Gemma ties them.
  visit.matrix("model.embed_tokens.weight", spec.vocab_size, hidden, WeightUse::kMatmul, m.head);
}

WeightRow matrix_row(std::string name, int64_t rows, int64_t cols, WeightUse use) {
  return {std::move(name), rows, cols,
          use == WeightUse::kMatmul ? WeightRow::Use::kMatmul : WeightRow::Use::kTable, false};
}
WeightRow vector_row(std::string name, int64_t width) {
  return {std::move(name), 1, width, WeightRow::Use::kVector, false};
}
WeightRow scalar_row(std::string name) {
  return {std::move(name), 1, 1, WeightRow::Use::kScalar, true};
}

Error missing(const WeightSource& source, const std::string& name) {
  return bad_input(fmt::format("{}: tensor is missing", source.stored_name(name)));
}

/// Lists the rows without touching any data.
struct Lister {
  std::vector<WeightRow> rows;

  void matrix(std::string name, int64_t r, int64_t c, WeightUse use, Matrix& /*place*/) {
    rows.push_back(matrix_row(std::move(name), r, c, use));
  }
  void vector(std::string name, int64_t width, Vector& /*place*/, float /*scale*/) {
    rows.push_back(vector_row(std::move(name), width));
  }
  void norm(std::string name, int64_t width, Vector& place) { vector(std::move(name), width, place, 1); }
  void scalar(std::string name, float& /*place*/) { rows.push_back(scalar_row(std::move(name))); }
};

/// Takes every row out of a source.
struct Loader {
  const ModelSpec& spec;
  const WeightSource& source;
  Backend& backend;
  const LoadProgress& progress;
  int64_t done = 0;
  int64_t total = 0;

  void matrix(const std::string& name, int64_t rows, int64_t cols, WeightUse use, Matrix& place) {
    const MatrixView stored = stored_matrix(source, matrix_row(name, rows, cols, use));
    place = backend.load(stored, use);
    if (use == WeightUse::kMatmul && backend.copies_weights()) source.release(stored);
    done += rows * cols;
    if (progress) progress(done, total);
  }

  void vector(const std::string& name, int64_t width, Vector& place, float scale) {
    std::vector<float> values = stored_vector(source, vector_row(name, width)).value();
    for (float& value : values) value *= scale;
    store(values, place);
  }

  void norm(const std::string& name, int64_t width, Vector& place) {
    std::vector<float> values = stored_vector(source, vector_row(name, width)).value();
    if (spec.norm_weight_plus_one)
      for (float& value : values) value += 1;
    store(values, place);
  }

  void scalar(const std::string& name, float& place) const {
    if (const auto values = stored_vector(source, scalar_row(name))) place = values->front();
  }

 private:
  void store(const std::vector<float>& values, Vector& place) const {
    const size_t bytes = values.size() * sizeof(float);
    place.memory = backend.allocate(bytes);
    backend.upload(place.memory.get(), values.data(), bytes);
  }
};

}  // namespace

MatrixView stored_matrix(const WeightSource& source, const WeightRow& row) {
  const auto view = source.matrix(row.name);
  if (!view) throw missing(source, row.name);
  if (view->rows != row.rows || view->cols != row.cols)
    throw bad_input(fmt::format("{}: expected shape [{}, {}], got [{}, {}]", source.stored_name(row.name),
                                row.rows, row.cols, view->rows, view->cols));
  return *view;
}

std::optional<std::vector<float>> stored_vector(const WeightSource& source, const WeightRow& row) {
  auto values = source.vector(row.name);
  if (!values && !row.optional) throw missing(source, row.name);
  if (values && static_cast<int64_t>(values->size()) != row.cols)
    throw bad_input(fmt::format("{}: expected {} elements, got {}", source.stored_name(row.name), row.cols,
                                values->size()));
  return values;
}

ModelWeights load_weights(const ModelSpec& spec, const WeightSource& source, Backend& backend,
                          const LoadProgress& progress) {
  Loader loader{spec, source, backend, progress};
  for (const WeightRow& row : weight_table(spec))
    if (row.use == WeightRow::Use::kMatmul || row.use == WeightRow::Use::kTable)
      loader.total += row.rows * row.cols;
  ModelWeights weights;
  each_weight(spec, weights, loader);
  return weights;
}

std::vector<WeightRow> weight_table(const ModelSpec& spec) {
  Lister lister;
  ModelWeights unused;
  each_weight(spec, unused, lister);
  return std::move(lister.rows);
}

}  // namespace facet
