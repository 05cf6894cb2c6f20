// The CPU backend: packed weights, vector kernels chosen at start-up, fused operations over a thread pool.
//
// A fused operation is one parallel region: the rows' norm and quantisation, a barrier, each thread's share
// of the weights' rows, a barrier, and the rows' epilogue. Weights are read once a step however many rows it
// has. When there are many rows and small weights, threads divide the rows instead and meet only at the end
// (Part).
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/packed_weight.h"
#include "base/thread_pool.h"

namespace facet {

struct CpuOptions {
  int threads = 0;       ///< 0: one a usable core
  std::string_view isa;  ///< amx, avx512, avx2, portable; empty: the best this machine has
};

class CpuBackend final : public Backend {
 public:
  /// Throws Error{kUsage} or Error{kDevice} for an instruction set that is unknown or not there.
  explicit CpuBackend(const CpuOptions& options);

  [[nodiscard]] std::string_view name() const override { return "cpu"; }
  [[nodiscard]] std::string_view isa() const noexcept { return kernels_.name; }
  [[nodiscard]] int threads() const noexcept { return pool_.size(); }
  [[nodiscard]] ThreadPool& pool() noexcept { return pool_; }
  [[nodiscard]] const cpu::KernelTable& kernels() const noexcept { return kernels_; }

  [[nodiscard]] Buffer allocate(size_t bytes) override;
  void upload(void* to, const void* host, size_t bytes) override;
  void download(void* host, const void* from, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  [[nodiscard]] bool is_host_memory() const noexcept override { return true; }
  [[nodiscard]] std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) override;
  [[nodiscard]] bool copies_weights() const noexcept override { return true; }
  void reserve(const Limits& limits) override;
  [[nodiscard]] bool reads_apart() const noexcept override { return kernels_.read_product != nullptr; }
  void set_reading(bool reading) noexcept override { reading_ = reading && reads_apart(); }
  [[nodiscard]] std::vector<std::unique_ptr<Backend>> make_lanes() const override;
  [[nodiscard]] int lane_team() const noexcept override { return pool_.unit_team(); }
  void each_in_lanes(int units, const std::function<void(int, int)>& work) noexcept override {
    pool_.each(units, work);
  }

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

  void qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept override;
  void project_add(const float* a, int rows, const Weight& w, const float* norm, float eps, float* x,
                   const ProjectNames& names) noexcept override;
  void geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate, const Weight& up,
             float* m) noexcept override;
  void per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept override;
  void per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                        float* out) noexcept override;
  void logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept override;

 private:
  // Outputs × tokens of a product whose sums are carried along: a block stays in the second-level cache.
  static constexpr int kBlockRows = 64;
  static constexpr int kBlockTokens = 512;
  static constexpr int kUnitRows = 4;  // fewest activation rows that a thread takes with all the weights
  // Every 32 rows of weights read a block's activations again: so they should stay there, too (block_bytes).
  // Every block unpacks the weights again: so it should not be too small.
  static constexpr int kFewestBlockTokens = 64;
  static constexpr int kQueriesPerItem = 32;  // attention: rows × query heads that share a widened key
  static constexpr int kPromptQueries = 256;  // the same of a prompt in bf16
  static constexpr int kMostSpans = 18;       // a row's keys: 16 whole spans and two cut ones

  using Activations = cpu::Activations;

  // --- products (products.cc) -----------------------------------------------------------------------------
  /// Where a product's activations come from: rows of `cols` floats, normed first when `normed` says so.
  struct Input {
    const float* x = nullptr;  // [rows, cols]
    int rows = 0;
    int64_t cols = 0;
    bool normed = false;
    const float* norm = nullptr;  // [cols]
    float eps = 0;
  };
  /// Bytes from a row of codes to the next: an odd number of cache lines, so that sixteen rows do not share a
  /// few of the first-level cache's sets.
  static constexpr int64_t code_stride(int64_t cols) noexcept { return ((cols + 63) / 64 | 1) * 64; }
  static const cpu::PackedWeight& packed(const Weight& w) noexcept {
    return static_cast<const cpu::PackedWeight&>(w);
  }
  /// A thread's part of a fused operation, either a share of the weights with all activation rows, or all the
  /// weights with some of the rows.
  struct Part {
    int thread = 0;
    StaticRange own;     // rows whose norm, quantisation and epilogue it does
    StaticRange rows;    // rows it multiplies
    bool apart = false;  // these are the same: no other thread is waited for
  };
  /// Whether to divide an operation by its activation rows: when there are enough, and matrices so small that
  /// all threads reading all of them costs less than passing activations between caches at every barrier.
  [[nodiscard]] bool apart(int rows, std::span<const Weight* const> weights) const noexcept;
  /// How many rows threads take at a time then: a few turns each, so that one that comes late takes fewer.
  [[nodiscard]] int unit_rows(int rows) const noexcept {
    const int most = 4 * pool_.unit_team() * kUnitRows;
    return (rows + most - 1) / most * kUnitRows;
  }
  /// Calls body(thread, range) for ranges of `unit` that make up [0, count), as threads come to take them.
  template <class Body>
  void in_units(int64_t count, int unit, Body body) noexcept {
    pool_.each(static_cast<int>((count + unit - 1) / unit), [&](int thread, int i) noexcept {
      const int64_t begin = int64_t{i} * unit;
      body(thread, StaticRange{begin, std::min(begin + unit, count)});
    });
  }
  /// Runs body(part) for the parts of an operation that multiplies `rows` rows by `weights` (null ones
  /// aside).
  template <class Body>
  void in_parts(int rows, std::span<const Weight* const> weights, Body body) noexcept;
  /// Where parts need what others have written.
  void meet(const Part& part) noexcept {
    if (!part.apart) pool_.barrier(part.thread);
  }
  /// This part's share of bringing `input` into the forms that `weights` (null ones aside) multiply; then
  /// they must meet. Once in a region: parts that are apart would overwrite each other's forms with a second
  /// input's, whose rows have another width.
  void prepare(const Part& part, const Input& input, std::span<const Weight* const> weights) noexcept;
  void prepare_form(const float* x, int64_t cols, int64_t r, float outlier, const cpu::PackedMatrix& m,
                    size_t form, StaticRange groups) noexcept;
  /// The activations that prepare() made for `w`.
  [[nodiscard]] Activations activations(const Input& input, const Weight& w) const noexcept;
  /// Of `rows` outputs, those that `thread` computes.
  [[nodiscard]] StaticRange share(int thread, int64_t rows, int activation_rows) const noexcept;
  /// Of `rows` outputs, those that the part computes for its rows.
  [[nodiscard]] StaticRange share(const Part& part, int64_t rows) const noexcept;
  /// After prepare() and the meeting: this part's share of y = x Wᵀ, the first `out` outputs.
  void multiply(const Part& part, const Input& input, const Weight& w, int64_t out, float* y) noexcept;
  /// Rows [begin, end) of w for all activation rows, to y[t · ldy + row − begin].
  void multiply_rows(int thread, const Activations& a, const Weight& w, int64_t begin, int64_t end, float* y,
                     int64_t ldy) noexcept;
  template <class Epilogue>
  void multiply_blocks(int thread, const Activations& a, const cpu::PackedMatrix& w, int64_t begin,
                       int64_t end, Epilogue epilogue) noexcept;
  void geglu_rows(int thread, const Activations& gate_a, const Weight& gate, int64_t gate_row,
                  const Activations& up_a, const Weight& up, int64_t up_row, StaticRange columns, float* m,
                  int64_t ldm, float* up_scratch) noexcept;
  void run_expert(const float* h, int64_t e, int count, const MoeArgs& moe, float* out) noexcept;

  // --- rows that are read (read_products.cc) --------------------------------------------------------------
  /// Rows [first, first + count) of a weight, and where they go: y[row · count + i]. A null weight has none.
  struct ReadOutput {
    const Weight* w = nullptr;
    int64_t first = 0;
    int64_t count = 0;
    float* y = nullptr;
  };
  /// Brings an input's rows into bf16; row(r) gives [cols] floats.
  template <class Row>
  void prepare_read(int rows, int64_t cols, Row row) noexcept;
  void prepare_read(const Input& input) noexcept;
  [[nodiscard]] cpu::ReadProductArgs read_args(int thread, const Weight& w, int64_t token, int64_t tokens,
                                               StaticRange outputs) const noexcept;
  /// Products of the prepared rows with weights of the same columns.
  void read_multiply(int rows, std::span<const ReadOutput> outputs) noexcept;
  void read_geglu(int rows, const Weight& gate, int64_t gate_row, const Weight& up, int64_t up_row,
                  int64_t width, float* m) noexcept;
  // Whole operations, as their namesakes.
  void read_matmul(const Input& input, const Weight& w, int64_t out, float* y) noexcept;
  void read_qkv(const float* x, const Rows& rows, const QkvArgs& args) noexcept;
  void read_per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept;
  void read_expert(int64_t e, int count, const MoeArgs& moe) noexcept;

  // --- attention (attention.cc)
  // -----------------------------------------------------------------------------
  /// Cosines and sines of a step's positions.
  struct RopeTable {
    const float* inv_freq = nullptr;
    int half = 0;
    std::vector<int32_t> positions;
    std::vector<float> cosines, sines;  // [positions, half]
    uint64_t used = 0;
  };
  /// One attend() call's arguments; items are numbered row block by row block, then by key/value head.
  struct AttentionTask {
    const float* q;
    const Rows& rows;
    const AttentionShape& shape;
    const KvView& kv;
    float* out;
    int group;       // query heads a key/value head
    int padded_dim;  // head_dim rounded up to 16
  };
  struct Item {
    int begin, end;       // rows
    int32_t first, last;  // keys that any of them sees
    int32_t span;         // tokens
  };
  struct SpanUnit {
    int item, head;
    int32_t begin, end;       // keys
    int64_t floats, queries;  // where its state starts in the scratch
  };
  static constexpr cpu::KvElement kv_element(KvType type) noexcept {
    return type == KvType::kF32    ? cpu::KvElement::kF32
           : type == KvType::kBF16 ? cpu::KvElement::kBF16
                                   : cpu::KvElement::kQ8;
  }
  /// The step's table: shared by its layers, so made once a step and kind of layer.
  const RopeTable& rope_table(const Rows& rows, const AttentionShape& shape) noexcept;
  [[nodiscard]] static int64_t finished_heads(const QkvArgs& args) noexcept;
  void finish_heads(const RopeTable& rope, const Rows& rows, const QkvArgs& args, StaticRange mine) noexcept;
  void finish_query(const RopeTable& rope, int64_t row, int head, const QkvArgs& args) noexcept;
  void finish_key_value(const RopeTable& rope, const Rows& rows, int64_t row, int head,
                        const QkvArgs& args) noexcept;
  static Item item_at(const AttentionTask& task, int row) noexcept;
  cpu::AttentionState load_queries(int thread, const AttentionTask& task, const Item& item,
                                   int head) noexcept;
  static const unsigned char* key(const AttentionTask& task, int32_t sequence, int32_t position,
                                  int head) noexcept;
  void attend_span(const AttentionTask& task, const Item& item, int head, int32_t begin, int32_t end,
                   const unsigned char* next, const cpu::AttentionState& state) noexcept;
  void attend_item(int thread, const AttentionTask& task, const Item& item, int head,
                   const unsigned char* next) noexcept;
  [[nodiscard]] bool list_spans(const AttentionTask& task) noexcept;
  [[nodiscard]] cpu::AttentionState span_state(cpu::AttentionState state,
                                               const SpanUnit& unit) const noexcept;
  void attend_spans(int thread, const AttentionTask& task) noexcept;
  void store_attended(const AttentionTask& task, const Item& item, int head,
                      const cpu::AttentionState& total) const noexcept;

  // --- attention over prompts (prompt_attention.cc)
  // ----------------------------------------------------------
  void attend_prompt(const AttentionTask& task) noexcept;
  void attend_prompt_item(int thread, const AttentionTask& task, const Item& item, int head) noexcept;

  // --- memory (cpu_backend.cc)
  // ------------------------------------------------------------------------------
  void reserve_forms();
  void reserve_read();
  void reserve_threads();
  template <class Carver>
  void carve_prompt(Carver& carver, cpu::PromptScratch& s) const;
  void reserve_spans();
  void reserve_experts();
  /// The first `cols` columns of a table's row, times `factor`. scratch: the table's width.
  void gather_row(const MatrixView& table, int64_t row, int64_t cols, float factor, float* scratch,
                  float* out) const noexcept;
  /// Runs body(thread, row) for rows [0, count) over the threads, or on the caller alone when that is less
  /// work.
  template <class Body>
  void for_rows(int64_t count, int64_t floats_per_row, Body body) noexcept;

  const cpu::KernelTable& kernels_;
  ThreadPool pool_;

  /// Activations in one form; weights that share an input may differ in theirs.
  struct ActivationScratch {
    Buffer memory;
    float* x = nullptr;       // [rows, widest], float form
    int8_t* codes = nullptr;  // [rows, widest]
    float* scales = nullptr;  // [rows, widest / group]
    float* sums = nullptr;    // [rows, widest / group]
  };
  static constexpr std::array kForms = {0, 16, 32, 64, 128};  // the group that shares a scale; 0: floats
  [[nodiscard]] static size_t form_of(const Weight& w) noexcept;
  std::array<ActivationScratch, kForms.size()> forms_;
  std::array<bool, kForms.size()> form_used_ = {};
  /// Whether weights were loaded, and none of them is quantised.
  [[nodiscard]] bool floats_alone() const noexcept {
    return form_used_[0] &&
           std::none_of(form_used_.begin() + 1, form_used_.end(), [](bool used) { return used; });
  }
  int64_t widest_ = 0;        // columns of the widest product
  int64_t packed_bytes_ = 0;  // of all weights

  /// Of the rows of the product at hand, whatever the forms of its weights.
  struct OutlierScratch {
    Buffer memory;
    cpu::Outlier* values = nullptr;  // [rows, stride]
    int32_t* counts = nullptr;       // [rows]
    int32_t stride = 0;              // the most that a row can have
  };
  OutlierScratch outliers_;

  /// Activations of rows that are read.
  struct ReadScratch {
    Buffer memory;
    int count = 1;                                      // of the parts: one where all weights are quantised
    std::array<uint16_t*, cpu::kReadParts> parts = {};  // [rows, widest] bf16 each, in the products' tiles
  };
  ReadScratch read_;
  bool reading_ = false;

  struct ThreadScratch {
    Buffer memory;
    unsigned char* panel = nullptr;      // [kPanelBytes]
    float* block = nullptr;              // [2, kBlockTokens, kBlockRows]
    float* row = nullptr;                // [widest table]
    float* q = nullptr;                  // [queries, padded_dim]
    std::array<float*, 2> acc{};         // [queries, padded_dim]: the total's and a span's
    std::array<float*, 2> top{}, sum{};  // [queries]
    float* weights = nullptr;            // [queries, 64]
    float* slots = nullptr;              // [16, padded_dim]
    int32_t* first = nullptr;            // [queries]
    int32_t* last = nullptr;             // [queries]
    cpu::PromptScratch prompt;
  };
  std::vector<ThreadScratch> thread_scratch_;
  int64_t widest_table_ = 0;
  int max_queries_ = 0;

  /// States of the spans of a few rows, attended by different threads.
  struct SpanScratch {
    Buffer memory;
    float* acc = nullptr;
    float* top = nullptr;
    float* sum = nullptr;
    int64_t floats = 0;   // of acc
    int64_t queries = 0;  // of top and sum
    std::vector<SpanUnit> units;
  };
  SpanScratch spans_;
  std::vector<Item> items_;
  std::array<RopeTable, 6> rope_tables_;  // two kinds of layers, three sets of rows
  uint64_t rope_clock_ = 0;

  struct ExpertScratch {
    std::vector<float> in, out;      // [rows, hidden] of one expert
    std::vector<float> gate, up;     // [rows, ffn_dim] of one expert
    std::vector<int32_t> rows;       // [rows] of one expert
    std::vector<float> row_weights;  // [rows] of one expert
    std::vector<int32_t> chosen;     // [rows, top_k]
    std::vector<float> weights;      // [rows, top_k]
  };
  ExpertScratch experts_;
};

}  // namespace facet
