// Decode steps on the CUDA backend against the reference: a layer's fused operations in a row, because what
// one of them leaves undone the next one does.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/two_backends.h"
#include "model/spec.h"

namespace facet {
namespace {

using testing::append_cache;
using testing::Array;
using testing::CudaTest;
using testing::random_bf16;
using testing::random_floats;
using testing::WeightOnBoth;

constexpr float kEps = 1e-6F;
constexpr double kBound = 2e-4;  // two bf16 numbers an activation; k and v are bf16 in both

struct LayerCase {
  Encoding encoding = Encoding::kAffine4;
  int group = 64;
  int rows = 1;
  int hidden = 1536, head_dim = 256, q_heads = 8, kv_heads = 1, ffn_dim = 6144, ple_dim = 256;
  int window = 512;
  bool shares = false;  ///< another layer's cache
  std::vector<int> positions;
};

std::string name(const LayerCase& c) {
  return fmt::format("{} group {} rows {} hidden {} head {}x{}/{} ffn {} window {}{} at {}",
                     encoding_name(c.encoding), c.group, c.rows, c.hidden, c.head_dim, c.q_heads, c.kv_heads,
                     c.ffn_dim, c.window, c.shares ? " shared" : "", c.positions.front());
}

class CudaDecode : public CudaTest {
 protected:
  /// One layer of a decode step on both backends, with `c.positions` tokens before each row.
  void compare(const LayerCase& c) {
    SCOPED_TRACE(name(c));
    const int64_t q_width = int64_t{c.q_heads} * c.head_dim;
    const int64_t kv_width = int64_t{c.kv_heads} * c.head_dim;
    const auto weight = [&](int64_t rows, int64_t cols, uint32_t seed) {
      return WeightOnBoth(*cuda, reference, c.encoding, rows, cols, seed, WeightUse::kMatmul, c.group);
    };
    const auto q = weight(q_width, c.hidden, 1), k = weight(kv_width, c.hidden, 2),
               v = weight(kv_width, c.hidden, 3), o = weight(c.hidden, q_width, 4),
               gate = weight(c.ffn_dim, c.hidden, 5), up = weight(c.ffn_dim, c.hidden, 6),
               down = weight(c.hidden, c.ffn_dim, 7), ple_gate = weight(c.ple_dim, c.hidden, 8),
               ple_projection = weight(c.hidden, c.ple_dim, 9);
    const int context = *std::max_element(c.positions.begin(), c.positions.end()) + 1;
    Limits limits;
    limits.rows = c.rows;
    limits.logit_rows = c.rows;
    limits.hidden = c.hidden;
    limits.q_width = static_cast<int>(q_width);
    limits.kv_width = static_cast<int>(kv_width);
    limits.q_heads = c.q_heads;
    limits.ffn_dim = c.ffn_dim;
    limits.ple_width = c.ple_dim;
    limits.sequences = c.rows;
    limits.context = context;
    reserve(limits);

    const auto x0 = random_floats(int64_t{c.rows} * c.hidden, 10);
    const auto norm = [&](int64_t width, uint32_t seed) {
      auto values = random_floats(width, seed, 0.3F);
      for (float& value : values) value += 1;
      return values;
    };
    const RopeSpec rope = RopeSpec::make(1e4, c.head_dim, c.head_dim);
    const int stride = (context + kPageTokens - 1) / kPageTokens;
    const int64_t cache_floats = int64_t{c.rows} * stride * kPageTokens * kv_width;
    const auto k_bits = random_bf16(cache_floats, 11), v_bits = random_bf16(cache_floats, 12);
    std::vector<int32_t> pages(static_cast<size_t>(c.rows) * static_cast<size_t>(stride));
    for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(pages.size() - 1 - i);
    std::vector<int32_t> sequences(static_cast<size_t>(c.rows));
    for (int r = 0; r < c.rows; ++r) sequences[static_cast<size_t>(r)] = c.rows - 1 - r;

    expect_same(kBound, [&](Backend& b, bool gpu) {
      Array<float> x(b, x0), input_norm(b, norm(c.hidden, 20)), q_norm(b, norm(c.head_dim, 21)),
          k_norm(b, norm(c.head_dim, 22)), post_attention(b, norm(c.hidden, 23)),
          pre_ffn(b, norm(c.hidden, 24)), post_ffn(b, norm(c.hidden, 25)), post_ple(b, norm(c.hidden, 26)),
          final_norm(b, norm(c.hidden, 27)), inv_freq(b, rope.inv_freq),
          inputs(b, random_floats(int64_t{c.rows} * c.ple_dim, 28));
      Array<float> q_out(b, c.rows * q_width), attended(b, c.rows * q_width),
          m(b, int64_t{c.rows} * c.ffn_dim), out(b, int64_t{c.rows} * c.hidden);
      Array<uint16_t> k_cache(b, k_bits), v_cache(b, v_bits);
      Array<int32_t> page_table(b, pages), positions(b, std::vector<int32_t>(c.positions)),
          sequence_ids(b, sequences);
      Rows rows{c.rows, nullptr, positions.data(), sequence_ids.data()};
      rows.distinct = true;
      rows.last_position = context - 1;
      QkvArgs args;
      args.shape = {c.head_dim, c.q_heads, c.kv_heads, c.window, 0.5F, inv_freq.data()};
      args.eps = kEps;
      args.input_norm = input_norm.data();
      args.q = &q.on(gpu);
      args.q_norm = q_norm.data();
      args.q_out = q_out.data();
      if (!c.shares) {
        args.k = &k.on(gpu);
        args.v = &v.on(gpu);
        args.k_norm = k_norm.data();
      }
      args.kv = {KvType::kBF16,
                 c.kv_heads,
                 c.head_dim,
                 reinterpret_cast<std::byte*>(k_cache.data()),
                 reinterpret_cast<std::byte*>(v_cache.data()),
                 nullptr,
                 nullptr,
                 page_table.data(),
                 stride};
      PerLayerArgs ple;
      ple.ple_dim = c.ple_dim;
      ple.eps = kEps;
      ple.gate = &ple_gate.on(gpu);
      ple.projection = &ple_projection.on(gpu);
      ple.post_norm = post_ple.data();
      ple.inputs = inputs.data();
      ple.inputs_stride = c.ple_dim;
      ple.layer_scalar = 0.7F;

      b.qkv_rope_store(x.data(), rows, args);
      b.attend(q_out.data(), rows, args.shape, args.kv, attended.data());
      b.project_add(attended.data(), c.rows, o.on(gpu), post_attention.data(), kEps, x.data(), {});
      b.geglu(x.data(), c.rows, pre_ffn.data(), kEps, gate.on(gpu), up.on(gpu), m.data());
      b.project_add(m.data(), c.rows, down.on(gpu), post_ffn.data(), kEps, x.data(), {});
      b.per_layer_embed(x.data(), c.rows, ple);
      b.rms_norm(x.data(), c.rows, c.hidden, final_norm.data(), kEps, out.data());
      auto values = x.values();  // what both leave of the stream, its norm, and the cache
      const auto normed = out.values();
      values.insert(values.end(), normed.begin(), normed.end());
      for (const auto& cache : {k_cache.values(), v_cache.values()}) append_cache(cache, values);
      return values;
    });
  }
};

TEST_F(CudaDecode, LayersOfE2B) {
  LayerCase c;
  for (const int position : {0, 1, 15, 16, 63, 500, 511, 512, 700, 1500}) {
    c.positions = {position};
    compare(c);
  }
  c.head_dim = 512;
  c.window = 0;
  for (const int position : {0, 17, 511, 1023, 1024, 5000}) {
    c.positions = {position};
    compare(c);
  }
  c.shares = true;
  c.ffn_dim = 12288;
  c.positions = {800};
  compare(c);
}

TEST_F(CudaDecode, Batches) {
  LayerCase c;
  for (int rows = 2; rows <= 8; ++rows) {
    c.rows = rows;
    c.positions.clear();
    for (int r = 0; r < rows; ++r) c.positions.push_back(37 * r * r);
    c.shares = rows % 2 == 1;
    c.head_dim = rows % 3 == 0 ? 512 : 256;
    c.window = c.head_dim == 512 ? 0 : 512;
    c.ffn_dim = rows > 4 ? 12288 : 6144;
    compare(c);
  }
}

TEST_F(CudaDecode, OtherEncodingsAndShapes) {
  for (const Encoding encoding : {Encoding::kAffine4, Encoding::kAffine8, Encoding::kBF16}) {
    for (const int rows : {1, 3, 8}) {
      LayerCase c;
      c.encoding = encoding;
      c.rows = rows;
      c.positions.assign(static_cast<size_t>(rows), 129);
      c.hidden = 384;
      c.q_heads = 6;
      c.kv_heads = 2;
      c.ffn_dim = 192;
      c.ple_dim = 128;
      c.window = 100;
      compare(c);
      c.q_heads = 4;
      c.kv_heads = 1;
      c.hidden = 256;
      c.ffn_dim = 768;
      c.ple_dim = 64;  // too narrow for the cluster
      compare(c);
      if (encoding == Encoding::kAffine4) {
        c.group = 128;
        c.hidden = 640;
        c.ple_dim = 256;
        compare(c);
        c.group = 32;  // not served: the composed operations
        compare(c);
      }
    }
  }
}

TEST_F(CudaDecode, PerLayerInputsAndLogits) {
  for (const int count : {1, 3, 8}) {
    SCOPED_TRACE(count);
    constexpr int kHidden = 512, kLayers = 5, kDim = 64, kVocab = 4096 + 48;
    const WeightOnBoth table(*cuda, reference, Encoding::kAffine8, 100, kLayers * kDim, 1, WeightUse::kTable);
    const WeightOnBoth projection(*cuda, reference, Encoding::kAffine8, kLayers * kDim, kHidden, 2);
    const WeightOnBoth head(*cuda, reference, Encoding::kAffine4, kVocab, kHidden, 3);
    Limits limits;
    limits.rows = limits.logit_rows = count;
    limits.hidden = kHidden;
    limits.q_width = limits.ffn_dim = 64;
    limits.q_heads = 1;
    limits.kv_width = 64;
    limits.ple_width = kLayers * kDim;
    limits.vocab = kVocab;
    reserve(limits);
    const auto x0 = random_floats(count * kHidden, 4);
    const auto norm = random_floats(kDim, 5);
    std::vector<int32_t> tokens;
    for (int r = 0; r < count; ++r) tokens.push_back(99 - 7 * r);
    for (const int layers : {2, kLayers}) {
      expect_same(kBound, [&](Backend& b, bool gpu) {
        Array<float> x(b, x0), weight(b, norm), out(b, int64_t{count} * layers * kDim);
        Array<int32_t> ids(b, tokens);
        Rows rows{count, ids.data(), nullptr, nullptr};
        rows.distinct = true;
        b.per_layer_inputs(x.data(), rows, layers,
                           {&table.on(gpu), &projection.on(gpu), weight.data(), kDim, kEps, 8, 0.04F, 0.7F},
                           out.data());
        return out.values();
      });
    }
    for (const float cap : {0.0F, 30.0F}) {
      expect_same(kBound, [&](Backend& b, bool gpu) {
        Array<float> h(b, x0), out(b, int64_t{count} * kVocab);
        b.logits(h.data(), count, head.on(gpu), cap, out.data());
        return out.values();
      });
    }
  }
}

/// Row tiles of which warps have several, or not all have one; widths that the head's rings take in whole
/// pieces or not, an odd number of tiles, and one that has no room for many rows.
TEST_F(CudaDecode, Logits) {
  struct Case {
    Encoding encoding;
    int vocab, hidden, group;
  };
  for (const Case& c : {Case{Encoding::kAffine4, 40016, 448, 64}, Case{Encoding::kAffine4, 4112, 1536, 64},
                        Case{Encoding::kAffine4, 4112, 1536, 128}, Case{Encoding::kAffine8, 4112, 1536, 64},
                        Case{Encoding::kAffine8, 2064, 640, 128}, Case{Encoding::kAffine4, 1040, 8192, 64}}) {
    const WeightOnBoth head(*cuda, reference, c.encoding, c.vocab, c.hidden, 3, WeightUse::kMatmul, c.group);
    for (const int count : {1, 3, 8}) {
      SCOPED_TRACE(
          fmt::format("{} group {} width {} rows {}", encoding_name(c.encoding), c.group, c.hidden, count));
      Limits limits;
      limits.rows = limits.logit_rows = count;
      limits.hidden = c.hidden;
      limits.q_width = limits.ffn_dim = limits.kv_width = 64;
      limits.q_heads = 1;
      limits.vocab = c.vocab;
      reserve(limits);
      const auto x = random_floats(int64_t{count} * c.hidden, 4);
      expect_same(kBound, [&](Backend& b, bool gpu) {
        Array<float> h(b, x), out(b, int64_t{count} * c.vocab);
        b.logits(h.data(), count, head.on(gpu), 30, out.data());
        return out.values();
      });
    }
  }
}

TEST_F(CudaDecode, TopLogits) {
  for (const int width : {5, 64, 4096, 4097, 262144}) {
    Limits limits;
    limits.rows = limits.logit_rows = 3;
    limits.hidden = limits.q_width = limits.ffn_dim = 64;
    limits.q_heads = 1;
    limits.vocab = width;
    reserve(limits);
    auto values = random_floats(int64_t{3} * width, 7, 9);
    for (size_t i = 0; i < values.size(); i += 3) values[i] = std::round(values[i]);  // ties
    for (int i = 0; i < width; ++i) values[static_cast<size_t>(2 * width + i)] = 1;   // nothing else
    values[3] = std::numeric_limits<float>::quiet_NaN();
    values[4] = -std::numeric_limits<float>::infinity();
    Array<float> logits(*cuda, values);
    for (const int wanted : {1, 2, 5, 64}) {
      if (wanted > cuda->most_top(width)) continue;
      SCOPED_TRACE(fmt::format("{} of {}", wanted, width));
      std::vector<int32_t> ids(static_cast<size_t>(3 * wanted));
      std::vector<float> found(ids.size());
      cuda->top(logits.data(), 3, width, wanted, ids.data(), found.data());
      for (int r = 0; r < 3; ++r) {
        const float* row = values.data() + int64_t{r} * width;
        std::vector<int32_t> expected;
        for (int32_t i = 0; i < width; ++i)
          if (!std::isnan(row[i])) expected.push_back(i);
        const auto count = std::min<size_t>(expected.size(), static_cast<size_t>(wanted));
        std::partial_sort(
            expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(count), expected.end(),
            [&](int32_t a, int32_t b) { return row[a] > row[b] || (row[a] == row[b] && a < b); });
        expected.resize(count);
        std::sort(expected.begin(), expected.end());
        std::vector<int32_t> mine;
        for (int i = 0; i < wanted; ++i) {
          const auto at = static_cast<size_t>(r * wanted + i);
          if (ids[at] < 0 || std::isnan(found[at])) continue;
          EXPECT_EQ(found[at], row[ids[at]]);
          mine.push_back(ids[at]);
        }
        std::sort(mine.begin(), mine.end());
        EXPECT_EQ(mine, expected) << "row " << r;
      }
    }
  }
}

}  // namespace
}  // namespace facet
