// The warps of the persistent step that multiply.
#pragma once

#include "backend/cuda/persistent_layout.cuh"

namespace facet::cuda::persistent {

__device__ inline void worker_barrier() {
  asm volatile("bar.sync 1, %0;" ::"n"(kWorkerThreads) : "memory");
}

__device__ inline float4 times(const float4& a, const float4& b) {
  return {a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}
__device__ inline float4 times(const float4& a, float b) {
  return {a.x * b, a.y * b, a.z * b, a.w * b};
}
__device__ inline float4 plus(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ inline float2 plus(const float2& a, const float2& b) {
  return {a.x + b.x, a.y + b.y};
}

/// A layer's sizes, read once: what is asked for again and again would come from constant memory each time.
struct LayerSizes {
  int head_dim, units, kind;
  bool owns_kv, last;
  bool attended;   // another kernel has computed the attention
  bool projected;  // another kernel will

  __device__ LayerSizes(const PersistentLayer& layer, bool helper, int l, const LayerSpan& span, bool is_last)
      : head_dim(layer.head_dim),
        units(cluster_units(layer.ffn_dim, helper)),
        kind(layer.kind()),
        owns_kv(layer.owns_kv),
        last(is_last),
        attended(span.begins_attended && l == span.begin),
        projected(span.ends_projected && l + 1 == span.end) {
    asm volatile("" : "+r"(head_dim), "+r"(units), "+r"(kind));  // so that it is kept
  }
};

/// A layer's products, in their order.
enum Phase { kQkvPhase, kOutPhase, kGateUpPhase, kDownPhase, kPleGatePhase, kPleProjectionPhase, kPhases };

/// A block's worker warps. One loop over the phases, so that the code of a product is there once: it has to
/// stay in the instruction caches.
template <Codes kCodes, Codes kPleCodes, int kRows, bool kInSpans>
class Worker {
 public:
  /// After wait_for_previous().
  __device__ __forceinline__ Worker(const PersistentStep& step, const Portions& portions,
                                    Memory<kRows>& memory, float* second_sums, const std::byte* ring)
      : step_(step),
        portions_(portions),
        span_(span_of<kInSpans>(step)),
        keys_(step, span_.begin, portions.rank),
        memory_(memory),
        second_sums_(second_sums),
        tape_(memory.slots, ring),
        thread_(static_cast<int>(threadIdx.x)),
        lane_(thread_ % kWarp),
        warp_(__shfl_sync(0xffffffffU, thread_ / kWarp,
                          0)),  // the same for the whole warp, as the compiler sees
        tag_(*static_cast<const volatile uint32_t*>(step.exchanges_done)) {}

  __device__ __forceinline__ void run() {
    make_rotations();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      x_[r] = {};
      if (r < step_.rows)
        x_[r] = __ldcg(reinterpret_cast<const float4*>(step_.x + int64_t{r} * kHidden) + thread_);
    }
    input_norm_ = quad_of(memory_.layers[span_.begin].input_norm);
#pragma unroll 1
    for (int l = span_.begin; l < span_.end; ++l) {
      const PersistentLayer& layer = memory_.layers[l];
      const LayerSizes sizes(layer, portions_.helper(), l, span_, l + 1 == step_.layer_count);
      const int end = sizes.projected ? kOutPhase : kPhases;
#pragma unroll 1
      for (int phase = sizes.attended ? kOutPhase : kQkvPhase; phase < end; ++phase)
        run_phase(layer, sizes, phase);
    }
    write_result();
  }

  /// How many exchanges between clusters there have been.
  [[nodiscard]] __device__ uint32_t exchanges() const {
    return tag_;
  }

 private:
  static constexpr int kSpans = BlockKeys<kRows>::kSpans;

  __device__ __forceinline__ void run_phase(const PersistentLayer& layer, const LayerSizes& sizes,
                                            int phase) {
    // What the product takes, and which norms follow it.
    int row_tiles = kSlice / kTileRows;
    int column_tiles = kHidden / kTileColumns;
    float4 input[kRows];
    const float* post_norm = nullptr;
    const float* next_norm = nullptr;
    float4 ple_inputs{};
    const bool helper = portions_.helper();
    const bool of_norm = phase == kQkvPhase || phase == kGateUpPhase;
    switch (phase) {
      case kQkvPhase:
        if (helper) return;
        row_tiles = sizes.head_dim / (kBlocks * kTileRows) * (sizes.owns_kv ? 3 : 1);
        normed_input(input);
        break;
      case kOutPhase:
        column_tiles = sizes.head_dim / kTileColumns;
        post_norm = layer.post_attention_norm;
        next_norm = layer.pre_ffn_norm;
        if (helper) break;
        if (sizes.attended) {
          load_attended(sizes.head_dim, input);
          break;
        }
        if (sizes.head_dim == 256)
          attend<256>(layer, sizes);
        else
          attend<512>(layer, sizes);
        share_attention(sizes.head_dim);
        wait<kPartials>();
        combine_attention(sizes.head_dim, input);
        break;
      case kGateUpPhase:
        row_tiles = sizes.units / (kBlocks * kTileRows) * 2;
        normed_input(input);
        break;
      case kDownPhase:
        column_tiles = sizes.units / kTileColumns;
        post_norm = layer.post_ffn_norm;
        wait<kMiddle>();
        load_columns(memory_.middle, kMostUnits, tiling_of(column_tiles), input);
        break;
      case kPleGatePhase:
        if (helper) return;
        row_tiles = Shape::kPleDim / (kBlocks * kTileRows);
        if (warp_ < step_.rows && lane_ < kPleQuads)
          ple_inputs =
              __ldcg(reinterpret_cast<const float4*>(layer.ple_inputs + int64_t{warp_} * step_.ple_stride) +
                     portions_.rank * kPleQuads + lane_);
        normed_input(input);
        break;
      default:
        column_tiles = Shape::kPleDim / kTileColumns;
        post_norm = layer.post_ple_norm;
        next_norm = sizes.last ? nullptr : (&layer)[1].input_norm;
        if (helper) break;
        wait<kPleMiddle>();
        load_columns(memory_.ple_middle, Shape::kPleDim, tiling_of(column_tiles), input);
        break;
    }

    const Tiling tiling = tiling_of(column_tiles);
    const bool multiplies = !helper || (phase != kOutPhase && phase != kPleProjectionPhase);
    const bool of_ple = phase >= kPleGatePhase;
    DigitTile x[2];
    if (of_norm) leave_squares();
    if (multiplies) make_digits(input, tiling.each, (of_ple ? kPleCodes : kCodes) == Codes::kQ4, x);
    // On their way while the product and the sums are made.
    const float4 post = quad_of(post_norm);
    const float4 next = quad_of(next_norm);
    if (multiplies) {
      if (kCodes == kPleCodes || !of_ple)
        product<kCodes>(x, row_tiles, tiling, of_ple ? step_.ple_group_shift : step_.group_shift);
      else
        product<kPleCodes>(x, row_tiles, tiling, step_.ple_group_shift);
    }

    switch (phase) {
      case kQkvPhase:
        if (sizes.projected)
          write_queries(sizes.head_dim, sizes.owns_kv);
        else
          send_queries(sizes.head_dim, sizes.owns_kv);
        break;
      case kGateUpPhase: send_middle(sizes.units / kBlocks); break;
      case kPleGatePhase: send_ple_middle(ple_inputs); break;
      default:
        sum_up(phase);
        input_norm_ = next;
        add_sums(post, phase == kPleProjectionPhase ? layer.layer_scalar : 1.0F);
        break;
    }
  }

  // --- between blocks ---

  template <Gather kGather>
  __device__ __forceinline__ void wait() {
    barrier_wait(&memory_.gathers[kGather], static_cast<int>(phases_ >> kGather & 1));
    phases_ ^= 1U << kGather;
  }
  /// Where the sums of this exchange are gathered, and their squares.
  [[nodiscard]] __device__ __forceinline__ float* sums_place() const {
    return portions_.helper() && tag_ % 2 == 1 ? second_sums_ : memory_.sums;
  }
  [[nodiscard]] __device__ __forceinline__ float* squares_place() const {
    return portions_.helper() && tag_ % 2 == 1 ? second_sums_ + kRows * kHidden : memory_.squares;
  }

  // --- products ---

  /// The residual stream, as a warp multiplies it: the columns that it has.
  __device__ __forceinline__ void normed_input(float4 (&input)[kRows]) const {
#pragma unroll
    for (int r = 0; r < kRows; ++r) input[r] = times(x_[r], input_norm_);
  }
  [[nodiscard]] __device__ __forceinline__ static float4 quad_at(const float* values, int quad) {
    return *reinterpret_cast<const float4*>(values + 4 * quad);
  }

  /// Of an input in shared memory, the columns that a warp multiplies.
  __device__ __forceinline__ void load_columns(const float* from, int stride, const Tiling& tiling,
                                               float4 (&input)[kRows]) const {
    const int part = tiling.part(warp_);
    const int quad = tiling.each == 2 ? part * 32 + lane_ : part * 16 + lane_ % 16;
#pragma unroll
    for (int r = 0; r < kRows; ++r) input[r] = quad_at(from + r * stride, quad);
  }

  /// Leaves every warp's share of the block's rows times the input, for total().
  template <Codes kKind>
  __device__ __forceinline__ void product(const DigitTile (&x)[2], int row_tiles, const Tiling& tiling,
                                          int group_shift) {
    if (tiling.each == 1)
      product<kKind, 1>(x, row_tiles, tiling, group_shift);
    else
      product<kKind, 2>(x, row_tiles, tiling, group_shift);
    worker_barrier();
  }
  template <Codes kKind, int kEach>
  __device__ __forceinline__ void product(const DigitTile (&x)[2], int row_tiles, const Tiling& tiling,
                                          int group_shift) {
    constexpr int kVectors = Tile<kKind>::kVectors;
    constexpr int kTileBytes = kVectors * kWarp * 16;
    // What follows from these is made here, not kept in registers throughout.
    int lane = lane_;
    int warp = warp_;
    asm volatile("" : "+r"(lane), "+r"(warp));
    const int part = tiling.part(warp);
    const int group = tiling.group(warp);
    parts_ = tiling.column_warps;
    const int first = part * kEach;
    float* out = memory_.shares + (part * kRows + lane % 4) * kShareStride + 2 * group * kTileRows + lane / 4;
    // Of the group's two rows of tiles in a chunk.
    const int row_bytes = parts_ * kEach * kTileBytes;
    const int pair_bytes = ((parts_ * kEach) >> group_shift) * 64;
    const int codes_at = 2 * group * row_bytes + first * kTileBytes + lane * 16;
    const int pairs_at = tiling.chunk_rows() * row_bytes + 2 * group * pair_bytes + lane / 4 * 8;
    if (group >= tiling.groups) {  // idle
#pragma unroll 1
      for (int i = 0; i < row_tiles; i += tiling.chunk_rows()) tape_.pass(lane_);
      return;
    }

    Tile<kKind> tiles[2][kEach];
    const auto load = [&] {
      const std::byte* const chunk = tape_.wait();
#pragma unroll
      for (int u = 0; u < 2; ++u)
#pragma unroll
        for (int c = 0; c < kEach; ++c) {
#pragma unroll
          for (int v = 0; v < kVectors; ++v)
            tiles[u][c].codes[v] = *reinterpret_cast<const uint4*>(chunk + codes_at + u * row_bytes +
                                                                   c * kTileBytes + v * kWarp * 16);
          tiles[u][c].pairs = *reinterpret_cast<const uint2*>(chunk + pairs_at + u * pair_bytes +
                                                              ((first + c) >> group_shift) * 64);
        }
    };
    load();
#pragma unroll 1
    for (int i = 0; i < row_tiles; i += tiling.chunk_rows()) {
      uint2 pairs[2][kEach];
      int products[2][kEach][4];
#pragma unroll
      for (int u = 0; u < 2; ++u)
#pragma unroll
        for (int c = 0; c < kEach; ++c) {
          multiply_codes(tiles[u][c], x[c], products[u][c]);
          pairs[u][c] = tiles[u][c].pairs;
        }
      tape_.pass(lane_);
      // The next ones come while the tensor cores are at these.
      if (i + tiling.chunk_rows() < row_tiles) load();
      TileSums<1> sums[2];
#pragma unroll
      for (int c = 0; c < kEach; ++c)
#pragma unroll
        for (int u = 0; u < 2; ++u) add_products(products[u][c], pairs[u][c], x[c], sums[u]);
      if (lane_ % 4 < kRows) {
#pragma unroll
        for (int u = 0; u < 2; ++u) {
          out[u * kTileRows] = sums[u].a[0] * x[0].scale;
          out[u * kTileRows + 8] = sums[u].b[0] * x[0].scale;
        }
      }
      out += tiling.chunk_rows() * kTileRows;
    }
  }

  /// A warp's input as digits: of its columns, one tile or two, lane l has 4l to 4l + 3; of one tile, both
  /// halves of the warp have all. Sixteen columns of a tile become one lane's, in the order in which the
  /// codes come out of their words: nibbles even columns first, bytes as they lie.
  __device__ __forceinline__ void make_digits(const float4 (&input)[kRows], int each, bool nibbles,
                                              DigitTile (&x)[2]) {
    using Layout = Digits<kRows>;
    uint4* const digits = memory_.digits[warp_];
    auto* const words = reinterpret_cast<uint32_t*>(digits);
    const int row = lane_ % 4 % kRows;
    const int to = (each == 2 ? lane_ / 16 * 4 : 0) + lane_ % 16 / 4;  // vector
    __syncwarp();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float v[4] = {input[r].x, input[r].y, input[r].z, input[r].w};
      // Not negative, so their order is that of their bits.
      const float own = fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
      const float most = __uint_as_float(__reduce_max_sync(0xffffffffU, __float_as_uint(own)));
      const float scale = most * (1.0F / kMostDigits);
      const float inverse = most > 0 ? __fdividef(kMostDigits, most) : 0.0F;
      // High digit and low, the low one plus 128, as the two lowest bytes.
      uint32_t two[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) two[j] = __float_as_uint(fmaf(v[j], inverse, kIntegers + 128.0F));
      const auto sum = static_cast<int>(two[0] + two[1] + two[2] + two[3] - 4U * (kIntegerBits + 128U));
      const int all = __reduce_add_sync(0xffffffffU, sum);
      const int low_half = __reduce_add_sync(0xffffffffU, lane_ < 16 ? sum : 0);
      // Both columns' high digits, then their low ones.
      const uint32_t even = __byte_perm(two[0], two[2], 0x4051) ^ 0x80800000U;
      const uint32_t odd = __byte_perm(two[1], two[3], 0x4051) ^ 0x80800000U;
      const int high_at = (2 * r * Layout::kStride + to) * 4;
      const int low_at = high_at + Layout::kStride * 4;
      if (nibbles) {
        const int half = lane_ % 4 / 2 * 4 + lane_ % 2;
        auto* const halves = reinterpret_cast<uint16_t*>(words);
        halves[2 * high_at + half] = static_cast<uint16_t>(even);
        halves[2 * high_at + half + 2] = static_cast<uint16_t>(odd);
        halves[2 * low_at + half] = static_cast<uint16_t>(even >> 16);
        halves[2 * low_at + half + 2] = static_cast<uint16_t>(odd >> 16);
      } else {
        words[high_at + lane_ % 4] = __byte_perm(even, odd, 0x5140);
        words[low_at + lane_ % 4] = __byte_perm(even, odd, 0x7362);
      }
      if (row == r) {
        x[0].scale = x[1].scale = scale;
        x[0].sum = static_cast<float>(low_half);
        x[1].sum = static_cast<float>(all - low_half);
      }
    }
    __syncwarp();
#pragma unroll
    for (int c = 0; c < 2; ++c)
      x[c].digits = digits[lane_ / 4 % Layout::kColumns * Layout::kStride + 4 * c + lane_ % 4];
  }

  /// Outputs from o on of the last product for activation row r: four, or two.
  template <class Vector = float4>
  [[nodiscard]] __device__ __forceinline__ Vector total(int r, int o) const {
    const float* from = memory_.shares + r * kShareStride + o;
    Vector sum{};
#pragma unroll
    for (int p = 0; p < kWorkers; ++p)
      if (p < parts_) sum = plus(sum, *reinterpret_cast<const Vector*>(from + p * kRows * kShareStride));
    return sum;
  }

  /// 1 / rms of a row whose squares are summed up in kCount parts.
  template <int kCount>
  [[nodiscard]] __device__ __forceinline__ float inverse_rms_of(const float* squares) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      const float4 v = quad_at(squares, i);
      sum += v.x + v.y + (v.z + v.w);
    }
    return rsqrtf(sum * kOfHidden + step_.eps);
  }
  /// 1 / rms of row r of the residual stream.
  [[nodiscard]] __device__ __forceinline__ float inverse_rms(int r) const {
    return inverse_rms_of<kWorkers>(memory_.squares_of_x + r * kWorkers);
  }

  // --- the residual stream ---

  [[nodiscard]] __device__ __forceinline__ float4 quad_of(const float* weights) const {
    if (weights == nullptr) return {1, 1, 1, 1};
    return __ldg(reinterpret_cast<const float4*>(weights) + thread_);
  }

  /// The residual stream's sums of squares, for inverse_rms behind the next product.
  __device__ __forceinline__ void leave_squares() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float squares = warp_sum(sum_of_squares(x_[r]));
      if (lane_ == 0) memory_.squares_of_x[r * kWorkers + warp_] = squares;
    }
  }

  /// x = (x + rms(sums) · post) · scale.
  __device__ __forceinline__ void add_sums(const float4& post, float scale) {
    wait<kSums>();
    const float* const sums = sums_place();
    const float* const all_squares = squares_place();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= step_.rows) continue;
      constexpr int kSquares = kBlocks * kSumWarps;
      const float inverse = inverse_rms_of<kSquares>(all_squares + r * kSquares);
      x_[r] = times(plus(x_[r], times(times(quad_at(sums + r * kHidden, thread_), inverse), post)), scale);
    }
    // A head cluster's next sums come after a product, which all of its warps end together.
    if (portions_.helper()) worker_barrier();
  }

  /// A layer's three sums, for the whole cluster: of the output projection, whose columns the head clusters
  /// share, of the MLP's, which all share, and of the per-layer embedding, which every head cluster has whole
  /// and the first passes on to the helpers. kSumWarps warps a row.
  __device__ __forceinline__ void sum_up(int phase) {
    ++tag_;
    const int r = warp_ / kSumWarps;
    if (r >= step_.rows) return;
    const bool helper = portions_.helper();
    const int o = (warp_ % kSumWarps * kWarp + lane_) * 2;
    const int first = portions_.rank * kSlice + o;
    float2 sum{};
    const bool makes = phase == kDownPhase || !helper;
    if (makes) sum = total<float2>(r, o);
    constexpr int kSourcePairs = kPersistentRows * kHidden / 2;
    TaggedPair* const at = step_.exchange + r * (kHidden / 2) + first / 2;
    TaggedPair* const own = at + portions_.cluster * kSourcePairs;
    if (phase == kOutPhase) {
      if (makes) store_tagged(own, sum.x, sum.y, tag_);
      sum = sum_over<kHeadClusters, kSourcePairs>(at);
    } else if (phase == kDownPhase) {
      // A helper may be a layer behind in reading these.
      const int buffer = (kHeadClusters + tag_ / kExchangesALayer % 2 * kClusters) * kSourcePairs;
      store_tagged(own + buffer, sum.x, sum.y, tag_);
      sum = sum_over<kClusters, kSourcePairs>(at + buffer);
    } else {
      constexpr int kBuffer = (kHeadClusters + 2 * kClusters) * kSourcePairs;
      if (portions_.cluster == 0) store_tagged(at + kBuffer, sum.x, sum.y, tag_);
      if (helper) sum = sum_over<1, kSourcePairs>(at + kBuffer);
    }
#pragma unroll
    for (int to = 0; to < kBlocks; ++to)
      send(sum, sums_place() + r * kHidden + first, &memory_.gathers[kSums], to);
    const float squares = warp_sum(sum.x * sum.x + sum.y * sum.y);
    if (lane_ < kBlocks)
      send(squares, squares_place() + (r * kBlocks + portions_.rank) * kSumWarps + warp_ % kSumWarps,
           &memory_.gathers[kSums], lane_);
  }

  /// What kSources clusters have to come by this exchange, summed up in their order. `from`: the first's, of
  /// this lane; lanes have neighbours.
  template <int kSources, int kStride>
  __device__ __forceinline__ float2 sum_over(const TaggedPair* from) const {
    // Waiting for all of it at once would load the L2 cache as much as the weights do: a lane asks for one
    // pair of its source.
    const TaggedPair* const probe = from - lane_ + (kWarp - 1) + (lane_ < kSources ? lane_ : 0) * kStride;
    bool come = false;
    while (!__all_sync(0xffffffffU, come)) {
      const TaggedPair pair = load_tagged(probe);
      come = pair.first_tag == tag_ && pair.second_tag == tag_;
    }
    TaggedPair pairs[kSources];
    bool here = false;
    while (!here) {
      here = true;
#pragma unroll
      for (int c = 0; c < kSources; ++c) pairs[c] = load_tagged(from + c * kStride);
#pragma unroll
      for (const TaggedPair& pair : pairs) here = here && pair.first_tag == tag_ && pair.second_tag == tag_;
    }
    float2 sum{};
#pragma unroll
    for (const TaggedPair& pair : pairs) sum = plus(sum, {pair.first, pair.second});
    return sum;
  }

  // --- attention ---

  __device__ __forceinline__ void make_rotations() {
    constexpr int kKinds = kInSpans ? 1 : 2;  // full attention is another kernel's then
#pragma unroll 1
    for (int kind = 0; kind < kKinds; ++kind) {
      const int half = step_.head_dim[kind] / 2;
      for (int i = thread_; i < half; i += kWorkerThreads) {
        float sine = 0;
        float cosine = 0;
        sincosf(static_cast<float>(keys_.position) * step_.inv_freq[kind][i], &sine, &cosine);
        memory_.rotations[kind][i] = cosine;
        memory_.rotations[kind][half + i] = sine;
      }
    }
  }

  /// q of the cluster's head, of its row to every block; and k and v where the layer has them, to the block
  /// that has the newest key.
  __device__ __forceinline__ void send_queries(int head_dim, bool owns_kv) {
    const int width = head_dim / kBlocks;
    const int quads = width / 4;  // a power of two
    constexpr int kRowShift = kRows == 4 ? 2 : 0;
    static_assert(kRows == 1 << kRowShift && kBlocks == 8);
    const int quad_shift = head_dim == 512 ? 4 : 3;
    const int of_q = quads * kBlocks;
    static_assert(Shape::kMostHead / kBlocks / 4 * (kBlocks + 2 * kRows) <= kWorkerThreads);
    if (thread_ >= of_q + (owns_kv ? 2 * quads * kRows : 0)) return;
    const int i = thread_ < of_q ? thread_ : thread_ - of_q;
    const int each_shift = thread_ < of_q ? 3 : kRowShift;
    const int which = thread_ < of_q ? 0 : 1 + (i >> (each_shift + quad_shift));
    const int quad = (i >> each_shift) & (quads - 1);
    const int r = thread_ < of_q ? i % kBlocks / kSpans : i % kRows;
    const int block = thread_ < of_q ? i % kBlocks : (r + 1) * kSpans - 1;
    if (which > 0 && r >= step_.rows) return;
    send(times(total(r, which * width + quad * 4), inverse_rms(r)),
         memory_.queries + which * head_dim + portions_.rank * width + quad * 4, &memory_.gathers[kQueries],
         block);
  }

  /// The block's part of q, and of k and v, for another kernel.
  __device__ __forceinline__ void write_queries(int head_dim, bool owns_kv) {
    const int width = head_dim / kBlocks;
    const int quad_shift = head_dim == 512 ? 4 : 3;
    const int which = thread_ >> quad_shift;
    if (which >= (owns_kv && portions_.cluster == 0 ? 3 : 1)) return;  // all clusters have the same k and v
    const int at = portions_.rank * width + (thread_ & ((1 << quad_shift) - 1)) * 4;
    float* const to = which == 0 ? step_.q + portions_.cluster * head_dim : which == 1 ? step_.k : step_.v;
    const int stride = which == 0 ? Shape::kHeads * head_dim : head_dim;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (r < step_.rows)
        *reinterpret_cast<float4*>(to + r * stride + at) =
            times(total(r, which * width + at - portions_.rank * width), inverse_rms(r));
  }

  /// The head's attention that another kernel has computed, as combine_attention gives it.
  __device__ __forceinline__ void load_attended(int head_dim, float4 (&input)[kRows]) const {
    const float* const from = step_.attended + portions_.cluster * head_dim;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      input[r] = r < step_.rows
                     ? __ldcg(reinterpret_cast<const float4*>(from + r * Shape::kHeads * head_dim) +
                              head_quad(head_dim))
                     : float4{};
  }

  /// A warp's keys against the projected queries; its result to shared memory.
  template <int kHeadDim>
  __device__ __forceinline__ void attend(const PersistentLayer& layer, const LayerSizes& sizes) {
    const auto range = keys_.of(layer);
    LaneHead<kHeadDim> norm;
    norm.load(layer.q_norm, lane_);
    wait<kQueries>();
    LaneHead<kHeadDim> q;
    q.load(memory_.queries, lane_);
    q.normalize(step_.eps);
    q.multiply(norm);
    q.rotate(memory_.rotations[sizes.kind], lane_);
    q.scale(step_.attention_scale);

    WarpSoftmax<kHeadDim> softmax;
    constexpr int kMost = keys_in_chunk(kHeadDim);
    const bool newest = range.newest && warp_ == kWorkers - 1;
#pragma unroll 1
    for (int begin = range.begin; begin < range.end || newest; begin += kMost) {
      const bool older = begin < range.end;
      const uint4* k = memory_.newest[sizes.kind][0];
      const uint4* v = memory_.newest[sizes.kind][1];
      int count = 1;
      if (older) {
        const int all = min(kMost, range.end - begin);
        k = reinterpret_cast<const uint4*>(tape_.wait()) + warp_ * (kHeadDim / 8);
        v = k + all * (kHeadDim / 8);
        count = (all - warp_ + kWorkers - 1) / kWorkers;
      } else if (sizes.owns_kv) {
        make_newest<kHeadDim>(layer, sizes.kind);
      }
      if (count > 0) softmax.add(q, k + lane_, v + lane_, count);
      if (!older) break;
      tape_.pass(lane_);
    }
    if (sizes.owns_kv) worker_barrier();  // whose k and v went to another block may still be at their sums
    float* const mine = memory_.attention + warp_ * attention_stride(kHeadDim);
    softmax.acc.store(mine, lane_);
    if (lane_ == 0) *reinterpret_cast<float2*>(mine + kHeadDim) = {softmax.top, softmax.sum};
    worker_barrier();
  }

  /// k and v of the step's own token: to the cache, and to `newest` for the layers that share them.
  template <int kHeadDim>
  __device__ __forceinline__ void make_newest(const PersistentLayer& layer, int kind) {
    LaneHead<kHeadDim> k;
    LaneHead<kHeadDim> norm;
    LaneHead<kHeadDim> v;
    norm.load(layer.k_norm, lane_);
    k.load(memory_.queries + kHeadDim, lane_);
    v.load(memory_.queries + 2 * kHeadDim, lane_);
    k.normalize(step_.eps);
    k.multiply(norm);
    k.rotate(memory_.rotations[kind], lane_);
    if (layer.v_norm) v.normalize(step_.eps);
    const int64_t at = keys_.slot(layer, keys_.position) * (kHeadDim / 8) + lane_;
    uint4(*const kept)[Shape::kMostHead / 8] = memory_.newest[kind];
#pragma unroll
    for (int b = 0; b < kHeadDim / 256; ++b) {
      kept[0][b * kWarp + lane_] = pack(k.v[b]);
      kept[1][b * kWarp + lane_] = pack(v.v[b]);
      if (portions_.cluster != 0) continue;  // all clusters have the same
      reinterpret_cast<uint4*>(layer.k_cache)[at + b * kWarp] = pack(k.v[b]);
      reinterpret_cast<uint4*>(layer.v_cache)[at + b * kWarp] = pack(v.v[b]);
    }
    __syncwarp();
  }

  /// The warps' results as one, to every block of the cluster.
  __device__ __forceinline__ void share_attention(int head_dim) {
    // Half a warp of a small head sends the same values as the other half, to other blocks. Each warp sends
    // to its own block, too, which therefore has them all only when nobody reads memory_.attention any more.
    const int senders = head_dim == 512 ? 1 : 2;
    const int quads = kWarp / senders;  // of a warp
    if (thread_ >= 128) return;
    const int quad = warp_ * quads + (lane_ & (quads - 1));
    float2 tail{};
    const float4 value = merge<kWorkers>(memory_.attention, head_dim, quad, tail);
    float* const to = memory_.partials + portions_.rank * attention_stride(head_dim);
#pragma unroll 2
    for (int block = lane_ / 16 & (senders - 1); block < kBlocks; block += senders) {
      send(value, to + quad * 4, &memory_.gathers[kPartials], block);
      if (quad == 0) send(tail, to + head_dim, &memory_.gathers[kPartials], block);
    }
  }

  /// Four values of `count` partial results, and their top and sum.
  template <int kCount>
  __device__ __forceinline__ static float4 merge(const float* from, int head_dim, int quad, float2& tail) {
    const int stride = attention_stride(head_dim);
    float2 tails[kCount];
    float top = -INFINITY;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      tails[i] = *reinterpret_cast<const float2*>(from + i * stride + head_dim);
      top = fmaxf(top, tails[i].x);
    }
    float sum = 0;
    float4 value{};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float weight = softmax_weight(tails[i].x, top);
      sum = fmaf(weight, tails[i].y, sum);
      value = plus(value, times(quad_at(from + i * stride, quad), weight));
    }
    tail = {top, sum};
    return value;
  }

  /// The cluster's attention, as the output projection takes it: of a warp, a quarter of the head.
  __device__ __forceinline__ void combine_attention(int head_dim, float4 (&input)[kRows]) const {
    const int quad = head_quad(head_dim);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float2 tail{};
      const float4 value =
          merge<kSpans>(memory_.partials + r * kSpans * attention_stride(head_dim), head_dim, quad, tail);
      input[r] = r < step_.rows ? times(value, 1.0F / tail.y) : float4{};
    }
  }
  [[nodiscard]] __device__ __forceinline__ int head_quad(int head_dim) const {
    return head_dim == 512 ? warp_ % 4 * 32 + lane_ : warp_ % 4 * 16 + lane_ % 16;
  }

  // --- MLP and per-layer embedding ---

  static constexpr int kPleQuads = Shape::kPleDim / kBlocks / 4;

  /// gelu(gate) · up of the block's units, to the cluster. Where a row has lanes to spare, they do the same
  /// for other blocks: the sends take longer than the sums. Each warp sends to its own block, too, which
  /// therefore has them all only when nobody reads the shares any more.
  __device__ __forceinline__ void send_middle(int units) {
    constexpr int kSenders = kRows == 1 ? 4 : 2;
    constexpr int kQuads = kWarp / kSenders;  // of a warp
    const int r = warp_ / kSenders;
    const int o = 4 * (warp_ % kSenders * kQuads + lane_ % kQuads);
    if (r >= step_.rows || o >= units) return;
    const float inverse = inverse_rms(r);
    const int gate = (o - o % kTileRows) * 2 + o % kTileRows;  // ups lie between gates, a row tile each
    const float4 m = times(gelu(times(total(r, gate), inverse)), times(total(r, gate + kTileRows), inverse));
    const float* const to = memory_.middle + r * kMostUnits + portions_.rank * units + o;
#pragma unroll
    for (int i = 0; i < kBlocks / kSenders; ++i)
      send(m, to, &memory_.gathers[kMiddle], lane_ / kQuads * (kBlocks / kSenders) + i);
  }

  __device__ __forceinline__ void send_ple_middle(const float4& inputs) {
    if (warp_ >= step_.rows || lane_ >= kPleQuads) return;
    const float4 m = times(gelu(total(warp_, 4 * lane_)), inputs);
    const float* const to =
        memory_.ple_middle + warp_ * Shape::kPleDim + (portions_.rank * kPleQuads + lane_) * 4;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) send(m, to, &memory_.gathers[kPleMiddle], block);
  }

  __device__ __forceinline__ static float4 gelu(const float4& v) {
    return {gelu_tanh(v.x), gelu_tanh(v.y), gelu_tanh(v.z), gelu_tanh(v.w)};
  }

  /// The residual stream and, of the last span, its last norm; a slice from each block of the first cluster.
  __device__ __forceinline__ void write_result() {
    const bool mine = portions_.cluster == 0 && 4 * thread_ / kSlice == portions_.rank;
    if (mine) {
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        if (r < step_.rows) reinterpret_cast<float4*>(step_.x + int64_t{r} * kHidden)[thread_] = x_[r];
    }
    if (span_.end < step_.layer_count || span_.ends_projected) return;
    const float4 norm = quad_of(step_.final_norm);
    leave_squares();
    worker_barrier();
    if (!mine) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (r < step_.rows)
        reinterpret_cast<float4*>(step_.out + int64_t{r} * kHidden)[thread_] =
            times(times(x_[r], inverse_rms(r)), norm);
  }

  const PersistentStep& step_;
  const Portions portions_;
  const LayerSpan span_;
  const BlockKeys<kRows> keys_;
  Memory<kRows>& memory_;
  float* const second_sums_;
  TapeReader tape_;
  const int thread_, lane_, warp_;
  uint32_t tag_;         // exchanges between clusters so far
  uint32_t phases_ = 0;  // a bit a gather: the parity it is at
  int parts_ = 0;        // warps that shared the last product's columns
  float4 x_[kRows];
  float4 input_norm_{};  // of the next product of the residual stream
};

}  // namespace facet::cuda::persistent
