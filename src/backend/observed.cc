#include "backend/observed.h"

#include <unordered_map>
#include <utility>

namespace facet {
namespace {

class Observed final : public Backend {
 public:
  Observed(std::unique_ptr<Backend> backend, ProductObserver observer)
      : inner_(std::move(backend)), observer_(std::move(observer)) {}

  [[nodiscard]] std::string_view name() const override { return inner_->name(); }
  [[nodiscard]] Buffer allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void upload(void* to, const void* host, size_t bytes) override { inner_->upload(to, host, bytes); }
  [[nodiscard]] bool is_host_memory() const noexcept override { return inner_->is_host_memory(); }
  void download(void* host, const void* from, size_t bytes) override { inner_->download(host, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { inner_->copy(to, from, bytes); }
  [[nodiscard]] std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) override {
    auto weight = inner_->load(stored, use);
    stored_.emplace(weight.get(), stored);
    return weight;
  }
  [[nodiscard]] bool copies_weights() const noexcept override { return inner_->copies_weights(); }
  void reserve(const Limits& limits) override {
    Backend::reserve(limits);  // the composed operations' scratch
    inner_->reserve(limits);
  }
  [[nodiscard]] KvType default_kv_type() const noexcept override { return inner_->default_kv_type(); }
  [[nodiscard]] std::string device_name() const override { return inner_->device_name(); }
  [[nodiscard]] double read_bandwidth() override { return inner_->read_bandwidth(); }
  void finish() override { inner_->finish(); }
  [[nodiscard]] int preferred_chunk() const noexcept override { return inner_->preferred_chunk(); }
  [[nodiscard]] bool reads_apart() const noexcept override { return inner_->reads_apart(); }
  void set_reading(bool reading) noexcept override { inner_->set_reading(reading); }

  void matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept override {
    if (const auto stored = stored_.find(&w); stored != stored_.end()) observer_(stored->second, x, rows);
    inner_->matmul(x, rows, w, out, y);
  }

  void gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float factor,
              float* out) noexcept override {
    inner_->gather(table, ids, rows, cols, factor, out);
  }
  void gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                   float* out) noexcept override {
    inner_->gather_rows(x, indices, rows, width, out);
  }
  void rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                float* out) noexcept override {
    inner_->rms_norm(x, rows, width, weight, eps, out);
  }
  void rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept override {
    inner_->rope(x, rows, heads, shape);
  }
  void kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept override {
    inner_->kv_store(k, v, rows, kv);
  }
  void attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
              float* out) noexcept override {
    inner_->attend(q, rows, shape, kv, out);
  }
  void gelu_mul(float* gate, const float* up, int64_t n) noexcept override { inner_->gelu_mul(gate, up, n); }
  void gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                        int64_t up_stride) noexcept override {
    inner_->gelu_mul_strided(gate, up, rows, width, up_stride);
  }
  void add_scale(float* x, const float* y, float factor, int64_t n) noexcept override {
    inner_->add_scale(x, y, factor, n);
  }
  void scale(float* x, float factor, int64_t n) noexcept override { inner_->scale(x, factor, n); }
  void scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept override {
    inner_->scale_columns(x, weight, rows, width);
  }
  void softmax(float* x, int64_t rows, int64_t width) noexcept override { inner_->softmax(x, rows, width); }
  void softcap(float* x, float cap, int64_t n) noexcept override { inner_->softcap(x, cap, n); }
  void experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
               float* out) noexcept override {
    inner_->experts(h, probabilities, rows, moe, out);
  }

 private:
  std::unique_ptr<Backend> inner_;
  ProductObserver observer_;
  std::unordered_map<const Weight*, MatrixView> stored_;
};

}  // namespace

std::unique_ptr<Backend> make_observed(std::unique_ptr<Backend> backend, ProductObserver observer) {
  return std::make_unique<Observed>(std::move(backend), std::move(observer));
}

}  // namespace facet
