#include "backend/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "backend/cuda/read_bandwidth.h"
#include "backend/top_experts.h"
#include "base/error.h"

namespace facet {
namespace {

constexpr int64_t kMostCopied = int64_t{64} << 20;  // elements of a weight that gets a bf16 copy
constexpr int64_t kMostTableOnDevice = int64_t{1}
                                       << 29;    // bytes of a table that is copied without being asked
constexpr int kMostSpans = 32;                   // of one query's keys
constexpr int kSpanKeys = 128;                   // fewer are not worth a block of their own
constexpr int kExpertRows = 16;                  // rows whose experts run at once
constexpr int64_t kBatchKey = int64_t{1} << 48;  // of recorded steps that are Prefill's; with their rows

using cuda::matrix;

}  // namespace

CudaBackend::CudaBackend(std::optional<Residence> per_layer_table)
    : per_layer_table_(per_layer_table), device_(cuda::open_device()) {
  cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  library_ = cuda::MatrixLibrary::open();
  prefill_.emplace(stream_, library_.get(), device_);
  decode_.emplace(device_, stream_);
  graphs_.emplace(stream_);
}

CudaBackend::~CudaBackend() {
  (void)cudaStreamSynchronize(stream_);
  graphs_.reset();
  (void)cudaStreamDestroy(stream_);
}

Buffer CudaBackend::allocate(size_t bytes) {
  void* memory = cuda::allocate(bytes);
  Buffer buffer(static_cast<std::byte*>(memory), [](std::byte* p) { (void)cudaFree(p); });
  cuda::check(cudaMemsetAsync(memory, 0, bytes, stream_), "clearing memory");
  return buffer;
}

void CudaBackend::upload(void* to, const void* host, size_t bytes) {
  cuda::check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream_), "copying to the GPU");
}

void CudaBackend::download(void* host, const void* from, size_t bytes) {
  decode_->settle(from);
  cuda::check(cudaGetLastError(), "starting a kernel");
  cuda::check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
  cuda::check(cudaStreamSynchronize(stream_), "running a step");
  if (prefill_->failed()) throw Error(ErrorCode::kDevice, "cuda: cuBLASLt failed to compute a product");
}

void CudaBackend::copy(void* to, const void* from, size_t bytes) {
  decode_->settle(from);
  cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying on the GPU");
}

Residence CudaBackend::residence(const MatrixView& stored, WeightUse use) const noexcept {
  if (use == WeightUse::kPerLayerTable && per_layer_table_) return *per_layer_table_;
  const bool on_host = use != WeightUse::kMatmul && stored.bytes() > kMostTableOnDevice;
  return on_host ? Residence::kHost : Residence::kDevice;
}

void CudaBackend::fill(cuda::DeviceWeight& weight, const MatrixView& stored) {
  weight.fill(stored, stream_);
}

std::unique_ptr<Weight> CudaBackend::load(const MatrixView& stored, WeightUse use) {
  auto weight = std::make_unique<cuda::DeviceWeight>(stored, residence(stored, use));
  fill(*weight, stored);
  if (use == WeightUse::kMatmul) {
    decode_->take_in(*weight);
    widest_ = std::max(widest_, stored.cols);
    const int64_t elements = stored.rows * stored.cols;
    if (elements <= kMostCopied) largest_weight_ = std::max(largest_weight_, elements);
  }
  return weight;
}

void CudaBackend::reserve(const Limits& limits) {
  Backend::reserve(limits);
  graphs_->clear();
  decode_->reserve(*this, limits);
  if (library_ != nullptr) {
    weight_bf16_ = allocate(static_cast<size_t>(2 * largest_weight_));
    x_bf16_ = allocate(static_cast<size_t>(2 * limits.rows * widest_));
  }
  // Gates and ups side by side in bf16 take what one of them does in f32.
  cuda::PrefillScratch scratch{scratch_.h,   scratch_.y,         scratch_.up,    int64_t{2} * limits.ffn_dim,
                               scratch_.ple, weight_bf16_.get(), largest_weight_};
  if (const int64_t qkv = limits.q_width + int64_t{2} * limits.kv_width; qkv > scratch.wide_columns) {
    wide_ = allocate(static_cast<size_t>(2 * limits.rows * qkv));
    scratch.wide = wide_.get();
    scratch.wide_columns = qkv;
  }
  prefill_->reserve(limits, scratch);
  const int64_t candidates = int64_t{limits.logit_rows} * cuda::kTopCandidates;
  const int64_t found = int64_t{limits.logit_rows} * cuda::kMostTop;
  top_memory_ = allocate(static_cast<size_t>(2 * (candidates + found)) * sizeof(int32_t));
  top_scratch_.ids = reinterpret_cast<int32_t*>(top_memory_.get());
  top_scratch_.keys = reinterpret_cast<uint32_t*>(top_scratch_.ids + candidates);
  top_found_ = top_scratch_.ids + 2 * candidates;
  top_host_.reset(
      static_cast<int32_t*>(cuda::allocate_pinned(static_cast<size_t>(2 * found) * sizeof(int32_t))));
  // Spans are for few queries over many keys: enough of them to occupy every multiprocessor twice.
  span_queries_ = std::max<int64_t>(limits.q_heads, int64_t{2} * device_.multiprocessors);
  const int64_t results = span_queries_ * kMostSpans;
  const int64_t head_dim = limits.q_heads > 0 ? limits.q_width : 0;  // no head is wider
  span_memory_ = allocate(static_cast<size_t>(results * (head_dim + 2)) * sizeof(float));
  spans_.acc = reinterpret_cast<float*>(span_memory_.get());
  spans_.top = spans_.acc + results * head_dim;
  spans_.sum = spans_.top + results;
  if (limits.experts > 0) {
    const int64_t slots = int64_t{kExpertRows} * kMaxExpertsPerToken;
    expert_memory_ = allocate(static_cast<size_t>(slots * (limits.ffn_dim + 2)) * sizeof(float));
    expert_m_ = reinterpret_cast<float*>(expert_memory_.get());
    expert_weights_ = expert_m_ + slots * limits.ffn_dim;
    chosen_ = reinterpret_cast<int32_t*>(expert_weights_ + slots);
  }
}

double CudaBackend::read_bandwidth() {
  return cuda::read_bandwidth(stream_);
}

void CudaBackend::finish() {
  cuda::check(cudaStreamSynchronize(stream_), "running a step");
  if (trace_ != nullptr) trace_->collect();
}

bool CudaBackend::profile_into(Profile& profile) {
  trace_ = std::make_unique<cuda::KernelTrace>(profile);
  return true;
}

void CudaBackend::gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float scale,
                         float* out) noexcept {
  cuda::gather(matrix(table), ids, rows, cols, scale, out, stream_);
}

void CudaBackend::gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                              float* out) noexcept {
  decode_->settle(x);
  cuda::gather_rows(x, indices, rows, width, out, stream_);
}

void CudaBackend::matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept {
  const cuda::DeviceMatrix& m = matrix(w);
  // A trace is of the math, not of bf16's rounding, which a router may turn into other experts.
  if (rows > cuda::kGemvRows && !tapped() && multiply_large(x, rows, m, out, y)) return;
  cuda::multiply(m, x, rows, out, y, stream_);
}

bool CudaBackend::multiply_large(const float* x, int rows, const cuda::DeviceMatrix& w, int64_t out,
                                 float* y) noexcept {
  const bool stored_bf16 = w.codes_kind == cuda::Codes::kBF16;
  if (library_ == nullptr || w.cols % 16 != 0 || (!stored_bf16 && w.rows * w.cols > kMostCopied))
    return false;
  const void* in = x;
  if (!prefills(rows) || !prefill_->holds_bf16(x)) {
    cuda::to_bf16(x, rows * w.cols, x_bf16_.get(), stream_);
    in = x_bf16_.get();
  }
  const void* weights = w.codes;
  if (!stored_bf16) {
    cuda::to_bf16(w, out, weight_bf16_.get(), stream_);
    weights = weight_bf16_.get();
  }
  return library_->multiply({weights, in, rows, out, w.cols, y, out, false}, stream_);
}

void CudaBackend::rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                           float* out) noexcept {
  if (width == limits_.hidden && decode_->rms_norm(x, weight, eps, out)) return;
  decode_->settle(x);
  cuda::rms_norm(x, rows, width, weight, eps, out, stream_);
}

void CudaBackend::rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept {
  cuda::rope(x, rows, heads, shape, stream_);
}

void CudaBackend::kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept {
  cuda::kv_store(k, v, rows, kv, stream_);
}

void CudaBackend::attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                         float* out) noexcept {
  if (decode_->attend(q, rows, shape, out)) return;
  if (prefills(rows.count) && prefill_->attend(q, rows, shape, kv, out)) return;
  const int64_t queries = int64_t{rows.count} * shape.q_heads;
  const int keys = shape.window > 0 ? std::min(shape.window, limits_.context) : limits_.context;
  cuda::AttentionSpans spans = spans_;
  spans.count = 1;
  if (queries <= span_queries_) spans.count = std::clamp((keys + kSpanKeys - 1) / kSpanKeys, 1, kMostSpans);
  cuda::attend(q, rows, shape, kv, spans, out, stream_);
}

void CudaBackend::gelu_mul(float* gate, const float* up, int64_t n) noexcept {
  cuda::gelu_mul(gate, up, 1, n, n, stream_);
}

void CudaBackend::gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                                   int64_t up_stride) noexcept {
  cuda::gelu_mul(gate, up, rows, width, up_stride, stream_);
}

void CudaBackend::add_scale(float* x, const float* y, float scale, int64_t n) noexcept {
  decode_->settle(x);
  cuda::add_scale(x, y, scale, n, stream_);
}

void CudaBackend::scale(float* x, float factor, int64_t n) noexcept {
  decode_->settle(x);
  cuda::scale(x, factor, n, stream_);
}

void CudaBackend::scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept {
  cuda::scale_columns(x, weight, rows, width, stream_);
}

void CudaBackend::softmax(float* x, int64_t rows, int64_t width) noexcept {
  cuda::softmax(x, rows, width, stream_);
}

void CudaBackend::softcap(float* x, float cap, int64_t n) noexcept {
  cuda::softcap(x, cap, n, stream_);
}

void CudaBackend::experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
                          float* out) noexcept {
  const int64_t hidden = moe.down->rows() / moe.experts;
  for (int r = 0; r < rows; r += kExpertRows) {
    const int count = std::min(kExpertRows, rows - r);
    cuda::choose_experts(probabilities + int64_t{r} * moe.experts, count, moe.experts, moe.top_k,
                         moe.per_expert_scale, chosen_, expert_weights_, stream_);
    cuda::experts_gate_up(matrix(*moe.gate_up), h + r * hidden, chosen_, count, moe.top_k, moe.ffn_dim,
                          expert_m_, stream_);
    cuda::experts_down(matrix(*moe.down), expert_m_, chosen_, expert_weights_, count, moe.top_k, hidden,
                       out + r * hidden, stream_);
  }
}

bool CudaBackend::prefills(int rows) noexcept {
  if (!tapped() && (batched_ || rows >= cuda::kPrefillFrom)) return true;
  prefill_->forget();
  return false;
}

bool CudaBackend::begin_step(const StepShape& shape) noexcept {
  decode_->reset();
  batched_ = false;
  if (tapped()) return true;
  if (decode_->takes(shape)) {
    if (graphs_->replay(decode_->recording_key(shape))) return false;
    decode_->begin(shape, graphs_->recording());
  } else if (batches(shape)) {
    if (graphs_->replay(kBatchKey | shape.rows)) return false;
    batched_ = true;
  }
  return true;
}

bool CudaBackend::batches(const StepShape& shape) const noexcept {
  return shape.distinct && shape.outputs == shape.rows && shape.rows > cuda::kGemvRows &&
         limits_.experts == 0 && prefill_->batches();
}

void CudaBackend::end_step() noexcept {
  graphs_->end();
  batched_ = false;
}

// A trace wants every array of the math: composed operations leave nothing out.

void CudaBackend::qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept {
  if (!tapped() && decode_->qkv_rope_store(x, rows, args)) return;
  decode_->settle(x);
  if (!prefills(rows.count) || !prefill_->qkv_rope_store(x, rows, args))
    Backend::qkv_rope_store(x, rows, args);
}

void CudaBackend::project_add(const float* a, int rows, const Weight& w, const float* norm, float eps,
                              float* x, const ProjectNames& names) noexcept {
  if (decode_->project_add(a, rows, w, norm, eps, x)) return;
  decode_->settle(x);
  if (!prefills(rows) || !prefill_->project_add(a, rows, matrix(w), norm, eps, x))
    Backend::project_add(a, rows, w, norm, eps, x, names);
}

void CudaBackend::geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate,
                        const Weight& up, float* m) noexcept {
  if (!tapped() && decode_->geglu(x, rows, norm, eps, gate, up, m)) return;
  decode_->settle(x);
  if (!prefills(rows) || !prefill_->geglu(x, rows, norm, eps, matrix(gate), matrix(up), m))
    Backend::geglu(x, rows, norm, eps, gate, up, m);
}

void CudaBackend::per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept {
  if (!tapped() && decode_->per_layer_embed(x, rows, args)) return;
  decode_->settle(x);
  if (!prefills(rows) || !prefill_->per_layer_embed(x, rows, args)) Backend::per_layer_embed(x, rows, args);
}

void CudaBackend::per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                                   float* out) noexcept {
  if (!tapped() && decode_->per_layer_inputs(x0, rows, layers, args, out)) return;
  if (!prefills(rows.count) || !prefill_->per_layer_inputs(x0, rows, layers, args, out))
    Backend::per_layer_inputs(x0, rows, layers, args, out);
}

void CudaBackend::logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept {
  if (decode_->logits(h, rows, head, cap, out)) return;
  Backend::logits(h, rows, head, cap, out);
}

int CudaBackend::most_top(int width) const noexcept {
  return device_.launches_dependent() ? cuda::most_top(width) : 0;
}

void CudaBackend::top(const float* logits, int rows, int width, int count, int32_t* ids, float* values) {
  const auto size = static_cast<size_t>(rows) * static_cast<size_t>(count);
  auto* found_values = reinterpret_cast<float*>(top_found_ + size);
  cuda::top(logits, rows, width, count, top_scratch_, top_found_, found_values, stream_);
  download(top_host_.get(), top_found_, 2 * size * sizeof(int32_t));
  std::copy_n(top_host_.get(), size, ids);
  std::memcpy(values, top_host_.get() + size, size * sizeof(float));
}

}  // namespace facet
