#include "backend/reference/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "backend/kv_codec.h"
#include "backend/top_experts.h"
#include "base/error.h"
#include "quant/dequantize.h"

namespace facet {
namespace {

/// The mapping itself: rows are dequantised when they are used.
class StoredWeight final : public Weight {
 public:
  explicit StoredWeight(const MatrixView& view) : Weight(view), stored(view) {}
  const MatrixView stored;
};

const MatrixView& view(const Weight& w) noexcept {
  return static_cast<const StoredWeight&>(w).stored;
}

/// Sixteen independent sums: closer to the true value than one, and whole vectors to a compiler that may not
/// reorder a sum by itself. memcpy moves them, so that any alignment will do.
using Lanes = float __attribute__((vector_size(64)));
constexpr int64_t kLanes = sizeof(Lanes) / sizeof(float);

float dot(const float* a, const float* b, int64_t n) noexcept {
  Lanes sums = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Lanes x;
    Lanes y;
    std::memcpy(&x, a + i, sizeof(x));
    std::memcpy(&y, b + i, sizeof(y));
    sums += x * y;
  }
  float tail = 0;
  for (; i < n; ++i) tail += a[i] * b[i];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  return sums[0] + tail;
}

/// y += weight · x over n values.
void add_scaled(float weight, const float* x, int64_t n, float* y) noexcept {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Lanes from;
    Lanes to;
    std::memcpy(&from, x + i, sizeof(from));
    std::memcpy(&to, y + i, sizeof(to));
    to += weight * from;
    std::memcpy(y + i, &to, sizeof(to));
  }
  for (; i < n; ++i) y[i] += weight * x[i];
}

/// The tanh approximation, as gelu_pytorch_tanh computes it.
float gelu_tanh(float x) noexcept {
  constexpr float kSqrt2OverPi = 0.7978845608028654F;
  return 0.5F * x * (1.0F + std::tanh(kSqrt2OverPi * (x + 0.044715F * x * x * x)));
}

}  // namespace

Buffer ReferenceBackend::allocate(size_t bytes) {
  constexpr std::align_val_t kAlignment{64};
  auto* memory =
      static_cast<std::byte*>(::operator new(std::max<size_t>(bytes, 1), kAlignment, std::nothrow));
  if (memory == nullptr)
    throw Error(ErrorCode::kDevice, "not enough memory: " + std::to_string(bytes >> 20) + " MiB wanted");
  std::memset(memory, 0, bytes);
  return {memory, [](std::byte* p) { ::operator delete (p, std::align_val_t{64}); }};
}

void ReferenceBackend::upload(void* to, const void* host, size_t bytes) {
  std::memcpy(to, host, bytes);
}
void ReferenceBackend::download(void* host, const void* from, size_t bytes) {
  std::memcpy(host, from, bytes);
}
void ReferenceBackend::copy(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

std::unique_ptr<Weight> ReferenceBackend::load(const MatrixView& stored, WeightUse /*use*/) {
  row_.resize(std::max(row_.size(), static_cast<size_t>(stored.cols)));
  return std::make_unique<StoredWeight>(stored);
}

void ReferenceBackend::reserve(const Limits& limits) {
  Backend::reserve(limits);
  scores_.resize(static_cast<size_t>(limits.context) * static_cast<size_t>(limits.q_heads));
  head_.resize(static_cast<size_t>(std::max(limits.q_width, limits.kv_width)));
  ffn_.resize(2 * static_cast<size_t>(limits.ffn_dim));
}

void ReferenceBackend::gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float scale,
                              float* out) noexcept {
  for (int64_t r = 0; r < rows; ++r) {
    dequantize_row(view(table), ids[r], row_.data());
    for (int64_t i = 0; i < cols; ++i) out[r * cols + i] = row_[static_cast<size_t>(i)] * scale;
  }
}

void ReferenceBackend::gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                                   float* out) noexcept {
  for (int64_t r = 0; r < rows; ++r) std::copy_n(x + indices[r] * width, width, out + r * width);
}

void ReferenceBackend::matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept {
  for (int64_t o = 0; o < out; ++o) {
    dequantize_row(view(w), o, row_.data());
    for (int64_t r = 0; r < rows; ++r) y[r * out + o] = dot(x + r * w.cols(), row_.data(), w.cols());
  }
}

void ReferenceBackend::rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                                float* out) noexcept {
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * width;
    const float inverse = 1.0F / std::sqrt(dot(in, in, width) / static_cast<float>(width) + eps);
    for (int64_t i = 0; i < width; ++i)
      out[r * width + i] = in[i] * inverse * (weight != nullptr ? weight[i] : 1.0F);
  }
}

void ReferenceBackend::rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept {
  const int64_t half = shape.head_dim / 2;
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t i = 0; i < half; ++i) {
      // The angle is rounded to f32 before the cosine, as the checkpoints were trained with.
      const float angle = static_cast<float>(rows.positions[r]) * shape.inv_freq[i];
      const float c = std::cos(angle);
      const float s = std::sin(angle);
      for (int64_t h = 0; h < heads; ++h) {
        float* head = x + (r * heads + h) * shape.head_dim;
        const float a = head[i];
        const float b = head[i + half];
        head[i] = a * c - b * s;
        head[i + half] = b * c + a * s;
      }
    }
  }
}

void ReferenceBackend::kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept {
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int h = 0; h < kv.kv_heads; ++h) {
      const int64_t slot = kv.slot(rows.sequences[r], rows.positions[r], h);
      const int64_t from = (r * kv.kv_heads + h) * kv.head_dim;
      encode_kv(kv.type, k + from, kv.head_dim, kv.k, kv.k_scale, slot);
      encode_kv(kv.type, v + from, kv.head_dim, kv.v, kv.v_scale, slot);
    }
  }
}

void ReferenceBackend::attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                              float* out) noexcept {
  const int64_t d = shape.head_dim;
  const int group = shape.q_heads / shape.kv_heads;  // query heads that share a key
  for (int64_t r = 0; r < rows.count; ++r) {
    const int32_t last = rows.positions[r];
    const int32_t first = shape.window > 0 ? std::max(0, last - shape.window + 1) : 0;
    const int64_t count = last - first + 1;
    const auto slot = [&](int64_t j, int head) {
      return kv.slot(rows.sequences[r], first + static_cast<int32_t>(j), head);
    };
    for (int h = 0; h < shape.kv_heads; ++h) {
      const float* queries = q + (r * shape.q_heads + int64_t{h} * group) * d;
      float* results = out + (r * shape.q_heads + int64_t{h} * group) * d;
      for (int64_t j = 0; j < count; ++j) {
        decode_kv(kv.type, kv.k, kv.k_scale, slot(j, h), kv.head_dim, head_.data());
        for (int64_t g = 0; g < group; ++g)
          scores_[static_cast<size_t>(g * count + j)] = shape.scale * dot(queries + g * d, head_.data(), d);
      }
      softmax(scores_.data(), group, count);
      std::fill_n(results, group * d, 0.0F);
      for (int64_t j = 0; j < count; ++j) {
        decode_kv(kv.type, kv.v, kv.v_scale, slot(j, h), kv.head_dim, head_.data());
        for (int64_t g = 0; g < group; ++g)
          add_scaled(scores_[static_cast<size_t>(g * count + j)], head_.data(), d, results + g * d);
      }
    }
  }
}

void ReferenceBackend::gelu_mul(float* gate, const float* up, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) gate[i] = gelu_tanh(gate[i]) * up[i];
}

void ReferenceBackend::gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                                        int64_t up_stride) noexcept {
  for (int64_t r = 0; r < rows; ++r) gelu_mul(gate + r * width, up + r * up_stride, width);
}

void ReferenceBackend::add_scale(float* x, const float* y, float scale, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) x[i] = (x[i] + y[i]) * scale;
}

void ReferenceBackend::scale(float* x, float factor, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

void ReferenceBackend::scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < width; ++i) x[r * width + i] *= weight[i];
}

void ReferenceBackend::softmax(float* x, int64_t rows, int64_t width) noexcept {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = x + r * width;
    const float top = *std::max_element(row, row + width);
    float sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += row[i] = std::exp(row[i] - top);
    for (int64_t i = 0; i < width; ++i) row[i] /= sum;
  }
}

void ReferenceBackend::softcap(float* x, float cap, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) x[i] = cap * std::tanh(x[i] / cap);
}

void ReferenceBackend::experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
                               float* out) noexcept {
  const int64_t hidden = moe.down->rows() / moe.experts;
  const int64_t width = moe.ffn_dim;
  const MatrixView& gate_up = view(*moe.gate_up);
  const MatrixView& down = view(*moe.down);
  float* gate = ffn_.data();
  float* up = gate + width;
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = h + r * hidden;
    const float* p = probabilities + r * moe.experts;
    const auto chosen = top_experts(p, moe.experts, moe.top_k);
    float sum = 0;
    for (int k = 0; k < moe.top_k; ++k) sum += p[chosen[static_cast<size_t>(k)]];
    std::fill_n(out + r * hidden, hidden, 0.0F);
    for (int k = 0; k < moe.top_k; ++k) {
      const int64_t e = chosen[static_cast<size_t>(k)];
      const float weight = p[e] / sum * moe.per_expert_scale[e];
      for (int64_t i = 0; i < 2 * width; ++i) {
        dequantize_row(gate_up, e * 2 * width + i, row_.data());
        ffn_[static_cast<size_t>(i)] = dot(in, row_.data(), hidden);
      }
      gelu_mul(gate, up, width);
      for (int64_t o = 0; o < hidden; ++o) {
        dequantize_row(down, e * hidden + o, row_.data());
        out[r * hidden + o] += weight * dot(gate, row_.data(), width);
      }
    }
  }
}

}  // namespace facet
