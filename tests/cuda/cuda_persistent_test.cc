// Whole decode steps of E2B's shape, as the CUDA backend runs them from their second time on (one kernel,
// then a graph of it), against the reference.
#include <fmt/format.h>

#include <algorithm>

#include "backend/cuda/persistent_step.h"
#include "cuda/two_backends.h"
#include "model/spec.h"

namespace facet {
namespace {

using testing::append_cache;
using testing::Array;
using testing::CudaTest;
using testing::random_bf16;
using testing::random_floats;
using testing::relative_rms;
using testing::WeightOnBoth;

constexpr float kEps = 1e-6F;
constexpr double kBound = 3e-3;  // 16 bits an activation, through up to four layers; k and v are bf16 in both
constexpr int kHidden = 1536, kHeads = 8, kPleDim = 256;

struct LayerKind {
  int head_dim = 256;
  int window = 512;  ///< 0: full
  int ffn_dim = 6144;
  bool shares = false;  ///< the cache of the last layer of its kind
};

struct StepCase {
  std::vector<LayerKind> layers;
  std::vector<int> positions;  ///< a row each
  Encoding encoding = Encoding::kAffine4;
  Encoding ple_encoding = Encoding::kAffine8;
  int group = 64;
  int times = 3;  ///< that the step runs at most
};

class CudaPersistent : public CudaTest {
 protected:
  struct LayerWeights {
    WeightOnBoth q, k, v, o, gate, up, down, ple_gate, ple_projection;
  };

  /// The residual stream, its norm and the caches after a step, on both backends.
  void compare(const StepCase& c) {
    if (!cuda->device().hopper()) GTEST_SKIP() << "the kernel is for compute capability 9.0";
    SCOPED_TRACE(name(c));
    const auto weights = weights_of(c);
    const StepShape shape = shape_of(c);
    const Limits limits = limits_of(c, shape);
    reserve(limits);
    const auto expected = run(c, shape, weights, false, 1);
    // As kernels of their own; noted, and recorded as one; replayed.
    for (const int times : {1, 2, c.times}) {
      SCOPED_TRACE(fmt::format("run {} times", times));
      const auto before = cuda->persistent_steps();
      cuda->reserve(limits);
      EXPECT_LE(relative_rms(run(c, shape, weights, true, times), expected), kBound);
      EXPECT_EQ(cuda->persistent_steps() - before, times > 1 ? 1 : 0);
    }
  }

  /// The same for steps one after the other, which leave each other what clusters have added up.
  void compare_in_turn(StepCase c, const std::vector<std::vector<int>>& steps) {
    if (!cuda->device().hopper()) GTEST_SKIP() << "the kernel is for compute capability 9.0";
    const auto weights = weights_of(c);
    const auto most = std::max_element(steps.begin(), steps.end(),
                                       [](const auto& a, const auto& b) { return a.size() < b.size(); });
    c.positions = *most;
    for (const auto& positions : steps) c.positions[0] = std::max(c.positions[0], positions[0]);
    reserve(limits_of(c, shape_of(c)));
    for (const auto& positions : steps) {
      c.positions = positions;
      SCOPED_TRACE(name(c));
      const StepShape shape = shape_of(c);
      const auto expected = run(c, shape, weights, false, 1);
      EXPECT_LE(relative_rms(run(c, shape, weights, true, c.times), expected), kBound);
    }
  }

 private:
  static std::string name(const StepCase& c) {
    return fmt::format("{} layers, {} {}, {} rows at {}", c.layers.size(), encoding_name(c.encoding), c.group,
                       c.positions.size(), c.positions.front());
  }

  std::vector<LayerWeights> weights_of(const StepCase& c) {
    uint32_t seed = 1;
    std::vector<LayerWeights> weights;
    for (const LayerKind& layer : c.layers) {
      const auto weight = [&](int64_t out, int64_t in, Encoding encoding) {
        return WeightOnBoth(*cuda, reference, encoding, out, in, seed++, WeightUse::kMatmul, c.group);
      };
      const int64_t width = int64_t{kHeads} * layer.head_dim;
      weights.push_back({weight(width, kHidden, c.encoding), weight(layer.head_dim, kHidden, c.encoding),
                         weight(layer.head_dim, kHidden, c.encoding), weight(kHidden, width, c.encoding),
                         weight(layer.ffn_dim, kHidden, c.encoding),
                         weight(layer.ffn_dim, kHidden, c.encoding),
                         weight(kHidden, layer.ffn_dim, c.encoding), weight(kPleDim, kHidden, c.ple_encoding),
                         weight(kHidden, kPleDim, c.ple_encoding)});
    }
    return weights;
  }

  static StepShape shape_of(const StepCase& c) {
    StepShape shape;
    shape.rows = shape.outputs = static_cast<int>(c.positions.size());
    shape.distinct = true;
    shape.last_position = *std::max_element(c.positions.begin(), c.positions.end());
    return shape;
  }

  static Limits limits_of(const StepCase& c, const StepShape& shape) {
    Limits limits;
    limits.rows = limits.logit_rows = limits.sequences = shape.rows;
    limits.hidden = kHidden;
    limits.q_width = kHeads * 512;
    limits.kv_width = 512;
    limits.q_heads = kHeads;
    limits.ffn_dim = 12288;
    limits.ple_width = kPleDim * static_cast<int>(c.layers.size());
    limits.context = shape.last_position + 1;
    return limits;
  }

  std::vector<float> run(const StepCase& c, const StepShape& shape, const std::vector<LayerWeights>& weights,
                         bool gpu, int times) {
    Backend& b = backend(gpu);
    const int rows = shape.rows;
    const auto layer_count = static_cast<int>(c.layers.size());
    const int stride = shape.last_position / kPageTokens + 1;
    uint32_t seed = 1000;
    const auto norm = [&](int64_t width) {
      auto values = random_floats(width, seed++, 0.3F);
      for (float& value : values) value += 1;
      return values;
    };
    struct LayerArrays {
      Array<float> input_norm, q_norm, k_norm, post_attention, pre_ffn, post_ffn, post_ple;
      std::optional<Array<uint16_t>> k_cache, v_cache;
      QkvArgs qkv;
    };
    const auto x0 = random_floats(int64_t{rows} * kHidden, seed++);
    Array<float> x(b, x0), out(b, int64_t{rows} * kHidden), final_norm(b, norm(kHidden)),
        inputs(b, random_floats(int64_t{rows} * layer_count * kPleDim, seed++)),
        q(b, int64_t{rows} * kHeads * 512), attended(b, int64_t{rows} * kHeads * 512),
        m(b, int64_t{rows} * 12288);
    Array<float> inv_freq[2] = {{b, RopeSpec::make(1e4, 256, 128).inv_freq},
                                {b, RopeSpec::make(1e6, 512, 64).inv_freq}};
    std::vector<int32_t> page_list(static_cast<size_t>(rows) * static_cast<size_t>(stride));
    for (size_t i = 0; i < page_list.size(); ++i)
      page_list[i] = static_cast<int32_t>(page_list.size() - 1 - i);
    std::vector<int32_t> sequence_list(static_cast<size_t>(rows));
    for (int r = 0; r < rows; ++r) sequence_list[static_cast<size_t>(r)] = rows - 1 - r;
    Array<int32_t> pages(b, page_list), positions(b, std::vector<int32_t>(c.positions)),
        sequences(b, sequence_list);

    std::vector<LayerArrays> arrays;
    arrays.reserve(c.layers.size());
    KvView kinds[2];
    for (size_t l = 0; l < c.layers.size(); ++l) {
      const LayerKind& layer = c.layers[l];
      const int kind = layer.window > 0 ? 0 : 1;
      arrays.push_back({{b, norm(kHidden)},
                        {b, norm(layer.head_dim)},
                        {b, norm(layer.head_dim)},
                        {b, norm(kHidden)},
                        {b, norm(kHidden)},
                        {b, norm(kHidden)},
                        {b, norm(kHidden)},
                        {},
                        {},
                        {}});
      LayerArrays& to = arrays.back();
      if (!layer.shares) {
        const int64_t count = int64_t{rows} * stride * kPageTokens * layer.head_dim;
        to.k_cache.emplace(b, random_bf16(count, seed++));
        to.v_cache.emplace(b, random_bf16(count, seed++));
        kinds[kind] = {KvType::kBF16,
                       1,
                       layer.head_dim,
                       reinterpret_cast<std::byte*>(to.k_cache->data()),
                       reinterpret_cast<std::byte*>(to.v_cache->data()),
                       nullptr,
                       nullptr,
                       pages.data(),
                       stride};
      }
      QkvArgs& args = to.qkv;
      args.shape = {layer.head_dim, kHeads, 1, layer.window, 0.5F, inv_freq[kind].data()};
      args.eps = kEps;
      args.input_norm = to.input_norm.data();
      args.q = &weights[l].q.on(gpu);
      args.q_norm = to.q_norm.data();
      args.q_out = q.data();
      if (!layer.shares) {
        args.k = &weights[l].k.on(gpu);
        args.v = &weights[l].v.on(gpu);
        args.k_norm = to.k_norm.data();
      }
      args.kv = kinds[kind];
    }
    Rows r{rows, nullptr, positions.data(), sequences.data()};
    r.distinct = true;
    r.last_position = shape.last_position;

    std::vector<float> recorded;
    for (int time = 0; time < times; ++time) {
      b.upload(x.data(), x0.data(), x0.size() * sizeof(float));
      if (!b.begin_step(shape)) {
        if (recorded.empty()) recorded = x.values();
        // To the bit, or some block did not wait for another.
        EXPECT_TRUE(x.values() == recorded) << "run " << time;
        continue;
      }
      for (size_t l = 0; l < c.layers.size(); ++l) {
        LayerArrays& a = arrays[l];
        const LayerWeights& w = weights[l];
        b.qkv_rope_store(x.data(), r, a.qkv);
        b.attend(q.data(), r, a.qkv.shape, a.qkv.kv, attended.data());
        b.project_add(attended.data(), rows, w.o.on(gpu), a.post_attention.data(), kEps, x.data(), {});
        b.geglu(x.data(), rows, a.pre_ffn.data(), kEps, w.gate.on(gpu), w.up.on(gpu), m.data());
        b.project_add(m.data(), rows, w.down.on(gpu), a.post_ffn.data(), kEps, x.data(), {});
        b.per_layer_embed(
            x.data(), rows,
            {kPleDim, kEps, &w.ple_gate.on(gpu), &w.ple_projection.on(gpu), a.post_ple.data(),
             inputs.data() + static_cast<int64_t>(l) * kPleDim, int64_t{layer_count} * kPleDim, 0.7F});
      }
      b.rms_norm(x.data(), rows, kHidden, final_norm.data(), kEps, out.data());
      b.end_step();
    }
    auto values = x.values();
    const auto normed = out.values();
    values.insert(values.end(), normed.begin(), normed.end());
    for (const LayerArrays& a : arrays)
      for (const auto* cache : {&a.k_cache, &a.v_cache})
        if (cache->has_value()) append_cache((*cache)->values(), values);
    return values;
  }
};

const std::vector<LayerKind> kAllKinds = {{}, {512, 0}, {256, 512, 12288, true}, {512, 0, 12288, true}};

TEST_F(CudaPersistent, OneLayer) {
  for (const int position : {0, 1, 15, 63, 500, 511, 512, 700}) compare({{{}}, {position}});
  for (const int position : {0, 17, 255, 1023, 3000}) compare({{{512, 0}}, {position}});
}

TEST_F(CudaPersistent, SharedKeysAndWideMlps) {
  for (const int position : {0, 40, 800}) compare({kAllKinds, {position}});
}

TEST_F(CudaPersistent, Batches) {
  compare({kAllKinds, {37, 600}});
  compare({kAllKinds, {0, 129, 511}});
  compare({kAllKinds, {800, 5, 512, 64}});
}

/// Three layers: what is added up an odd number of times and an even one.
TEST_F(CudaPersistent, StepsInTurn) {
  StepCase c{{{}, {512, 0}, {256, 512, 12288, true}}, {}};
  for (const int times : {3, 4}) {
    c.times = times;
    compare_in_turn(c, {{40}, {800, 5, 512, 64}, {7, 300}, {1, 2, 3}});
  }
}

/// Full attention as a kernel of its own, between launches of a span of layers each: keys that an earlier
/// span has stored, and (the third) keys of the span itself.
TEST_F(CudaPersistent, LongContexts) {
  compare({kAllKinds, {cuda::kSpansContext}});
  compare({kAllKinds, {5000, 5, 4000, 64}});
  compare({{{512, 0}, {}, {256, 512, 12288, true}}, {4100, 3500}});
  compare({{{}, {}, {512, 0}}, {3999}, Encoding::kAffine8, Encoding::kAffine8});
}

TEST_F(CudaPersistent, RepeatsItself) {
  for (const auto& positions : {std::vector<int>{600}, std::vector<int>{600, 600, 600, 600},
                                std::vector<int>{3700}, std::vector<int>{1500, 1500, 1500, 1500}}) {
    StepCase c{kAllKinds, positions};
    c.times = positions[0] < 1000 ? 1000 : 300;
    compare(c);
  }
}

/// Small, for the sanitizers, under which every access takes a thousand times as long.
TEST_F(CudaPersistent, Sanitized) {
  compare({{{}, {512, 0}}, {70}});
  compare({{{}, {512, 0}}, {cuda::kSpansContext}});
}

TEST_F(CudaPersistent, OtherCodes) {
  for (const auto& positions : {std::vector<int>{100}, std::vector<int>{7, 300, 64}}) {
    compare({kAllKinds, positions, Encoding::kAffine4, Encoding::kAffine4, 128});
    compare({kAllKinds, positions, Encoding::kAffine8, Encoding::kAffine8});
  }
}

}  // namespace
}  // namespace facet
