// The CUDA backend: one NVIDIA GPU, one stream.
//
// Correct for every model first: the primitives take any shape and encoding, and the fused operations are the
// composed defaults over them. Products of up to kGemvRows rows are one pass over the stored codes; larger
// ones go through cuBLASLt on bf16 copies, made weight by weight, where it is installed. Over that, decode
// steps of the shapes that Gemma 4 has go through kernels of their own (decode_path.h), recorded as graphs.
#pragma once

#include <cuda_runtime_api.h>

#include <optional>

#include "backend/backend.h"
#include "backend/cuda/decode_path.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_weight.h"
#include "backend/cuda/kernel_trace.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/matrix_library.h"
#include "backend/cuda/prefill.h"
#include "backend/cuda/step_graphs.h"

namespace facet {

class CudaBackend : public Backend {
 public:
  /// `per_layer_table`: where it lies; by default on the host when it is large, as other tables. Throws
  /// Error{kDevice} where there is no driver, no GPU, or one too old.
  explicit CudaBackend(std::optional<Residence> per_layer_table = std::nullopt);
  ~CudaBackend() override;

  [[nodiscard]] std::string_view name() const override { return "cuda"; }
  [[nodiscard]] const cuda::Device& device() const noexcept { return device_; }
  /// Steps that were launched as one kernel; a recorded step counts once. For tests.
  [[nodiscard]] int64_t persistent_steps() const noexcept { return decode_->persistent_steps(); }

  [[nodiscard]] Buffer allocate(size_t bytes) override;
  void upload(void* to, const void* host, size_t bytes) override;
  /// Throws Error{kDevice} when anything before it failed.
  void download(void* host, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  [[nodiscard]] std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) override;
  [[nodiscard]] bool copies_weights() const noexcept override { return true; }
  void reserve(const Limits& limits) override;
  [[nodiscard]] std::string device_name() const override { return device_.name; }
  [[nodiscard]] double read_bandwidth() override;
  void finish() override;
  [[nodiscard]] bool profile_into(Profile& profile) override;
  [[nodiscard]] int preferred_chunk() const noexcept override { return 4096; }

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

  [[nodiscard]] bool begin_step(const StepShape& shape) noexcept override;
  void end_step() noexcept override;
  void qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept override;
  void project_add(const float* a, int rows, const Weight& w, const float* norm, float eps, float* x,
                   const ProjectNames& names) noexcept override;
  void geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate, const Weight& up,
             float* m) noexcept override;
  void per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept override;
  void per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                        float* out) noexcept override;
  void logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept override;
  [[nodiscard]] int most_top(int width) const noexcept override;
  void top(const float* logits, int rows, int width, int count, int32_t* ids, float* values) override;

 protected:
  /// Gives a weight its memory and its content.
  virtual void fill(cuda::DeviceWeight& weight, const MatrixView& stored);

 private:
  [[nodiscard]] Residence residence(const MatrixView& stored, WeightUse use) const noexcept;
  /// Whether a decode step is of too many sequences for decode_, and prefill_'s.
  [[nodiscard]] bool batches(const StepShape& shape) const noexcept;
  /// Whether a step of this many rows is prefill_'s to try.
  [[nodiscard]] bool prefills(int rows) noexcept;
  [[nodiscard]] bool multiply_large(const float* x, int rows, const cuda::DeviceMatrix& w, int64_t out,
                                    float* y) noexcept;

  std::optional<Residence> per_layer_table_;
  cuda::Device device_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<cuda::MatrixLibrary> library_;
  std::optional<cuda::Prefill> prefill_;
  std::optional<cuda::DecodePath> decode_;
  std::optional<cuda::StepGraphs> graphs_;
  std::unique_ptr<cuda::KernelTrace> trace_;
  bool batched_ = false;  // the step in progress is one that batches() of
  Buffer top_memory_;     // scratch, then ids and values [logit_rows, kMostTop]
  cuda::TopScratch top_scratch_;
  int32_t* top_found_ = nullptr;
  std::unique_ptr<int32_t, cuda::FreePinned> top_host_;  // of top_found_
  int64_t largest_weight_ = 0;                           // elements, of those that multiply_large takes
  int64_t widest_ = 0;                                   // columns of any weight
  Buffer weight_bf16_;                                   // [largest_weight_]
  Buffer x_bf16_;                                        // [rows, widest_]
  Buffer wide_;  // [rows, q and k and v] bf16, where scratch_.up is narrower
  Buffer span_memory_;
  cuda::AttentionSpans spans_;  // room for span_queries_ · kMostSpans
  int64_t span_queries_ = 0;
  Buffer expert_memory_;
  int32_t* chosen_ = nullptr;        // [kExpertRows, kMaxExpertsPerToken]
  float* expert_weights_ = nullptr;  // [kExpertRows, kMaxExpertsPerToken]
  float* expert_m_ = nullptr;        // [kExpertRows, kMaxExpertsPerToken, ffn_dim]
};

}  // namespace facet
