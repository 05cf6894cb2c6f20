// Whether two checkpoints hold one model.
#pragma once

#include <gtest/gtest.h>

#include <cstring>

#include "formats/checkpoint.h"
#include "model/weights.h"

namespace facet::testing {

inline void expect_same_layer(const LayerSpec& x, const LayerSpec& y, const ModelSpec& a,
                              const ModelSpec& b) {
  EXPECT_EQ(x.kind, y.kind);
  EXPECT_EQ(x.head_dim, y.head_dim);
  EXPECT_EQ(x.q_heads, y.q_heads);
  EXPECT_EQ(x.kv_heads, y.kv_heads);
  EXPECT_EQ(x.window, y.window);
  EXPECT_EQ(x.kv_source, y.kv_source);
  EXPECT_EQ(x.ffn_dim, y.ffn_dim);
  EXPECT_EQ(x.v_from_k, y.v_from_k);
  EXPECT_EQ(x.v_norm, y.v_norm);
  EXPECT_EQ(x.has_layer_scalar, y.has_layer_scalar);
  EXPECT_EQ(x.moe.has_value(), y.moe.has_value());
  if (x.moe && y.moe) {
    EXPECT_EQ(x.moe->experts, y.moe->experts);
    EXPECT_EQ(x.moe->top_k, y.moe->top_k);
    EXPECT_EQ(x.moe->ffn_dim, y.moe->ffn_dim);
  }
  EXPECT_EQ(a.ropes[static_cast<size_t>(x.rope)].inv_freq, b.ropes[static_cast<size_t>(y.rope)].inv_freq);
}

/// All that changes the math. Numbers that a format stores in f32 are compared as f32.
inline void expect_same_spec(const ModelSpec& a, const ModelSpec& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.context_length, b.context_length);
  EXPECT_FLOAT_EQ(static_cast<float>(a.rms_eps), static_cast<float>(b.rms_eps));
  EXPECT_DOUBLE_EQ(a.embed_scale, b.embed_scale);
  EXPECT_DOUBLE_EQ(a.attention_scale, b.attention_scale);
  EXPECT_EQ(a.logit_softcap, b.logit_softcap);
  EXPECT_EQ(a.norm_weight_plus_one, b.norm_weight_plus_one);
  EXPECT_EQ(a.ple_dim, b.ple_dim);
  EXPECT_EQ(a.ple_vocab_size, b.ple_vocab_size);
  EXPECT_DOUBLE_EQ(a.ple_embed_scale, b.ple_embed_scale);
  EXPECT_DOUBLE_EQ(a.ple_projection_scale, b.ple_projection_scale);
  EXPECT_DOUBLE_EQ(a.ple_combination_scale, b.ple_combination_scale);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t l = 0; l < a.layers.size(); ++l) {
    SCOPED_TRACE(l);
    expect_same_layer(a.layers[l], b.layers[l], a, b);
  }
}

inline bool is_vector(const WeightRow& row) {
  return row.use == WeightRow::Use::kVector || row.use == WeightRow::Use::kScalar;
}

/// Every weight that the model needs, byte by byte.
inline void expect_same_weights(const Checkpoint& a, const Checkpoint& b) {
  for (const WeightRow& row : weight_table(b.spec)) {
    SCOPED_TRACE(row.name);
    if (is_vector(row)) {
      EXPECT_EQ(a.weights->vector(row.name), b.weights->vector(row.name));
      continue;
    }
    const auto x = a.weights->matrix(row.name);
    const auto y = b.weights->matrix(row.name);
    ASSERT_TRUE(x && y);
    EXPECT_EQ(x->encoding, y->encoding);
    ASSERT_EQ(x->rows, y->rows);
    ASSERT_EQ(x->cols, y->cols);
    ASSERT_EQ(x->bytes(), y->bytes());
    EXPECT_EQ(std::memcmp(x->data, y->data, static_cast<size_t>(x->bytes())), 0);
  }
}

}  // namespace facet::testing
