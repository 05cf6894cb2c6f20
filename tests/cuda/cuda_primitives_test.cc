// Every primitive of the CUDA backend, and the fused operations over them, against the reference.
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "cuda/two_backends.h"
#include "model/spec.h"

namespace facet {
namespace {

using testing::Array;
using testing::CudaTest;
using testing::random_floats;
using testing::WeightOnBoth;

constexpr float kEps = 1e-6F;
constexpr double kFloatBound = 2e-5;  // f32 sums in another order
constexpr double kBf16Bound =
    6e-3;  // both sides of a product rounded to 8 bits: √2 · 2⁻⁹ / √3, and some for a chain

struct MatrixCase {
  Encoding encoding;
  int group;
  DType scale;
  int64_t rows, cols;
};
const std::vector<MatrixCase> kMatrices = {
    {Encoding::kAffine4, 64, DType::kBF16, 256, 1536}, {Encoding::kAffine4, 64, DType::kBF16, 97, 12288},
    {Encoding::kAffine4, 32, DType::kF16, 33, 96},     {Encoding::kAffine4, 128, DType::kF32, 1, 384},
    {Encoding::kAffine8, 64, DType::kBF16, 128, 1536}, {Encoding::kAffine8, 32, DType::kF16, 31, 160},
    {Encoding::kQ4_0, 32, DType::kF16, 64, 1536},      {Encoding::kQ8_0, 32, DType::kF16, 40, 96},
    {Encoding::kQ4_K, 32, DType::kF32, 48, 512},       {Encoding::kQ6_K, 16, DType::kF32, 31, 256},
    {Encoding::kIQ4_NL, 32, DType::kF16, 17, 64},      {Encoding::kBF16, 0, DType::kF32, 256, 1536},
    {Encoding::kBF16, 0, DType::kF32, 19, 77},         {Encoding::kF16, 0, DType::kF32, 130, 515},
    {Encoding::kF16, 0, DType::kF32, 40, 64},          {Encoding::kF32, 0, DType::kF32, 65, 333},
    {Encoding::kF32, 0, DType::kF32, 3, 16},
};

class CudaPrimitives : public CudaTest {};

TEST_F(CudaPrimitives, Matmul) {
  std::vector<std::unique_ptr<WeightOnBoth>> weights;
  for (const MatrixCase& c : kMatrices)
    weights.push_back(std::make_unique<WeightOnBoth>(*cuda, reference, c.encoding, c.rows, c.cols, 1,
                                                     WeightUse::kMatmul, c.group, c.scale));
  Limits limits;
  limits.rows = 40;
  limits.hidden = 16;
  reserve(limits);
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    const MatrixCase& c = kMatrices[i];
    for (const int rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 40}) {
      for (const int64_t out : {c.rows, (c.rows + 1) / 2}) {
        SCOPED_TRACE(
            fmt::format("{} {}x{} rows {} out {}", encoding_name(c.encoding), c.rows, c.cols, rows, out));
        const auto x = random_floats(rows * c.cols, 2);
        expect_same(rows <= cuda::kGemvRows ? kFloatBound : kBf16Bound, [&](Backend& b, bool gpu) {
          Array<float> in(b, x);
          Array<float> y(b, rows * out);
          b.matmul(in.data(), rows, weights[i]->on(gpu), out, y.data());
          return y.values();
        });
      }
    }
  }
}

TEST_F(CudaPrimitives, Gather) {
  for (const MatrixCase& c : kMatrices) {
    SCOPED_TRACE(fmt::format("{} {}x{}", encoding_name(c.encoding), c.rows, c.cols));
    const WeightOnBoth table(*cuda, reference, c.encoding, c.rows, c.cols, 3, WeightUse::kTable, c.group,
                             c.scale);
    const std::vector<int32_t> ids = {0, static_cast<int32_t>(c.rows - 1), static_cast<int32_t>(c.rows / 2)};
    for (const int64_t cols : {c.cols, c.cols / 2 + 1}) {
      expect_same(1e-6, [&](Backend& b, bool gpu) {
        Array<int32_t> indices(b, ids);
        Array<float> out(b, 3 * cols);
        b.gather(table.on(gpu), indices.data(), 3, cols, 39.2F, out.data());
        return out.values();
      });
    }
  }
}

TEST_F(CudaPrimitives, Elementwise) {
  for (const int64_t width : {int64_t{1}, int64_t{37}, int64_t{256}, int64_t{1536}}) {
    constexpr int kRows = 5;
    SCOPED_TRACE(width);
    const auto x = random_floats(kRows * width, 4, 2);
    const auto y = random_floats(kRows * 3 * width, 5);
    const auto weight = random_floats(width, 6);
    const auto run = [&](auto body) {
      expect_same(kFloatBound, [&](Backend& b, bool) {
        Array<float> a(b, x);
        Array<float> other(b, y);
        Array<float> w(b, weight);
        body(b, a.data(), other.data(), w.data());
        return a.values();
      });
    };
    run([&](Backend& b, float* a, float*, float* w) { b.rms_norm(a, kRows, width, w, kEps, a); });
    run([&](Backend& b, float* a, float*, float*) { b.rms_norm(a, kRows, width, nullptr, kEps, a); });
    run([&](Backend& b, float* a, float* o, float*) { b.gelu_mul(a, o, kRows * width); });
    run([&](Backend& b, float* a, float* o, float*) {
      b.gelu_mul_strided(a, o + width, kRows, width, 2 * width);
    });
    run([&](Backend& b, float* a, float* o, float*) { b.add_scale(a, o, 0.7F, kRows * width); });
    run([&](Backend& b, float* a, float*, float*) { b.scale(a, 1.3F, kRows * width); });
    run([&](Backend& b, float* a, float*, float* w) { b.scale_columns(a, w, kRows, width); });
    run([&](Backend& b, float* a, float*, float*) { b.softmax(a, kRows, width); });
    run([&](Backend& b, float* a, float*, float*) { b.softcap(a, 30, kRows * width); });
    expect_same(0, [&](Backend& b, bool) {
      Array<float> a(b, x);
      Array<int32_t> indices(b, std::vector<int32_t>{4, 0, 0});
      Array<float> out(b, 3 * width);
      b.gather_rows(a.data(), indices.data(), 3, width, out.data());
      return out.values();
    });
  }
}

TEST_F(CudaPrimitives, RopeAtFarPositions) {
  for (const int head_dim : {2, 18, 256, 512}) {
    SCOPED_TRACE(head_dim);
    const RopeSpec rope = RopeSpec::make(1e4, head_dim, head_dim / 2);
    const auto x = random_floats(4 * 3 * head_dim, 7);
    expect_same(kFloatBound, [&](Backend& b, bool) {
      Array<float> a(b, x);
      Array<float> inv_freq(b, rope.inv_freq);
      Array<int32_t> positions(b, std::vector<int32_t>{0, 1, 4095, 131071});
      AttentionShape shape;
      shape.head_dim = head_dim;
      shape.inv_freq = inv_freq.data();
      b.rope(a.data(), {4, nullptr, positions.data(), nullptr}, 3, shape);
      return a.values();
    });
  }
}

struct AttentionCase {
  int head_dim, q_heads, kv_heads, window;
  KvType type;
};

TEST_F(CudaPrimitives, StoreAndAttend) {
  const std::vector<AttentionCase> cases = {
      {256, 8, 1, 512, KvType::kBF16}, {512, 8, 1, 0, KvType::kBF16},  {256, 8, 2, 512, KvType::kQ8},
      {512, 8, 2, 0, KvType::kF32},    {16, 4, 2, 8, KvType::kF32},    {18, 6, 3, 0, KvType::kBF16},
      {2, 2, 1, 5, KvType::kQ8},       {34, 1, 1, 0, KvType::kQ8},     {32, 40, 1, 100, KvType::kBF16},
      {64, 8, 1, 0, KvType::kBF16},    {128, 16, 1, 64, KvType::kF32},
  };
  constexpr int kContext = 700;
  for (const AttentionCase& c : cases) {
    SCOPED_TRACE(fmt::format("dim {} heads {}/{} window {} type {}", c.head_dim, c.q_heads, c.kv_heads,
                             c.window, static_cast<int>(c.type)));
    Limits limits;
    limits.rows = kContext;
    limits.hidden = 1;
    limits.q_width = c.q_heads * c.head_dim;
    limits.kv_width = c.kv_heads * c.head_dim;
    limits.q_heads = c.q_heads;
    limits.context = kContext;
    reserve(limits);
    constexpr int kStride = (kContext + kPageTokens - 1) / kPageTokens;
    std::vector<int32_t> pages(kStride);  // in an odd order
    for (int i = 0; i < kStride; ++i) pages[static_cast<size_t>(i)] = (i * 7 + 3) % kStride;
    std::vector<int32_t> positions(kContext);
    std::iota(positions.begin(), positions.end(), 0);
    const auto k = random_floats(int64_t{kContext} * limits.kv_width, 8);
    const auto v = random_floats(int64_t{kContext} * limits.kv_width, 9);
    // One query alone, whose keys are cut into spans, and many together, which are not.
    for (const std::vector<int32_t>& at : {std::vector<int32_t>{699}, std::vector<int32_t>{0}, positions}) {
      const auto q = random_floats(static_cast<int64_t>(at.size()) * limits.q_width, 10);
      expect_same(kFloatBound, [&](Backend& b, bool) {
        const int64_t slots = int64_t{kStride} * kPageTokens * c.kv_heads;
        const std::vector<std::byte> unwritten(static_cast<size_t>(slots * kv_row_bytes(c.type, c.head_dim)),
                                               std::byte{0xff});  // NaN in every float type
        Array<std::byte> ks(b, unwritten);
        Array<std::byte> vs(b, unwritten);
        Array<float> k_scale(b, std::vector<float>(static_cast<size_t>(slots), NAN));
        Array<float> v_scale(b, std::vector<float>(static_cast<size_t>(slots), NAN));
        Array<int32_t> table(b, pages);
        const KvView kv{c.type,         c.kv_heads,     c.head_dim,   ks.data(), vs.data(),
                        k_scale.data(), v_scale.data(), table.data(), kStride};
        Array<float> keys(b, k);
        Array<float> values(b, v);
        Array<int32_t> stored_at(b, positions);
        Array<int32_t> sequences(b, std::vector<int32_t>(kContext, 0));
        b.kv_store(keys.data(), values.data(), {kContext, nullptr, stored_at.data(), sequences.data()}, kv);
        Array<float> queries(b, q);
        Array<float> out(b, static_cast<int64_t>(q.size()));
        Array<int32_t> asked(b, at);
        const AttentionShape shape{c.head_dim, c.q_heads, c.kv_heads, c.window, 0.3F, nullptr};
        b.attend(queries.data(), {static_cast<int>(at.size()), nullptr, asked.data(), sequences.data()},
                 shape, kv, out.data());
        return out.values();
      });
    }
  }
}

TEST_F(CudaPrimitives, Experts) {
  constexpr int kExperts = 7;
  constexpr int kTopK = 3;
  constexpr int kFfn = 96;
  constexpr int kHidden = 128;
  constexpr int kRows = 19;
  for (const Encoding encoding : {Encoding::kBF16, Encoding::kAffine4}) {
    const WeightOnBoth gate_up(*cuda, reference, encoding, kExperts * 2 * kFfn, kHidden, 11,
                               WeightUse::kMatmul, 32);
    const WeightOnBoth down(*cuda, reference, encoding, kExperts * kHidden, kFfn, 12, WeightUse::kMatmul, 32);
    Limits limits;
    limits.rows = kRows;
    limits.hidden = kHidden;
    limits.ffn_dim = kFfn;
    limits.experts = kExperts;
    reserve(limits);
    const auto h = random_floats(kRows * kHidden, 13);
    auto p = random_floats(kRows * kExperts, 14);
    for (float& value : p) value = std::fabs(value);
    p[0] = p[1] = p[2] = p[3] = 1;  // equals: the lower index
    const auto scale = random_floats(kExperts, 15);
    expect_same(kFloatBound, [&](Backend& b, bool gpu) {
      Array<float> in(b, h);
      Array<float> probabilities(b, p);
      Array<float> per_expert(b, scale);
      Array<float> out(b, kRows * kHidden);
      MoeArgs moe;
      moe.experts = kExperts;
      moe.top_k = kTopK;
      moe.ffn_dim = kFfn;
      moe.per_expert_scale = per_expert.data();
      moe.gate_up = &gate_up.on(gpu);
      moe.down = &down.on(gpu);
      b.experts(in.data(), probabilities.data(), kRows, moe, out.data());
      return out.values();
    });
  }
}

}  // namespace
}  // namespace facet
