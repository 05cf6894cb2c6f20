// Attention and the fused operations of the CPU backend against the composed defaults on the reference
// backend.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa.h"
#include "backend/reference/reference.h"
#include "model/spec.h"
#include "support/isa_names.h"
#include "support/random_matrix.h"

namespace facet {
namespace {

using testing::random_floats;
using testing::RandomMatrix;
using testing::relative_rms;

constexpr float kEps = 1e-6F;
// f32 sums in another order over at most a few thousand terms, through a few operations.
constexpr double kFloatBound = 2e-5;
// 8-bit activations: a step of max / 127 over a group errs by max / 127 / √12, and a normal group's maximum
// is about 2.5 deviations: 0.6 % a product. The worst chain is gelu(gate) · up, then down: gelu's slope
// relative to its value is up to 2 where it matters, so √(1.2² + 0.6² + 0.6²) % and some for a small sample.
constexpr double kInt8Bound = 2e-2;

/// Both backends with the same limits.
struct Pair {
  CpuBackend cpu;
  ReferenceBackend reference;
  explicit Pair(const std::string& mode, int threads = 2) : cpu({threads, testing::isa_of(mode)}) {
    cpu.set_reading(testing::is_reading(mode));
  }
  void reserve(const Limits& limits) {
    cpu.reserve(limits);
    reference.reserve(limits);
  }
};

/// A weight in both.
struct TwoWeights {
  RandomMatrix matrix;
  std::unique_ptr<Weight> cpu, reference;
  TwoWeights(Pair& pair, Encoding encoding, int64_t rows, int64_t cols, uint32_t seed,
             WeightUse use = WeightUse::kMatmul)
      : matrix(encoding, rows, cols, 64, DType::kBF16, seed),
        cpu(pair.cpu.load(matrix.view(), use)),
        reference(pair.reference.load(matrix.view(), use)) {}
};

double bound_for(Encoding encoding) {
  return encoding == Encoding::kBF16 ? kFloatBound : kInt8Bound;
}

/// Of attention. Rows that are read have weights, and values of codes, rounded to bf16: 2⁻⁹ / √3 = 1.1e-3
/// each.
double attention_bound(const std::string& mode, KvType type) {
  if (!testing::is_reading(mode) || type == KvType::kF32) return kFloatBound;
  return type == KvType::kQ8 ? 3e-3 : 2e-3;
}

class CpuFused : public ::testing::TestWithParam<std::string> {};

// --- attention --------------------------------------------------------------------------------------------

struct AttentionCase {
  int head_dim, q_heads, kv_heads, window;
  KvType type;
};

/// A cache of `sequences` sequences with room for `context` tokens, pages in a shuffled order.
struct TestCache {
  std::vector<std::byte> k, v;
  std::vector<float> k_scale, v_scale;
  std::vector<int32_t> pages;
  KvView view;

  TestCache(const AttentionCase& c, int sequences, int context) {
    view.type = c.type;
    view.kv_heads = c.kv_heads;
    view.head_dim = c.head_dim;
    view.stride = (context + kPageTokens - 1) / kPageTokens;
    const auto count = static_cast<size_t>(view.stride) * static_cast<size_t>(sequences);
    pages.resize(count);
    for (size_t i = 0; i < count; ++i) pages[i] = static_cast<int32_t>(i);
    std::shuffle(pages.begin(), pages.end(), std::mt19937(5));
    const size_t slots = count * kPageTokens * static_cast<size_t>(c.kv_heads);
    k.resize(slots * static_cast<size_t>(kv_row_bytes(c.type, c.head_dim)));
    // What was never written must not matter: NaN in every float type.
    std::fill(k.begin(), k.end(), std::byte{0xff});
    v = k;
    k_scale.assign(slots, NAN);
    v_scale.assign(slots, NAN);
    view.k = k.data();
    view.v = v.data();
    view.k_scale = k_scale.data();
    view.v_scale = v_scale.data();
    view.pages = pages.data();
  }
};

TEST_P(CpuFused, AttentionMatchesTheReference) {
  const std::vector<AttentionCase> cases = {
      {256, 8, 1, 512, KvType::kBF16}, {512, 8, 1, 0, KvType::kBF16}, {256, 8, 2, 512, KvType::kQ8},
      {512, 8, 2, 0, KvType::kF32},    {16, 4, 2, 8, KvType::kF32},   {18, 6, 3, 0, KvType::kBF16},
      {2, 2, 1, 5, KvType::kQ8},       {34, 1, 1, 0, KvType::kQ8},    {32, 40, 1, 100, KvType::kBF16},
  };
  for (const AttentionCase& c : cases) {
    SCOPED_TRACE(fmt::format("dim {} heads {}/{} window {} type {}", c.head_dim, c.q_heads, c.kv_heads,
                             c.window, static_cast<int>(c.type)));
    constexpr int kContext = 700;
    constexpr int kSequences = 2;
    Pair pair(GetParam(), 3);
    Limits limits;
    limits.rows = kContext;
    limits.hidden = 1;
    limits.q_width = c.q_heads * c.head_dim;
    limits.kv_width = c.kv_heads * c.head_dim;
    limits.q_heads = c.q_heads;
    limits.context = kContext;
    pair.reserve(limits);
    TestCache cache(c, kSequences, kContext);

    const RopeSpec rope = RopeSpec::make(1e4, c.head_dim, c.head_dim / 2);
    const AttentionShape shape{c.head_dim, c.q_heads, c.kv_heads, c.window, 0.3F, rope.inv_freq.data()};
    std::vector<int32_t> positions(kContext);
    for (int i = 0; i < kContext; ++i) positions[static_cast<size_t>(i)] = i;
    for (int s = 0; s < kSequences; ++s) {
      const std::vector<int32_t> sequence(kContext, s);
      const Rows rows{kContext, nullptr, positions.data(), sequence.data()};
      const auto seed = static_cast<uint32_t>(s);
      const auto k = random_floats(int64_t{kContext} * limits.kv_width, 10 + seed);
      const auto v = random_floats(int64_t{kContext} * limits.kv_width, 20 + seed);
      pair.cpu.kv_store(k.data(), v.data(), rows, cache.view);
    }
    // A chunk of one sequence, a token of the other, and single tokens far apart.
    std::vector<int32_t> at = {0, 1, 2, 63, 64, 65, 66, 67, 130, 131, 132, 699, 511, 512, 640};
    std::vector<int32_t> of = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1};
    for (int32_t p = 300; p < 380; ++p) {
      at.push_back(p);
      of.push_back(1);
    }
    const Rows rows{static_cast<int>(at.size()), nullptr, at.data(), of.data()};
    const int64_t width = limits.q_width;
    const auto q = random_floats(rows.count * width, 30);
    std::vector<float> expected(q.size());
    std::vector<float> out(q.size());
    pair.reference.attend(q.data(), rows, shape, cache.view, expected.data());
    pair.cpu.attend(q.data(), rows, shape, cache.view, out.data());
    EXPECT_LE(relative_rms(out, expected), attention_bound(GetParam(), c.type));

    // Row by row, when spans go to different threads: the same bits.
    for (int r = 0; r < rows.count; r += 7) {
      const Rows one{1, nullptr, at.data() + r, of.data() + r};
      std::vector<float> alone(static_cast<size_t>(width));
      pair.cpu.attend(q.data() + r * width, one, shape, cache.view, alone.data());
      const std::vector<float> same(out.begin() + r * width, out.begin() + (r + 1) * width);
      ASSERT_EQ(alone, same) << "row " << r;
    }
  }
}

TEST_P(CpuFused, LongContextSpansMatchTheReference) {
  const AttentionCase c{64, 8, 1, 0, KvType::kBF16};
  constexpr int kContext = 9000;
  Pair pair(GetParam(), 4);
  Limits limits;
  limits.rows = kContext;
  limits.hidden = 1;
  limits.q_width = c.q_heads * c.head_dim;
  limits.kv_width = c.head_dim;
  limits.q_heads = c.q_heads;
  limits.context = kContext;
  pair.reserve(limits);
  TestCache cache(c, 1, kContext);
  std::vector<int32_t> positions(kContext);
  for (int i = 0; i < kContext; ++i) positions[static_cast<size_t>(i)] = i;
  const std::vector<int32_t> sequence(kContext, 0);
  const Rows all{kContext, nullptr, positions.data(), sequence.data()};
  const auto k = random_floats(int64_t{kContext} * limits.kv_width, 1);
  const auto v = random_floats(int64_t{kContext} * limits.kv_width, 2);
  pair.cpu.kv_store(k.data(), v.data(), all, cache.view);
  const AttentionShape shape{c.head_dim, c.q_heads, c.kv_heads, 0, 0.2F, nullptr};
  // Around the places where the span length changes, and the end.
  for (const int32_t begin : {2040, 4090, 8190, 8996}) {
    const Rows rows{4, nullptr, positions.data() + begin, sequence.data()};
    const auto q = random_floats(4 * int64_t{limits.q_width}, 3);
    std::vector<float> expected(q.size());
    std::vector<float> out(q.size());
    pair.reference.attend(q.data(), rows, shape, cache.view, expected.data());
    pair.cpu.attend(q.data(), rows, shape, cache.view, out.data());
    EXPECT_LE(relative_rms(out, expected), attention_bound(GetParam(), c.type)) << begin;
    const Rows last{1, nullptr, positions.data() + begin + 3, sequence.data()};
    std::vector<float> alone(static_cast<size_t>(limits.q_width));
    pair.cpu.attend(q.data() + 3 * limits.q_width, last, shape, cache.view, alone.data());
    EXPECT_EQ(alone, std::vector<float>(out.begin() + 3 * limits.q_width, out.end())) << begin;
  }
}

// --- fused operations
// ---------------------------------------------------------------------------------------

struct ModelShape {
  Encoding encoding;
  int hidden, head_dim, q_heads, kv_heads, ffn_dim, ple_dim, layers;
};
const std::vector<ModelShape> kShapes = {
    {Encoding::kAffine4, 1536, 256, 8, 1, 512, 256, 2},  // E2B, the MLP shortened
    {Encoding::kAffine8, 256, 64, 4, 2, 192, 64, 3},
    {Encoding::kBF16, 1536, 256, 8, 1, 256, 256, 2},
    {Encoding::kBF16, 70, 10, 3, 1, 37, 6, 2},
};

Limits limits_of(const ModelShape& m, int rows) {
  Limits limits;
  limits.rows = rows;
  limits.logit_rows = rows;
  limits.hidden = m.hidden;
  limits.q_width = m.q_heads * m.head_dim;
  limits.kv_width = m.kv_heads * m.head_dim;
  limits.q_heads = m.q_heads;
  limits.ffn_dim = m.ffn_dim;
  limits.ple_width = m.layers * m.ple_dim;
  limits.context = 256;
  limits.sequences = 1;
  return limits;
}

const std::vector<int> kRowCounts = {1, 2, 5, 33};

std::string label(const ModelShape& m, int rows) {
  return fmt::format("{} hidden {} rows {}", encoding_name(m.encoding), m.hidden, rows);
}

TEST_P(CpuFused, QkvRopeStore) {
  for (const ModelShape& m : kShapes) {
    for (const int n : kRowCounts) {
      SCOPED_TRACE(label(m, n));
      Pair pair(GetParam());
      const int64_t q_width = int64_t{m.q_heads} * m.head_dim;
      const int64_t kv_width = int64_t{m.kv_heads} * m.head_dim;
      const TwoWeights q(pair, m.encoding, q_width, m.hidden, 1);
      const TwoWeights k(pair, m.encoding, kv_width, m.hidden, 2);
      const TwoWeights v(pair, Encoding::kBF16, kv_width, m.hidden, 3);  // forms may differ
      pair.reserve(limits_of(m, n));
      const auto x = random_floats(n * m.hidden, 4, 3);
      const auto norm = random_floats(m.hidden, 5);
      const auto q_norm = random_floats(m.head_dim, 6);
      const auto k_norm = random_floats(m.head_dim, 7);
      const RopeSpec rope = RopeSpec::make(1e4, m.head_dim, m.head_dim / 4);
      std::vector<int32_t> positions(static_cast<size_t>(n));
      for (int i = 0; i < n; ++i) positions[static_cast<size_t>(i)] = 90 + i;
      const std::vector<int32_t> sequences(static_cast<size_t>(n), 0);
      const Rows rows{n, nullptr, positions.data(), sequences.data()};
      const AttentionCase c{m.head_dim, m.q_heads, m.kv_heads, 0, KvType::kF32};
      // q only, everything, V from K, K and V only.
      for (const int mode : {0, 1, 2, 3}) {
        const auto run = [&](Backend& backend, bool on_cpu) {
          TestCache cache(c, 1, 256);
          std::fill(cache.k.begin(), cache.k.end(), std::byte{0});
          std::fill(cache.v.begin(), cache.v.end(), std::byte{0});
          std::vector<float> q_out(static_cast<size_t>(n * q_width));
          QkvArgs args;
          args.shape = {m.head_dim, m.q_heads, m.kv_heads, 0, 1, rope.inv_freq.data()};
          args.eps = kEps;
          args.input_norm = norm.data();
          if (mode != 3) args.q = on_cpu ? q.cpu.get() : q.reference.get();
          args.q_norm = q_norm.data();
          args.q_out = q_out.data();
          if (mode > 0) args.k = on_cpu ? k.cpu.get() : k.reference.get();
          if (mode == 1 || mode == 3) args.v = on_cpu ? v.cpu.get() : v.reference.get();
          args.k_norm = k_norm.data();
          args.kv = cache.view;
          backend.qkv_rope_store(x.data(), rows, args);
          const auto floats = [](const std::vector<std::byte>& bytes) {
            std::vector<float> f(bytes.size() / 4);
            std::memcpy(f.data(), bytes.data(), bytes.size());
            return f;
          };
          return std::array{q_out, floats(cache.k), floats(cache.v)};
        };
        const auto expected = run(pair.reference, false);
        const auto out = run(pair.cpu, true);
        for (size_t i = 0; i < 3; ++i) {
          if ((i == 0 && mode == 3) || (i > 0 && mode == 0)) continue;  // not written
          EXPECT_LE(relative_rms(out[i], expected[i]), bound_for(m.encoding))
              << "mode " << mode << " output " << i;
        }
      }
    }
  }
}

TEST_P(CpuFused, ProjectAddGegluAndPerLayerEmbed) {
  for (const ModelShape& m : kShapes) {
    for (const int n : kRowCounts) {
      SCOPED_TRACE(label(m, n));
      Pair pair(GetParam());
      const TwoWeights gate(pair, m.encoding, m.ffn_dim, m.hidden, 1);
      const TwoWeights up(pair, m.encoding, m.ffn_dim, m.hidden, 2);
      const TwoWeights down(pair, m.encoding, m.hidden, m.ffn_dim, 3);
      const TwoWeights ple_gate(pair, m.encoding, m.ple_dim, m.hidden, 4);
      const TwoWeights ple_projection(pair, m.encoding, m.hidden, m.ple_dim, 5);
      pair.reserve(limits_of(m, n));
      const auto x0 = random_floats(n * m.hidden, 6);
      const auto norm = random_floats(m.hidden, 7);
      const auto inputs = random_floats(n * m.layers * m.ple_dim, 8);
      const auto run = [&](Backend& backend, bool on_cpu) {
        const auto weight = [&](const TwoWeights& w) -> const Weight& {
          return on_cpu ? *w.cpu : *w.reference;
        };
        std::vector<float> ffn(static_cast<size_t>(n * m.ffn_dim));
        std::vector<float> x = x0;
        backend.geglu(x.data(), n, norm.data(), kEps, weight(gate), weight(up), ffn.data());
        std::vector<float> added = x0;
        backend.project_add(ffn.data(), n, weight(down), norm.data(), kEps, added.data(), {});
        PerLayerArgs ple;
        ple.ple_dim = m.ple_dim;
        ple.eps = kEps;
        ple.gate = &weight(ple_gate);
        ple.projection = &weight(ple_projection);
        ple.post_norm = norm.data();
        ple.inputs = inputs.data() + m.ple_dim;
        ple.inputs_stride = int64_t{m.layers} * m.ple_dim;
        ple.layer_scalar = 0.7F;
        backend.per_layer_embed(x.data(), n, ple);
        return std::array{ffn, added, x};
      };
      const auto expected = run(pair.reference, false);
      const auto out = run(pair.cpu, true);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_LE(relative_rms(out[i], expected[i]), bound_for(m.encoding)) << "output " << i;
      // Whichever thread takes which rows.
      for (int again = 0; again < 20; ++again) ASSERT_EQ(run(pair.cpu, true), out);
    }
  }
}

TEST_P(CpuFused, PerLayerInputsAndLogits) {
  for (const ModelShape& m : kShapes) {
    for (const int n : kRowCounts) {
      SCOPED_TRACE(label(m, n));
      Pair pair(GetParam());
      constexpr int kVocab = 2085;
      const int64_t width = int64_t{m.layers} * m.ple_dim;
      const TwoWeights projection(pair, m.encoding, width, m.hidden, 1);
      const TwoWeights table(pair, m.encoding, 50, width, 2, WeightUse::kTable);
      const TwoWeights head(pair, m.encoding, kVocab, m.hidden, 3);
      pair.reserve(limits_of(m, n));
      const auto x = random_floats(n * m.hidden, 4);
      const auto norm = random_floats(m.ple_dim, 5);
      std::vector<int32_t> tokens(static_cast<size_t>(n));
      for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = (i * 13) % 50;
      const Rows rows{n, tokens.data(), nullptr, nullptr};
      const auto run = [&](Backend& backend, bool on_cpu, int layers) {
        Backend::PerLayerInputs args;
        args.table = on_cpu ? table.cpu.get() : table.reference.get();
        args.projection = on_cpu ? projection.cpu.get() : projection.reference.get();
        args.norm = norm.data();
        args.ple_dim = m.ple_dim;
        args.eps = kEps;
        args.embed_scale = 16;
        args.projection_scale = 0.1F;
        args.combination_scale = 0.7F;
        std::vector<float> inputs(static_cast<size_t>(n * layers * m.ple_dim));
        backend.per_layer_inputs(x.data(), rows, layers, args, inputs.data());
        std::vector<float> logits(static_cast<size_t>(n) * kVocab);
        backend.logits(x.data(), n, on_cpu ? *head.cpu : *head.reference, 5, logits.data());
        return std::array{inputs, logits};
      };
      for (const int layers : {m.layers, m.layers - 1}) {
        const auto expected = run(pair.reference, false, layers);
        const auto out = run(pair.cpu, true, layers);
        for (size_t i = 0; i < expected.size(); ++i)
          EXPECT_LE(relative_rms(out[i], expected[i]), bound_for(m.encoding)) << "output " << i;
      }
    }
  }
}

TEST_P(CpuFused, Experts) {
  for (const Encoding encoding : {Encoding::kAffine4, Encoding::kBF16}) {
    for (const int n : kRowCounts) {
      SCOPED_TRACE(fmt::format("{} rows {}", encoding_name(encoding), n));
      Pair pair(GetParam());
      constexpr int kExperts = 6;
      const int hidden = encoding == Encoding::kBF16 ? 50 : 128;
      const int ffn = encoding == Encoding::kBF16 ? 22 : 64;
      const TwoWeights gate_up(pair, encoding, kExperts * 2 * ffn, hidden, 1);
      const TwoWeights down(pair, encoding, int64_t{kExperts} * hidden, ffn, 2);
      Limits limits;
      limits.rows = n;
      limits.hidden = hidden;
      limits.ffn_dim = ffn;
      limits.experts = kExperts;
      pair.reserve(limits);
      const auto h = random_floats(n * hidden, 3);
      auto p = random_floats(n * kExperts, 4);
      pair.reference.softmax(p.data(), n, kExperts);
      const auto scale = random_floats(kExperts, 5);
      MoeArgs moe;
      moe.experts = kExperts;
      moe.top_k = 3;
      moe.ffn_dim = ffn;
      moe.per_expert_scale = scale.data();
      std::vector<float> expected(h.size());
      std::vector<float> out(h.size());
      moe.gate_up = gate_up.reference.get();
      moe.down = down.reference.get();
      pair.reference.experts(h.data(), p.data(), n, moe, expected.data());
      moe.gate_up = gate_up.cpu.get();
      moe.down = down.cpu.get();
      pair.cpu.experts(h.data(), p.data(), n, moe, out.data());
      EXPECT_LE(relative_rms(out, expected), 2 * bound_for(encoding));  // gate · up squares what errs
    }
  }
}

TEST_P(CpuFused, Elementwise) {
  Pair pair(GetParam(), 1);
  const auto& kernels = pair.cpu.kernels();
  for (const int n : {1, 15, 16, 17, 100, 1000}) {
    const auto compare = [&](const char* what, auto run) {
      std::vector<float> x = random_floats(n, 1, 4);
      const std::vector<float> y = random_floats(n, 2);
      std::vector<float> expected = x;
      run(static_cast<Backend&>(pair.reference), expected, y);
      run(static_cast<Backend&>(pair.cpu), x, y);
      EXPECT_LE(relative_rms(x, expected), 1e-6) << what << " " << n;
    };
    compare("gelu_mul",
            [](Backend& b, auto& x, const auto& y) { b.gelu_mul(x.data(), y.data(), std::ssize(x)); });
    compare("add_scale",
            [](Backend& b, auto& x, const auto& y) { b.add_scale(x.data(), y.data(), 0.3F, std::ssize(x)); });
    compare("scale", [](Backend& b, auto& x, const auto&) { b.scale(x.data(), 0.3F, std::ssize(x)); });
    compare("softmax", [](Backend& b, auto& x, const auto&) { b.softmax(x.data(), 1, std::ssize(x)); });
    compare("softcap", [](Backend& b, auto& x, const auto&) { b.softcap(x.data(), 3, std::ssize(x)); });
    compare("rms_norm", [](Backend& b, auto& x, const auto& y) {
      b.rms_norm(x.data(), 1, std::ssize(x), y.data(), kEps, x.data());
    });
    compare("scale_columns", [](Backend& b, auto& x, const auto& y) {
      b.scale_columns(x.data(), y.data(), 1, std::ssize(x));
    });
  }
  // The extremes neither overflow nor become NaN.
  std::vector<float> wide = {-1e30F, -500, -88, -1e-30F, 0, 1e-30F, 88, 500, 1e30F};
  const std::vector<float> ones(wide.size(), 1);
  std::vector<float> expected = wide;
  pair.reference.gelu_mul(expected.data(), ones.data(), std::ssize(wide));
  std::vector<float> out = wide;
  kernels.gelu_mul(out.data(), ones.data(), std::ssize(wide));
  for (size_t i = 0; i < wide.size(); ++i)
    EXPECT_NEAR(out[i], expected[i], 1e-5 * std::fabs(expected[i]) + 1e-5) << wide[i];
  pair.cpu.softcap(wide.data(), 30, std::ssize(wide));
  EXPECT_EQ(wide.front(), -30);
  EXPECT_EQ(wide.back(), 30);
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuFused, ::testing::ValuesIn(testing::kernel_modes()),
                         [](const auto& isa) { return isa.param; });

}  // namespace
}  // namespace facet
