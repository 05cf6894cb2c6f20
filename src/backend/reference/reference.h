// The reference backend: plain scalar f32, one thread. It is the definition that every other is held to.
#pragma once

#include <vector>

#include "backend/backend.h"

namespace facet {

class ReferenceBackend final : public Backend {
 public:
  [[nodiscard]] std::string_view name() const override { return "reference"; }

  [[nodiscard]] Buffer allocate(size_t bytes) override;
  void upload(void* to, const void* host, size_t bytes) override;
  void download(void* host, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  [[nodiscard]] bool is_host_memory() const noexcept override { return true; }
  [[nodiscard]] std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) override;
  void reserve(const Limits& limits) override;
  [[nodiscard]] KvType default_kv_type() const noexcept override { return KvType::kF32; }

  void gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float scale,
              float* out) noexcept override;
  void gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                   float* out) noexcept override;
  void matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept override;
  void rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                float* out) noexcept override;
  void rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept override;
  void kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept override;
  void attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
              float* out) noexcept override;
  void gelu_mul(float* gate, const float* up, int64_t n) noexcept override;
  void gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                        int64_t up_stride) noexcept override;
  void add_scale(float* x, const float* y, float scale, int64_t n) noexcept override;
  void scale(float* x, float factor, int64_t n) noexcept override;
  void scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept override;
  void softmax(float* x, int64_t rows, int64_t width) noexcept override;
  void softcap(float* x, float cap, int64_t n) noexcept override;
  void experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
               float* out) noexcept override;

 private:
  std::vector<float> row_;     // one dequantised row of a weight
  std::vector<float> scores_;  // [q_heads, context] attention weights of the heads that share a key
  std::vector<float> head_;    // one key or value [head_dim]
  std::vector<float> ffn_;     // [ffn_dim] of one expert
};

}  // namespace facet
