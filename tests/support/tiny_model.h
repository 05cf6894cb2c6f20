// A model small enough to think about, with random weights in memory.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "model/spec.h"

namespace facet::testing {

/// What a tiny model is made of. Layers alternate sliding … full as in E2B; the last `shared` share their KV.
struct TinyShape {
  int vocab = 64;
  int hidden = 32;
  int layers = 5;
  int full_every = 5;
  int shared = 0;
  int q_heads = 4;
  int kv_heads = 1;
  int head_dim = 8;
  int full_head_dim = 16;
  int window = 8;
  int ffn_dim = 48;
  int ple_dim = 8;
  int context = 512;
};

/// A validated spec of that shape.
[[nodiscard]] ModelSpec tiny_spec(const TinyShape& shape);

/// f32 weights for any spec, drawn from `seed`, of a scale that keeps activations near 1.
[[nodiscard]] std::unique_ptr<WeightSource> random_weights(const ModelSpec& spec, unsigned seed);

/// A checkpoint whose f32 weights are drawn from `seed`, of a scale that keeps activations near 1.
[[nodiscard]] Checkpoint tiny_checkpoint(const TinyShape& shape, unsigned seed = 1);

}  // namespace facet::testing
