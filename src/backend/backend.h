// What a device must be able to do for a Gemma model.
//
// Primitives are pure virtual. A fused operation is one that a backend may want in a single kernel; its
// default composes the primitives (composed.cc) and is its definition: the kernel tests compare every
// override with it. All pointers are in the backend's own memory unless said otherwise; all calls are
// noexcept on a backend whose memory has been reserved, and run in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/kv_view.h"
#include "tensor/matrix_view.h"

namespace facet {

struct OperationTime {
  int64_t calls = 0;
  double seconds = 0;
};
/// Time by name of an operation or a kernel.
using Profile = std::map<std::string, OperationTime, std::less<>>;

/// Memory of a backend, freed with the handle.
using Buffer = std::unique_ptr<std::byte, std::function<void(std::byte*)>>;

/// A weight matrix as the backend keeps it: the mapping itself, or repacked for its kernels.
class Weight {
 public:
  explicit Weight(const MatrixView& stored) : rows_(stored.rows), cols_(stored.cols) {}
  virtual ~Weight() = default;
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;

  [[nodiscard]] int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] int64_t cols() const noexcept { return cols_; }

 private:
  int64_t rows_;
  int64_t cols_;
};

/// What a weight is for: products x Wᵀ, or a table whose rows are gathered (which may stay mapped). The
/// per-layer table is half of E2B, and a token reads one row of it.
enum class WeightUse : uint8_t { kMatmul, kTable, kPerLayerTable };

/// Where a device with memory of its own has a table: there, or in the host's memory, whose rows it reads
/// over the bus.
enum class Residence : uint8_t { kDevice, kHost };

/// The rows of a step: for each, its token, its position in its sequence, and that sequence's slot.
struct Rows {
  int count = 0;
  const int32_t* tokens = nullptr;     // [count]
  const int32_t* positions = nullptr;  // [count]
  const int32_t* sequences = nullptr;  // [count]
  bool distinct = false;               ///< no two rows are of one sequence
  int last_position = 0;               ///< the largest
};

/// What decides which kernels a step takes, and how many blocks of them.
struct StepShape {
  int rows = 0;
  int outputs = 0;     ///< rows whose hidden state is wanted
  bool whole = false;  ///< rows that nobody wants go through all layers, too
  bool distinct = false;
  int last_position = 0;
};

struct AttentionShape {
  int head_dim = 0;
  int q_heads = 0;
  int kv_heads = 0;
  int window = 0;                   ///< sees keys in (p − window, p]; 0: [0, p]
  float scale = 1;                  ///< of q·k
  const float* inv_freq = nullptr;  // [head_dim / 2]
};

/// Input norm, the projections, their norms, rope, and the store into the cache.
struct QkvArgs {
  AttentionShape shape;
  float eps = 0;
  const float* input_norm = nullptr;  // [hidden]
  const Weight* q = nullptr;          // [q_heads · head_dim, hidden]; null: only K and V are wanted
  const float* q_norm = nullptr;      // [head_dim]
  float* q_out = nullptr;             // [rows, q_heads, head_dim]
  const Weight* k = nullptr;      // [kv_heads · head_dim, hidden]; null: the layer shares another's cache
  const Weight* v = nullptr;      // null with k set: V is the K projection
  const float* k_norm = nullptr;  // [head_dim]
  bool v_norm = true;             ///< weightless norm on V
  KvView kv;
};

/// Names under which project_add shows its steps to a trace.
struct ProjectNames {
  std::string_view projection, module, norm;
};

struct MoeArgs {
  int experts = 0;
  int top_k = 0;
  int ffn_dim = 0;
  float eps = 0;
  const Weight* router = nullptr;            // [experts, hidden]
  const float* router_scale = nullptr;       // [hidden], hidden^-½ folded in
  const float* per_expert_scale = nullptr;   // [experts]
  const float* pre_norm = nullptr;           // [hidden], experts' input
  const float* post_norm_dense = nullptr;    // [hidden]
  const float* post_norm_experts = nullptr;  // [hidden]
  const Weight* gate_up = nullptr;           // [experts · 2 ffn_dim, hidden], gate rows first
  const Weight* down = nullptr;              // [experts · hidden, ffn_dim]
};

struct PerLayerArgs {
  int ple_dim = 0;
  float eps = 0;
  const Weight* gate = nullptr;        // [ple_dim, hidden]
  const Weight* projection = nullptr;  // [hidden, ple_dim]
  const float* post_norm = nullptr;    // [hidden]
  const float* inputs = nullptr;       // [rows] rows of ple_dim, `inputs_stride` floats apart
  int64_t inputs_stride = 0;
  float layer_scalar = 1;
};

/// Sizes fixed at load, so that nothing is allocated per token.
struct Limits {
  int rows = 0;        ///< most rows a step
  int logit_rows = 0;  ///< most rows of one logits() call
  int hidden = 0;
  int q_width = 0;  ///< the widest layer's q_heads · head_dim
  int kv_width = 0;
  int q_heads = 0;  ///< the most of any layer
  int ffn_dim = 0;
  int ple_width = 0;  ///< layers · ple_dim
  int vocab = 0;
  int experts = 0;
  int sequences = 0;
  int context = 0;
};

/// Receives activations by name while a trace is taken.
class ActivationTap {
 public:
  virtual ~ActivationTap() = default;
  /// `values` [rows, width] on the host.
  virtual void record(const std::string& name, std::span<const float> values, int64_t rows,
                      int64_t width) = 0;
  /// What the rows just recorded under `name` are to be replaced by before the model goes on, or nothing.
  [[nodiscard]] virtual std::span<const float> anchor(const std::string& /*name*/) { return {}; }
};

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;

  // --- memory -------------------------------------------------------------------------------------------
  /// Zeroed memory, aligned to 64 bytes or more. Throws Error{kDevice} when there is not enough.
  [[nodiscard]] virtual Buffer allocate(size_t bytes) = 0;
  virtual void upload(void* to, const void* host, size_t bytes) = 0;
  /// Waits for everything before it.
  virtual void download(void* host, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  /// Whether the host reads the backend's memory as it stands once an operation has returned, with no
  /// download.
  [[nodiscard]] virtual bool is_host_memory() const noexcept { return false; }

  /// Takes a weight in. `stored` must outlive the result. Throws Error{kBadInput} for an encoding the backend
  /// cannot serve and Error{kDevice} when memory is short.
  [[nodiscard]] virtual std::unique_ptr<Weight> load(const MatrixView& stored, WeightUse use) = 0;

  /// Whether load() copies what products read, so that the mapping's pages need not stay in memory.
  [[nodiscard]] virtual bool copies_weights() const noexcept { return false; }

  /// Allocates all scratch memory for steps within `limits`.
  virtual void reserve(const Limits& limits);

  /// The cache's type when nobody asks for another.
  [[nodiscard]] virtual KvType default_kv_type() const noexcept { return KvType::kBF16; }

  /// What computes, where that is not the CPU; empty: it is.
  [[nodiscard]] virtual std::string device_name() const { return {}; }
  /// Measures how fast that device's memory is read, in 10⁹ bytes a second; 0: no device of its own.
  [[nodiscard]] virtual double read_bandwidth() { return 0; }
  /// Returns when everything asked for so far is done. For clocks: who reads values waits for them anyway.
  virtual void finish() {}
  /// From now on times its own kernels, by its device's clock, into `profile`, which must outlive it and is
  /// up to date after finish(). False: its calls return when the work is done, so that anyone can time them.
  /// Throws Error{kDevice} when the device cannot be watched.
  [[nodiscard]] virtual bool profile_into(Profile& /*profile*/) { return false; }

  /// Rows of a step at which prompts go fastest.
  [[nodiscard]] virtual int preferred_chunk() const noexcept { return 512; }

  // --- steps --------------------------------------------------------------------------------------------
  /// Announces a step's operations. False: the backend knew them and has issued them itself; they must not be
  /// issued again. Otherwise end_step() follows them.
  [[nodiscard]] virtual bool begin_step(const StepShape& /*shape*/) noexcept { return true; }
  virtual void end_step() noexcept {}

  /// Whether rows that fill the cache and are not wanted otherwise, as a prompt's, go through kernels of
  /// their own, which round differently from the others'. A step then keeps the two apart: a row's result
  /// must hang on what it is, never on what shares its step.
  [[nodiscard]] virtual bool reads_apart() const noexcept { return false; }
  /// Whether the rows of the operations from now on are such: read.
  virtual void set_reading(bool /*reading*/) noexcept {}

  // --- lanes --------------------------------------------------------------------------------------------
  /// Backends of one thread each, over the weights that this one has loaded: whole steps over different
  /// sequences may run in them at the same time. Empty where dividing a step by operations is better.
  [[nodiscard]] virtual std::vector<std::unique_ptr<Backend>> make_lanes() const { return {}; }
  /// How many of them work at the same time just now.
  [[nodiscard]] virtual int lane_team() const noexcept { return 1; }
  /// Calls work(lane, unit) once for each unit in [0, units), lanes taking units as they come.
  virtual void each_in_lanes(int /*units*/, const std::function<void(int, int)>& /*work*/) noexcept {}

  // --- primitives ---------------------------------------------------------------------------------------
  /// out[r] = scale · table[ids[r]], the first `cols` columns. out: [rows, cols].
  virtual void gather(const Weight& table, const int32_t* ids, int rows, int64_t cols, float scale,
                      float* out) noexcept = 0;
  /// out[r] = x[indices[r]]; rows of `width` floats.
  virtual void gather_rows(const float* x, const int32_t* indices, int rows, int64_t width,
                           float* out) noexcept = 0;
  /// y = x Wᵀ, the first `out` outputs. x: [rows, W.cols()], y: [rows, out].
  virtual void matmul(const float* x, int rows, const Weight& w, int64_t out, float* y) noexcept = 0;
  /// out = x / √(mean(x²) + eps) · weight over rows of `width`; weight null: 1. out may be x.
  virtual void rms_norm(const float* x, int64_t rows, int64_t width, const float* weight, float eps,
                        float* out) noexcept = 0;
  /// Rotates pairs (i, i + head_dim/2) of every head in place. x: [rows, heads, head_dim].
  virtual void rope(float* x, const Rows& rows, int heads, const AttentionShape& shape) noexcept = 0;
  /// Writes K and V [rows, kv_heads, head_dim] to their slots.
  virtual void kv_store(const float* k, const float* v, const Rows& rows, const KvView& kv) noexcept = 0;
  /// out = softmax(scale · q kᵀ + mask) v. q, out: [rows, q_heads, head_dim].
  virtual void attend(const float* q, const Rows& rows, const AttentionShape& shape, const KvView& kv,
                      float* out) noexcept = 0;
  /// gate = gelu_tanh(gate) · up, n elements.
  virtual void gelu_mul(float* gate, const float* up, int64_t n) noexcept = 0;
  /// gate[r, i] = gelu_tanh(gate[r, i]) · up[r · up_stride + i]; rows of `width`.
  virtual void gelu_mul_strided(float* gate, const float* up, int64_t rows, int64_t width,
                                int64_t up_stride) noexcept = 0;
  /// x = (x + y) · scale, n elements.
  virtual void add_scale(float* x, const float* y, float scale, int64_t n) noexcept = 0;
  virtual void scale(float* x, float factor, int64_t n) noexcept = 0;
  /// x[r, i] *= weight[i].
  virtual void scale_columns(float* x, const float* weight, int64_t rows, int64_t width) noexcept = 0;
  /// Softmax over rows of `width`, in place.
  virtual void softmax(float* x, int64_t rows, int64_t width) noexcept = 0;
  /// x = cap · tanh(x / cap).
  virtual void softcap(float* x, float cap, int64_t n) noexcept = 0;
  /// The top_k experts of each row, weighted by their renormalised probability and per_expert_scale.
  /// h, out: [rows, hidden]; probabilities: [rows, experts].
  virtual void experts(const float* h, const float* probabilities, int rows, const MoeArgs& moe,
                       float* out) noexcept = 0;

  // --- fused operations; x is the residual stream [rows, hidden] -----------------------------------------
  virtual void qkv_rope_store(const float* x, const Rows& rows, const QkvArgs& args) noexcept;
  /// x += rms(a Wᵀ, norm). a: [rows, w.cols()].
  virtual void project_add(const float* a, int rows, const Weight& w, const float* norm, float eps, float* x,
                           const ProjectNames& names) noexcept;
  /// m = gelu(h W_gateᵀ) · h W_upᵀ with h = rms(x, norm). m: [rows, ffn_dim].
  virtual void geglu(const float* x, int rows, const float* norm, float eps, const Weight& gate,
                     const Weight& up, float* m) noexcept;
  /// x += rms(rms(m W_downᵀ) + rms(experts(x)), norm): the MLP's second half beside a mixture of experts.
  virtual void project_moe_add(const float* m, int rows, const Weight& down, const float* norm,
                               const MoeArgs& moe, float* x) noexcept;
  /// x = (x + rms(W_projection(gelu(W_gate x) · inputs), post_norm)) · layer_scalar.
  virtual void per_layer_embed(float* x, int rows, const PerLayerArgs& args) noexcept;
  /// out = (rms_P(W x0 · projection_scale, norm) + table[tokens] · embed_scale) · combination_scale for the
  /// first `layers` layers. x0: [rows, hidden] scaled embeddings; out: [rows, layers, ple_dim].
  struct PerLayerInputs {
    const Weight* table = nullptr;       // [vocabulary, all layers · ple_dim]
    const Weight* projection = nullptr;  // [all layers · ple_dim, hidden]
    const float* norm = nullptr;         // [ple_dim]
    int ple_dim = 0;
    float eps = 0, embed_scale = 1, projection_scale = 1, combination_scale = 1;
  };
  virtual void per_layer_inputs(const float* x0, const Rows& rows, int layers, const PerLayerInputs& args,
                                float* out) noexcept;
  /// out = cap · tanh(h Wᵀ / cap); no cap when it is 0. out: [rows, vocabulary].
  virtual void logits(const float* h, int rows, const Weight& head, float cap, float* out) noexcept;

  /// How many of the likeliest of `width` logits top() can find; 0 where it would be no faster than the host.
  [[nodiscard]] virtual int most_top(int /*width*/) const noexcept { return 0; }
  /// The `count` ≤ most_top(width) likeliest of each row of logits [rows, width] and their ids, on the host:
  /// [rows, count] each, in any order; of equals the lower ids, and −1 where a row has fewer numbers. Waits.
  virtual void top(const float* /*logits*/, int /*rows*/, int /*width*/, int /*count*/, int32_t* /*ids*/,
                   float* /*values*/) {}

  // --- traces -------------------------------------------------------------------------------------------
  /// From now on shows activations to `tap` under `scope` + name; null stops.
  void set_tap(ActivationTap* tap) noexcept { tap_ = tap; }
  void set_tap_scope(std::string scope) { scope_ = std::move(scope); }
  [[nodiscard]] bool tapped() const noexcept { return tap_ != nullptr; }
  /// Shows `values` [rows, width] (backend memory) to the tap, if there is one.
  void tap(std::string_view name, const float* values, int64_t rows, int64_t width);
  /// The same for what a later layer reads; the tap may put other values in its place.
  void tap_and_anchor(std::string_view name, float* values, int64_t rows, int64_t width);

 protected:
  /// Scratch of the composed defaults.
  struct Scratch {
    Buffer memory;
    float *h = nullptr, *y = nullptr, *z = nullptr;  // [rows, hidden]
    float *k = nullptr, *v = nullptr;                // [rows, kv_width]
    float* up = nullptr;                             // [rows, ffn_dim]
    float* ple = nullptr;                            // [rows, ple_width]
    float* router = nullptr;                         // [rows, experts]
  };
  Scratch scratch_;
  Limits limits_;

 private:
  ActivationTap* tap_ = nullptr;
  std::string scope_;
};

}  // namespace facet
