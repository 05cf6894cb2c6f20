// What an instruction set offers: a table of kernels over plain structures.
//
// Each set is compiled in a translation unit of its own with its own flags (isa_*.cc), from the kernel
// templates in *_kernels.h over that set's vector type. Those units include nothing that another unit shares
// as an inline function: the linker keeps one copy of such a function, and it might be the one compiled for
// AVX-512.
//
// Every kernel computes a row of activations in the same order of operations whatever other rows it is given,
// so a row's result does not depend, to the bit, on what shares its batch.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace facet::cpu {

constexpr int kTileRows = 16;   ///< outputs (weight rows) a tile: one lane each
constexpr int kLanes = 16;      ///< floats of a kernel's vector, whatever the registers' width
constexpr int kPageSlots = 64;  ///< tokens of a page of the KV cache

/// How a tile's weights are laid out; k runs over the columns, lane r over the tile's rows.
enum class TileKind : uint8_t {
  kF32,   ///< [k][16] f32
  kF16,   ///< [k][16] f16
  kBF16,  ///< [k / 2][16][2] bf16: what VDPBF16PS and a 32-bit shift both like
  kQ4,  ///< per group: 16 scales, 16 biases, then [k / 8][16] words of 4 bytes: low nibbles are k … k + 3 and
        ///< high nibbles k + 4 … k + 7
  kQ8  ///< per group: 16 scales, 16 biases, then [k / 4][16] words of 4 codes
};

enum class ScaleKind : uint8_t { kBF16, kF16, kF32 };

/// A packed weight matrix. w[r, k] = scale · code + bias for the quantised kinds.
struct PackedMatrix {
  TileKind kind = TileKind::kF32;
  ScaleKind scale_kind = ScaleKind::kBF16;
  int group = 0;     ///< columns that share a scale: a multiple of 16; 0 for the float kinds
  int64_t rows = 0;  ///< as stored; the last tile is padded with zeros
  int64_t cols = 0;  ///< padded: a multiple of 16
  int64_t tile_bytes = 0;
  const unsigned char* data = nullptr;  // [tiles] of tile_bytes, 64-byte aligned
};

/// An activation that stands out of its row and is therefore not quantised.
struct Outlier {
  int32_t column = 0;
  float value = 0;
};
/// At most one column in so many is one, as all are beyond 4 times their row's root mean square.
constexpr int kOutlierShare = 16;

/// Rows of activations as the products want them.
struct Activations {
  const float* x = nullptr;       // [rows, stride], zero beyond the matrix's columns; float kinds
  const int8_t* codes = nullptr;  // [rows, stride]; quantised kinds: x ≈ scale · code for each group, but
                                  // for the outliers, whose codes are 0
  const float* scales = nullptr;  // [rows, groups]
  const float* sums = nullptr;    // [rows, groups] scale · Σ codes, what the weights' bias multiplies
  const Outlier* outliers = nullptr;        // [rows, outlier_stride], by column
  const int32_t* outlier_counts = nullptr;  // [rows]; null: there are none
  int64_t stride = 0;
  int64_t groups = 0;
  int64_t outlier_stride = 0;
  int rows = 0;
};

/// Part of a product: y[t, r − row_begin] = Σ_k x[t, k] · w[r, k] for rows r in [row_begin, row_end).
struct ProductArgs {
  const PackedMatrix* w = nullptr;
  const Activations* a = nullptr;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  float* y = nullptr;  // y[t · ldy + (r − row_begin)]
  int64_t ldy = 0;
  unsigned char* panel = nullptr;  ///< kPanelBytes of the calling thread's scratch, 64-byte aligned
};
constexpr size_t kPanelBytes = size_t{288} << 10;

constexpr int kReadTokens = 32;          ///< token rows that are multiplied together
constexpr int kReadColumns = 32;         ///< columns
constexpr int kReadPanelColumns = 1536;  ///< decoded at a time
constexpr int kReadParts = 3;            ///< bf16 numbers that make up an f32

/// Part of a product for rows that are read: the same, over columns [column_begin, column_end) of bf16
/// activations, added to what y holds unless column_begin is 0. column_begin is a multiple of
/// kReadPanelColumns; column_end is, or ends the matrix. Activations lie in tiles of 16 rows × kReadColumns,
/// [rows / 16][column_tiles], up to a multiple of kReadTokens rows, with zeros beyond the matrix's columns.
struct ReadProductArgs {
  const PackedMatrix* w = nullptr;
  /// The activations rounded, and what that left: so many parts as weights of the float kinds are multiplied
  /// by; quantised ones take the first alone.
  const uint16_t* x[kReadParts] = {};
  int64_t column_tiles = 0;
  int rows = 0;
  int64_t column_begin = 0;
  int64_t column_end = 0;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  float* y = nullptr;  // y[t · ldy + (r − row_begin)]
  int64_t ldy = 0;
  unsigned char* panel = nullptr;  ///< kPanelBytes of the calling thread's scratch, 64-byte aligned
};

/// A page of one key/value head, and the queries that attend over it.
enum class KvElement : uint8_t { kF32, kBF16, kQ8 };
struct AttentionState {
  int queries = 0;
  int head_dim = 0;
  int padded_dim = 0;              ///< head_dim rounded up to 16
  const float* q = nullptr;        // [queries, padded_dim], scaled, zero-padded
  const int32_t* first = nullptr;  // [queries] first and
  const int32_t* last = nullptr;   // [queries] last visible position
  float* top = nullptr;            // [queries] running maximum of the scores
  float* sum = nullptr;            // [queries] Σ exp(score − top)
  float* acc = nullptr;            // [queries, padded_dim] Σ exp(score − top) · v
  float* weights = nullptr;        // [queries, 64] scratch
  float* rows = nullptr;           // [16, padded_dim] scratch
};
struct KvPage {
  KvElement element = KvElement::kF32;
  const unsigned char* k = nullptr;  // slot 0 of this head
  const unsigned char* v = nullptr;
  const float* k_scale = nullptr;  // kQ8
  const float* v_scale = nullptr;
  int64_t stride = 0;                   ///< bytes from slot to slot
  int64_t scale_stride = 0;             ///< floats from slot to slot
  int32_t position = 0;                 ///< of slot 0
  int begin = 0, end = 0;               ///< slots to read
  const unsigned char* next = nullptr;  ///< the first key to be read after this page, to be fetched; or null
};

constexpr int kPromptBlock = 256;     ///< keys that attention over a prompt takes together
constexpr int kRegisterBytes = 1024;  ///< of a matrix register: 16 rows of 64 bytes

/// Scratch of PromptAttention. Query tiles are sixteen queries, chunks 32 dimensions; a register holds
/// kRegisterBytes. 64-byte aligned.
struct PromptScratch {
  unsigned char* queries = nullptr;  // [query tiles, chunks, 2] registers: bf16 in two parts
  float* scores = nullptr;           // [2, kPromptBlock, 16]
  unsigned char* weights = nullptr;  // [query tiles, kPromptBlock / 32] registers: bf16
  unsigned char* values = nullptr;   // [kPromptBlock / 32, 2] registers: bf16
  unsigned char* rounded = nullptr;  // [kPromptBlock, 2, chunks, 32] bf16 of keys and values stored otherwise
  float* sums = nullptr;             // [query tiles, chunks, 2] registers
  float* top = nullptr;              // [query tiles, 16] what weights are relative to
  float* sum = nullptr;              // [query tiles, 16] of weights
  int32_t* first = nullptr;          // [query tiles, 16] first and
  int32_t* last = nullptr;           // [query tiles, 16] last visible position
};

/// Rows of one sequence, in any order, and a key/value head with the query heads that share it.
struct PromptAttention {
  const float* q = nullptr;  // [rows] of `group` heads of head_dim, `row_stride` floats apart
  float* out = nullptr;      // likewise
  int64_t row_stride = 0;
  const int32_t* positions = nullptr;  // [rows]
  int rows = 0;
  int group = 0;
  int head_dim = 0;
  int window = 0;  ///< 0: none
  float scale = 1;
  KvElement element = KvElement::kBF16;  ///< or kQ8
  const unsigned char* k = nullptr;      // this head in slot 0 of page 0
  const unsigned char* v = nullptr;
  const float* k_scale = nullptr;  // kQ8
  const float* v_scale = nullptr;
  int64_t stride = 0;              ///< bytes from slot to slot
  int64_t scale_stride = 0;        ///< floats from slot to slot
  const int32_t* pages = nullptr;  // [ring] position p is in page pages[p / 64 % ring]
  int ring = 0;
  PromptScratch scratch;
};

struct KernelTable {
  const char* name;
  /// Token rows that a product takes in one sweep over the packed tiles; more are blocked (`product`'s own
  /// business, listed for benchmarks).
  int sweep_rows;
  /// Bytes of activations that many rows are taken in: they should stay in the second-level cache.
  int64_t block_bytes;

  void (*product)(const ProductArgs& args);
  /// Products of rows that are read, and how row `row` of [cols] activations gets into `count` parts. Null
  /// where these rows take the same products as all others.
  void (*read_product)(const ReadProductArgs& args);
  void (*to_bf16_row)(const float* x, int64_t cols, int64_t row, int count, uint16_t* const* parts);
  /// The magnitude beyond which a value of the row is an outlier; infinite where squares leave f32's range.
  float (*outlier_limit)(const float* x, int64_t cols);
  /// Lists values beyond `limit`, at most `most`; returns how many.
  int32_t (*list_outliers)(const float* x, int64_t cols, float limit, int32_t most, Outlier* outliers);
  /// Quantises one row [cols] in groups: codes in −127 … 127, round to nearest. Values beyond `limit` count
  /// as 0. Pads with zeros to `padded`.
  void (*quantize_row)(const float* x, int64_t cols, int64_t padded, int group, float limit, int8_t* codes,
                       float* scales, float* sums);
  void (*rms_norm_row)(const float* x, int64_t width, const float* weight, float eps, float* out);
  /// x += rms(y, weight), then x *= scale.
  void (*rms_norm_add_row)(const float* y, int64_t width, const float* weight, float eps, float scale,
                           float* x);
  void (*gelu_mul)(float* gate, const float* up, int64_t n);
  void (*add_scale)(float* x, const float* y, float scale, int64_t n);
  void (*scale)(float* x, float factor, int64_t n);
  void (*mul)(float* x, const float* weight, int64_t n);
  void (*softmax_row)(float* x, int64_t n);
  void (*softcap)(float* x, float cap, int64_t n);
  /// Rotates pairs (i, i + half) of `heads` heads by the angles whose cosines and sines are given [half].
  void (*rope_row)(float* x, int heads, int half, const float* cosines, const float* sines);
  /// Takes a page's keys and values into the queries' running softmax.
  void (*attend_page)(const AttentionState& state, const KvPage& page);
  /// Adds a span's state to the total: both hold `queries` queries.
  void (*merge_attention)(const AttentionState& total, const AttentionState& span);
  /// Attention of a prompt's rows with bf16 products; null where there is none.
  void (*attend_prompt)(const PromptAttention& args);
  /// out = x · factor over [n], for query preparation and the final division.
  void (*scale_to)(const float* x, float factor, int64_t n, float* out);

  // What the machine can do at most, for the benchmark: one thread's operations a call.
  /// Reads memory front to back (streams = 1) or from four places at once (4).
  void (*read)(const unsigned char* data, int64_t bytes, int streams, unsigned char* sink64);
  /// `iterations` rounds of independent int8 dot products / f32 FMAs on registers; return operations done
  /// (a multiply and an add count as two).
  double (*int8_peak)(int64_t iterations);
  double (*f32_peak)(int64_t iterations);
};

[[nodiscard]] const KernelTable& portable_kernels();
[[nodiscard]] const KernelTable& avx2_kernels();
[[nodiscard]] const KernelTable& avx512_kernels();
[[nodiscard]] const KernelTable& amx_kernels();

}  // namespace facet::cpu
