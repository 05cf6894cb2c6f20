#include "backend/profiled.h"

#include <chrono>
#include <utility>

namespace facet {
namespace {

class Profiled final : public Backend {
 public:
  Profiled(std::unique_ptr<Backend> backend, Profile& profile)
      : inner_(std::move(backend)), profile_(profile) {
    // Every entry exists before the first step: adding to one allocates nothing.
    for (const char* name :
         {"gather", "gather_rows", "matmul", "rms_norm", "rope", "kv_store", "attend", "elementwise",
          "experts", "qkv_rope_store", "project_add (o)", "project_add (down)", "geglu", "project_moe_add",
          "per_layer_embed", "per_layer_inputs", "logits", "upload", "download"})
      profile_[name];
  }

  [[nodiscard]] std::string_view name() const override { return inner_->name(); }
  [[nodiscard]] Buffer allocate(size_t bytes) override { return inner_->allocate(bytes); }
  void upload(void* to, const void* host, size_t bytes) override {
    timed("upload", [&] { inner_->upload(to, host, bytes); });
  }
  [[nodiscard]] bool is_host_memory() const noexcept override { return inner_->is_host_memory(); }
  void download(void* host, const void* from, size_t bytes) override {
    timed("download", [&] { inner_->download(host, from, bytes); });
  }
  void copy(void* to, const void* from, size_t bytes) override { inner_->copy(to, from, bytes); }
  [[nodiscard]] std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) override {
    return inner_->load(stored, use);
  }
  [[nodiscard]] bool copies_weights() const noexcept override { return inner_->copies_weights(); }
  void reserve(const Limits& limits) override { inner_->reserve(limits); }
  [[nodiscard]] KvType default_kv_type() const noexcept override { return inner_->default_kv_type(); }
  [[nodiscard]] std::string device_name() const override { return inner_->device_name(); }
  [[nodiscard]] double read_bandwidth() override { return inner_->read_bandwidth(); }
  void finish() override { inner_->finish(); }
  [[nodiscard]] int preferred_chunk() const noexcept override { return inner_->preferred_chunk(); }
  [[nodiscard]] bool reads_apart() const noexcept override { return inner_->reads_apart(); }
  void set_reading(bool reading) noexcept override { inner_->set_reading(reading); }

  void gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float factor,
              float* out) noexcept override {
    timed("gather", [&] { inner_->gather(table, ids, rows, cols, factor, out); });
  }
  void gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                   float* out) noexcept override {
    timed("gather_rows", [&] { inner_->gather_rows(x, indices, rows, width, out); });
  }
  void matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept override {
    timed("matmul", [&] { inner_->matmul(x, rows, w, out, y); });
  }
  void rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                float* out) noexcept override {
    timed("rms_norm", [&] { inner_->rms_norm(x, rows, width, weight, eps, out); });
  }
  void rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept override {
    timed("rope", [&] { inner_->rope(x, rows, heads, shape); });
  }
  void kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept override {
    timed("kv_store", [&] { inner_->kv_store(k, v, rows, kv); });
  }
  void attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
              float* out) noexcept override {
    timed("attend", [&] { inner_->attend(q, rows, shape, kv, out); });
  }
  void gelu_mul(float* gate, const float* up, int64_t n) noexcept override {
    timed("elementwise", [&] { inner_->gelu_mul(gate, up, n); });
  }
  void gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                        int64_t up_stride) noexcept override {
    timed("elementwise", [&] { inner_->gelu_mul_strided(gate, up, rows, width, up_stride); });
  }
  void add_scale(float* x, const float* y, float factor, int64_t n) noexcept override {
    timed("elementwise", [&] { inner_->add_scale(x, y, factor, n); });
  }
  void scale(float* x, float factor, int64_t n) noexcept override {
    timed("elementwise", [&] { inner_->scale(x, factor, n); });
  }
  void scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept override {
    timed("elementwise", [&] { inner_->scale_columns(x, weight, rows, width); });
  }
  void softmax(float* x, int64_t rows, int64_t width) noexcept override {
    timed("elementwise", [&] { inner_->softmax(x, rows, width); });
  }
  void softcap(float* x, float cap, int64_t n) noexcept override {
    timed("elementwise", [&] { inner_->softcap(x, cap, n); });
  }
  void experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
               float* out) noexcept override {
    timed("experts", [&] { inner_->experts(h, probabilities, rows, moe, out); });
  }

  void qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept override {
    timed("qkv_rope_store", [&] { inner_->qkv_rope_store(x, rows, args); });
  }
  void project_add(const float* a, int rows, const Weight& w, const float* norm, float eps, float* x,
                   const ProjectNames& names) noexcept override {
    timed(names.module == "mlp" ? "project_add (down)" : "project_add (o)",
          [&] { inner_->project_add(a, rows, w, norm, eps, x, names); });
  }
  void geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate, const Weight& up,
             float* m) noexcept override {
    timed("geglu", [&] { inner_->geglu(x, rows, norm, eps, gate, up, m); });
  }
  void project_moe_add(const float* m, int rows, const Weight& down, const float* norm, const MoeArgs& moe,
                       float* x) noexcept override {
    timed("project_moe_add", [&] { inner_->project_moe_add(m, rows, down, norm, moe, x); });
  }
  void per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept override {
    timed("per_layer_embed", [&] { inner_->per_layer_embed(x, rows, args); });
  }
  void per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                        float* out) noexcept override {
    timed("per_layer_inputs", [&] { inner_->per_layer_inputs(x0, rows, layers, args, out); });
  }
  void logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept override {
    timed("logits", [&] { inner_->logits(h, rows, head, cap, out); });
  }

 private:
  template <class Operation>
  void timed(std::string_view name, Operation operation) {
    const auto start = std::chrono::steady_clock::now();
    operation();
    OperationTime& time = profile_.find(name)->second;
    time.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++time.calls;
  }

  std::unique_ptr<Backend> inner_;
  Profile& profile_;
};

}  // namespace

std::unique_ptr<Backend> make_profiled(std::unique_ptr<Backend> backend, Profile& profile) {
  return std::make_unique<Profiled>(std::move(backend), profile);
}

}  // namespace facet
