#include "support/tiny_model.h"

#include <cmath>
#include <optional>
#include <random>

#include "model/weights.h"

namespace facet::testing {
namespace {

/// Weights in memory, f32, made on construction.
class RandomWeights final : public WeightSource {
 public:
  RandomWeights(const ModelSpec& spec, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (const WeightRow& row : weight_table(spec)) {
      if (tensors_.contains(row.name)) continue;  // the tied head
      Tensor& t = tensors_[row.name];
      t.rows = row.rows;
      t.cols = row.cols;
      t.values.resize(static_cast<size_t>(row.rows * row.cols));
      const bool vector = row.use == WeightRow::Use::kVector || row.use == WeightRow::Use::kScalar;
      const float scale = vector ? 0.1F : 1.0F / std::sqrt(static_cast<float>(row.cols));
      for (float& value : t.values) value = normal(random) * scale + (vector ? 1.0F : 0.0F);
    }
  }

  [[nodiscard]] std::optional<MatrixView> matrix(std::string_view name) const override {
    const auto found = tensors_.find(std::string(name));
    if (found == tensors_.end()) return std::nullopt;
    MatrixView view;
    view.rows = found->second.rows;
    view.cols = found->second.cols;
    view.data = reinterpret_cast<const std::byte*>(found->second.values.data());
    return view;
  }

  [[nodiscard]] std::optional<std::vector<float>> vector(std::string_view name) const override {
    const auto found = tensors_.find(std::string(name));
    return found == tensors_.end() ? std::nullopt : std::optional(found->second.values);
  }

 private:
  struct Tensor {
    int64_t rows = 0;
    int64_t cols = 0;
    std::vector<float> values;
  };
  std::map<std::string, Tensor> tensors_;
};

}  // namespace

ModelSpec tiny_spec(const TinyShape& shape) {
  ModelSpec spec;
  spec.architecture = "tiny";
  spec.vocab_size = shape.vocab;
  spec.hidden_size = shape.hidden;
  spec.context_length = shape.context;
  spec.embed_scale = std::sqrt(static_cast<double>(shape.hidden));
  spec.logit_softcap = 30;
  spec.ple_dim = shape.ple_dim;
  if (shape.ple_dim > 0) {
    spec.ple_vocab_size = shape.vocab;
    spec.ple_embed_scale = std::sqrt(static_cast<double>(shape.ple_dim));
    spec.ple_projection_scale = 1 / spec.embed_scale;
    spec.ple_combination_scale = std::sqrt(0.5);
  }
  spec.ropes = {RopeSpec::make(1e4, shape.head_dim, shape.head_dim / 2),
                RopeSpec::make(1e6, shape.full_head_dim, shape.full_head_dim / 8)};
  for (int l = 0; l < shape.layers; ++l) {
    LayerSpec layer;
    const bool full = l % shape.full_every == shape.full_every - 1;
    layer.kind = full ? LayerKind::kFull : LayerKind::kSliding;
    layer.head_dim = full ? shape.full_head_dim : shape.head_dim;
    layer.q_heads = shape.q_heads;
    layer.kv_heads = shape.kv_heads;
    layer.window = full ? 0 : shape.window;
    layer.rope = full ? 1 : 0;
    layer.kv_source = l;
    layer.ffn_dim = shape.ffn_dim;
    spec.layers.push_back(layer);
  }
  resolve_kv_sharing(spec, shape.shared);
  validate(spec);
  return spec;
}

std::unique_ptr<WeightSource> random_weights(const ModelSpec& spec, unsigned seed) {
  return std::make_unique<RandomWeights>(spec, seed);
}

Checkpoint tiny_checkpoint(const TinyShape& shape, unsigned seed) {
  Checkpoint checkpoint;
  checkpoint.spec = tiny_spec(shape);
  checkpoint.weights = random_weights(checkpoint.spec, seed);
  checkpoint.format = "random f32";
  return checkpoint;
}

}  // namespace facet::testing
