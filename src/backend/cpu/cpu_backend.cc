#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/isa.h"
#include "backend/kv_codec.h"
#include "quant/dequantize.h"

namespace facet {
namespace {

using cpu::kLanes;

constexpr int64_t kAlignedFloats = 16;  // 64 bytes

int64_t aligned(int64_t floats) noexcept {
  return (floats + kAlignedFloats - 1) / kAlignedFloats * kAlignedFloats;
}

/// Cuts one allocation into aligned arrays.
class Carver {
 public:
  template <class T>
  void add(T*& place, int64_t count) {
    parts_.push_back({reinterpret_cast<void**>(&place), total_});
    total_ += aligned((count * static_cast<int64_t>(sizeof(T)) + 3) / 4) * 4;
  }
  [[nodiscard]] Buffer carve() const {
    Buffer memory = cpu::allocate_pages(static_cast<size_t>(total_));
    for (const auto& [place, offset] : parts_) *place = memory.get() + offset;
    return memory;
  }

 private:
  struct Part {
    void** place;
    int64_t offset;
  };
  std::vector<Part> parts_;
  int64_t total_ = 0;  // bytes
};

}  // namespace

CpuBackend::CpuBackend(const CpuOptions& options)
    : kernels_(cpu::choose_kernels(options.isa)), pool_(options.threads) {
  thread_scratch_.resize(static_cast<size_t>(pool_.size()));
}

Buffer CpuBackend::allocate(size_t bytes) {
  return cpu::allocate_pages(bytes);
}
void CpuBackend::upload(void* to, const void* host, size_t bytes) {
  std::memcpy(to, host, bytes);
}
void CpuBackend::download(void* host, const void* from, size_t bytes) {
  std::memcpy(host, from, bytes);
}
void CpuBackend::copy(void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
}

std::unique_ptr<Weight> CpuBackend::load(const MatrixView& stored, WeightUse use) {
  if (use != WeightUse::kMatmul) {
    widest_table_ = std::max(widest_table_, stored.cols);
    if (limits_.rows > 0) reserve_threads();
    return std::make_unique<cpu::StoredTable>(stored);
  }
  auto weight = std::make_unique<cpu::PackedWeight>(stored, pool_);
  // Rounded up so that every form's rows fit, whatever its group.
  const bool wider = weight->matrix().cols > widest_;
  widest_ = std::max(widest_, (weight->matrix().cols + 127) / 128 * 128);
  bool& used = form_used_[form_of(*weight)];
  packed_bytes_ += weight->bytes();
  const bool grows = wider || !used;
  used = true;
  if (grows && limits_.rows > 0) {
    reserve_forms();
    reserve_read();
  }
  return weight;
}

void CpuBackend::reserve(const Limits& limits) {
  Backend::reserve(limits);
  reserve_forms();
  reserve_read();
  reserve_threads();
  reserve_spans();
  items_.reserve(static_cast<size_t>(limits.rows));
  for (RopeTable& t : rope_tables_) {
    t.positions.reserve(static_cast<size_t>(limits.rows));
    for (auto* angles : {&t.cosines, &t.sines})
      angles->reserve(static_cast<size_t>(limits.rows) * static_cast<size_t>(limits.kv_width / 2));
  }
  if (limits.experts > 0) reserve_experts();
}

std::vector<std::unique_ptr<Backend>> CpuBackend::make_lanes() const {
  // Every lane reads all weights: they should come out of the last-level cache.
  constexpr int64_t kSmall = int64_t{24} << 20;
  std::vector<std::unique_ptr<Backend>> lanes;
  if (pool_.size() == 1 || packed_bytes_ > kSmall) return lanes;
  for (int i = 0; i < pool_.size(); ++i) {
    auto lane = std::make_unique<CpuBackend>(CpuOptions{.threads = 1, .isa = kernels_.name});
    lane->form_used_ = form_used_;
    lane->widest_ = widest_;
    lane->widest_table_ = widest_table_;
    lanes.push_back(std::move(lane));
  }
  return lanes;
}

void CpuBackend::reserve_forms() {
  for (size_t form = 0; form < kForms.size(); ++form) {
    if (!form_used_[form]) continue;
    ActivationScratch& s = forms_[form];
    Carver carver;
    const int64_t floats = limits_.rows * widest_;
    if (kForms[form] == 0) {
      carver.add(s.x, floats);
    } else {
      carver.add(s.codes, limits_.rows * code_stride(widest_));
      carver.add(s.scales, floats / kForms[form]);
      carver.add(s.sums, floats / kForms[form]);
    }
    s.memory = carver.carve();
  }
  outliers_.stride =
      static_cast<int32_t>(widest_ / cpu::kOutlierShare) + kLanes;  // sums of squares are rounded
  Carver carver;
  carver.add(outliers_.values, int64_t{limits_.rows} * outliers_.stride);
  carver.add(outliers_.counts, limits_.rows);
  outliers_.memory = carver.carve();
}

void CpuBackend::reserve_threads() {
  max_queries_ = std::max(kQueriesPerItem, limits_.q_heads);
  const int64_t widest_head = aligned(limits_.q_width);
  const int64_t query_floats = max_queries_ * widest_head;
  for (ThreadScratch& s : thread_scratch_) {
    Carver carver;
    carver.add(s.panel, static_cast<int64_t>(cpu::kPanelBytes));
    carver.add(s.block, int64_t{2} * kBlockTokens * kBlockRows);
    carver.add(s.row, widest_table_);
    carver.add(s.q, query_floats);
    carver.add(s.slots, kLanes * widest_head);
    carver.add(s.weights, int64_t{max_queries_} * kPageTokens);
    carver.add(s.first, max_queries_);
    carver.add(s.last, max_queries_);
    for (size_t i = 0; i < 2; ++i) {
      carver.add(s.acc[i], query_floats);
      carver.add(s.top[i], max_queries_);
      carver.add(s.sum[i], max_queries_);
    }
    if (kernels_.attend_prompt != nullptr) carve_prompt(carver, s.prompt);
    s.memory = carver.carve();
  }
}

template <class Carver>
void CpuBackend::carve_prompt(Carver& carver, cpu::PromptScratch& s) const {
  constexpr int64_t kBytes = cpu::kRegisterBytes;
  const int64_t tiles = (std::max(kPromptQueries, limits_.q_heads) + kLanes - 1) / kLanes;
  const int64_t chunks =
      (std::min(limits_.q_width, limits_.kv_width) + 31) / 32;  // of the widest head, at most
  carver.add(s.queries, tiles * chunks * 2 * kBytes);
  carver.add(s.scores, int64_t{2} * cpu::kPromptBlock * kLanes);
  carver.add(s.weights, tiles * (cpu::kPromptBlock / 32) * kBytes);
  carver.add(s.values, cpu::kPromptBlock / 32 * 2 * kBytes);
  carver.add(s.rounded, cpu::kPromptBlock * 2 * chunks * 64);
  carver.add(s.sums, tiles * chunks * 2 * kBytes / 4);
  carver.add(s.top, tiles * kLanes);
  carver.add(s.sum, tiles * kLanes);
  carver.add(s.first, tiles * kLanes);
  carver.add(s.last, tiles * kLanes);
}

void CpuBackend::reserve_spans() {
  // Enough for every thread to have an item of one row with all its spans.
  spans_.floats = int64_t{pool_.size()} * kMostSpans * (limits_.q_width + int64_t{kLanes} * limits_.q_heads);
  spans_.queries = int64_t{pool_.size()} * kMostSpans * max_queries_;
  Carver carver;
  carver.add(spans_.acc, spans_.floats);
  carver.add(spans_.top, spans_.queries);
  carver.add(spans_.sum, spans_.queries);
  spans_.memory = carver.carve();
  spans_.units.reserve(static_cast<size_t>(int64_t{pool_.size()} * kMostSpans));
}

template <class Body>
void CpuBackend::for_rows(int64_t count, int64_t floats_per_row, Body body) noexcept {
  constexpr int64_t kWorthAThread = 8192;  // floats: a few microseconds
  if (count < 2 || count * floats_per_row < kWorthAThread) {
    for (int64_t row = 0; row < count; ++row) body(0, row);
    return;
  }
  pool_.run([&](int thread) noexcept {
    const StaticRange mine = static_range(count, thread, pool_.team());
    for (int64_t row = mine.begin; row < mine.end; ++row) body(thread, row);
  });
}

void CpuBackend::gather_row(const MatrixView& table, int64_t row, int64_t cols, float factor, float* scratch,
                            float* out) const noexcept {
  const int64_t block = table.is_affine() ? table.group_size : encoding_block(table.encoding);
  MatrixView one = table.row_slice(row, 1);
  if (cols % block == 0) {
    one.cols = cols;  // a row's front is a row of its own
    dequantize_row(one, 0, out);
    kernels_.scale(out, factor, cols);
  } else {
    dequantize_row(one, 0, scratch);
    kernels_.scale_to(scratch, factor, cols, out);
  }
}

void CpuBackend::gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float scale,
                        float* out) noexcept {
  const MatrixView& stored = static_cast<const cpu::StoredTable&>(table).stored;
  for_rows(rows, cols, [&](int thread, int64_t r) {
    gather_row(stored, ids[r], cols, scale, thread_scratch_[static_cast<size_t>(thread)].row, out + r * cols);
  });
}

void CpuBackend::gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                             float* out) noexcept {
  for (int64_t r = 0; r < rows; ++r) std::copy_n(x + indices[r] * width, width, out + r * width);
}

void CpuBackend::rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                          float* out) noexcept {
  for_rows(rows, width, [&](int, int64_t r) {
    kernels_.rms_norm_row(x + r * width, width, weight, eps, out + r * width);
  });
}

void CpuBackend::kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept {
  for_rows(rows.count, int64_t{kv.kv_heads} * kv.head_dim, [&](int, int64_t r) {
    for (int h = 0; h < kv.kv_heads; ++h) {
      const int64_t slot = kv.slot(rows.sequences[r], rows.positions[r], h);
      const int64_t from = (r * kv.kv_heads + h) * kv.head_dim;
      encode_kv(kv.type, k + from, kv.head_dim, kv.k, kv.k_scale, slot);
      encode_kv(kv.type, v + from, kv.head_dim, kv.v, kv.v_scale, slot);
    }
  });
}

void CpuBackend::gelu_mul(float* gate, const float* up, int64_t n) noexcept {
  kernels_.gelu_mul(gate, up, n);
}

void CpuBackend::gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                                  int64_t up_stride) noexcept {
  for_rows(rows, width,
           [&](int, int64_t r) { kernels_.gelu_mul(gate + r * width, up + r * up_stride, width); });
}

void CpuBackend::add_scale(float* x, const float* y, float scale, int64_t n) noexcept {
  kernels_.add_scale(x, y, scale, n);
}

void CpuBackend::scale(float* x, float factor, int64_t n) noexcept {
  kernels_.scale(x, factor, n);
}

void CpuBackend::scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept {
  for_rows(rows, width, [&](int, int64_t r) { kernels_.mul(x + r * width, weight, width); });
}

void CpuBackend::softmax(float* x, int64_t rows, int64_t width) noexcept {
  for_rows(rows, width, [&](int, int64_t r) { kernels_.softmax_row(x + r * width, width); });
}

void CpuBackend::softcap(float* x, float cap, int64_t n) noexcept {
  kernels_.softcap(x, cap, n);
}

}  // namespace facet
