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
                                    Memory<kRows>& memory, const std::byte* ring)
      : step_(step),
        portions_(portions),
        span_(span_of<kInSpans>(step)),
        keys_(step, span_.begin, portions.rank),
        memory_(memory),
        tape_(memory.slots, ring, kRingBytes<kRows>),
        thread_(static_cast<int>(threadIdx.x)),
        lane_(thread_ % kWarp),
        warp_(__shfl_sync(0xffffffffU, thread_ / kWarp,
                          0)),  // the same for the whole warp, as the compiler sees
        tag_(*static_cast<const volatile uint32_t*>(&step.exchange->tag)),
        laps_(*static_cast<const volatile uint32_t*>(&step.exchange->laps)) {}

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

  /// For the next step.
  [[nodiscard]] __device__ uint32_t tag() const {
    return tag_;
  }
  [[nodiscard]] __device__ uint32_t laps() const {
    return laps_;
  }

 private:
  static constexpr int kSpans = BlockKeys<kRows>::kSpans;
  // Warps that share the columns of a product of the residual stream, and of the per-layer projection.
  static constexpr int kHiddenParts = tiling_of(kHidden / kTileColumns).column_warps;
  static constexpr int kPleParts = tiling_of(Shape::kPleDim / kTileColumns).column_warps;

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
    // (Not a switch, here and below: that would be a jump through a table.)
    if (phase < kGateUpPhase) {
      if (phase == kQkvPhase) {
        if (helper) return;
        row_tiles = sizes.head_dim / (kBlocks * kTileRows) * (sizes.owns_kv ? 3 : 1);
        normed_input(input);
      } else {
        column_tiles = sizes.head_dim / kTileColumns;
        post_norm = layer.post_attention_norm;
        next_norm = layer.pre_ffn_norm;
        if (!helper) attended_input(layer, sizes, input);
      }
    } else if (phase < kPleGatePhase) {
      if (phase == kGateUpPhase) {
        row_tiles = sizes.units / (kBlocks * kTileRows) * 2;
        normed_input(input);
      } else {
        column_tiles = sizes.units / kTileColumns;
        post_norm = layer.post_ffn_norm;
        wait<kMiddle>();
        load_columns(memory_.middle, kMostUnits, tiling_of(column_tiles), input);
      }
    } else if (phase == kPleGatePhase) {
      if (helper) return;
      row_tiles = Shape::kPleDim / (kBlocks * kTileRows);
      if (warp_ < step_.rows && lane_ < kPleQuads)
        ple_inputs =
            __ldcg(reinterpret_cast<const float4*>(layer.ple_inputs + int64_t{warp_} * step_.ple_stride) +
                   portions_.rank * kPleQuads + lane_);
      normed_input(input);
    } else {
      column_tiles = Shape::kPleDim / kTileColumns;
      post_norm = layer.post_ple_norm;
      next_norm = sizes.last ? nullptr : (&layer)[1].input_norm;
      if (!helper) {
        wait<kPleMiddle>();
        load_columns(memory_.ple_middle, Shape::kPleDim, tiling_of(column_tiles), input);
      }
    }

    const Tiling tiling = tiling_of(column_tiles);
    const bool multiplies = !helper || (phase != kOutPhase && phase != kPleProjectionPhase);
    const bool of_ple = phase >= kPleGatePhase;
    DigitTile x[2];
    const bool to_sum = phase == kOutPhase || phase == kDownPhase;
    const int which = phase == kOutPhase ? 0 : 1 + mlp_turn_;
    const bool adds = to_sum && multiplies && warp_ < kSumWarps * step_.rows;
    ulonglong2 added{};
    if (adds) added = __ldcg(added_place(which));
    if (of_norm) leave_squares();
    if (multiplies) make_digits(input, tiling.each, (of_ple ? kPleCodes : kCodes) == Codes::kQ4, x);
    if (phase == kQkvPhase) {  // what the next phase, or the next three, will ask for
      prefetch(layer.post_attention_norm);
      prefetch(layer.pre_ffn_norm);
    } else if (phase == kGateUpPhase) {
      prefetch(layer.post_ffn_norm);
      prefetch(layer.post_ple_norm);
      if (!sizes.last) prefetch((&layer)[1].input_norm);
    }
    if (multiplies) {
      if (kCodes == kPleCodes || !of_ple)
        product<kCodes>(x, row_tiles, tiling, of_ple ? step_.ple_group_shift : step_.group_shift);
      else
        product<kPleCodes>(x, row_tiles, tiling, step_.ple_group_shift);
    }

    if (phase == kQkvPhase) {
      if (sizes.projected)
        write_queries(sizes.head_dim, sizes.owns_kv);
      else
        send_queries(sizes.head_dim, sizes.owns_kv);
      return;
    }
    if (phase % 2 == 0) {  // whose result the cluster needs
      if (phase == kGateUpPhase)
        send_middle(sizes.units / kBlocks);
      else
        send_ple_middle(ple_inputs);
      return;
    }
    if (to_sum) {
      laps_ ^= ((1U << step_.rows) - 1) << which * kPersistentRows;
      if (adds) add_up(which, added);
    } else {
      ++tag_;
      if (!helper) send_ple();
    }
    const float4 post = quad_of(post_norm);
    input_norm_ = quad_of(next_norm);
    float4 y[kRows];
    if (to_sum) {
      receive_sums(which, y);
      if (phase == kDownPhase) mlp_turn_ ^= 1;
    } else if (helper) {
      receive_ple(y);
    } else {
      wait<kSums>();
#pragma unroll
      for (int r = 0; r < kRows; ++r) y[r] = quad_at(memory_.sums + r * kHidden, thread_);
    }
    add_normed(y, post, phase == kPleProjectionPhase ? layer.layer_scalar : 1.0F);
  }

  // --- between blocks ---

  template <Gather kGather>
  __device__ __forceinline__ void wait() {
    barrier_wait(&memory_.gathers[kGather], static_cast<int>(phases_ >> kGather & 1));
    phases_ ^= 1U << kGather;
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
    const uint32_t chunk_bytes = tiling.chunk_rows() * (row_bytes + pair_bytes);
    if (group >= tiling.groups) {  // idle
#pragma unroll 1
      for (int i = 0; i < row_tiles; i += tiling.chunk_rows()) tape_.pass(lane_, chunk_bytes);
      return;
    }

    Tile<kKind> tiles[2][kEach];
    const auto load = [&] {
      const std::byte* const chunk = tape_.wait(chunk_bytes);
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
      tape_.pass(lane_, chunk_bytes);
      // The next ones come while the tensor cores are at these.
      if (i + tiling.chunk_rows() < row_tiles) load();
      if constexpr (kRows == 1) {  // and not behind the sums; with more rows there are no registers for it
#pragma unroll
        for (int p = 0; p < 2 * kEach * 4; ++p)
          asm volatile("" : "+r"(products[p / 4 / kEach][p / 4 % kEach][p % 4]));
      }
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
  /// halves of the warp have all.
  __device__ __forceinline__ void make_digits(const float4 (&input)[kRows], int each, bool nibbles,
                                              DigitTile (&x)[2]) {
    using Layout = Digits<kRows>;
    uint4* const digits = memory_.digits[warp_];
    const int row = lane_ % 4 % kRows;
    uint4* const to = digits + (each == 2 ? lane_ / 16 * 4 : 0);
    __syncwarp();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const LaneDigits mine(input[r]);
      uint4* const high = to + 2 * r * Layout::kStride;
      mine.leave(nibbles, lane_, high, high + Layout::kStride);
      const int all = __reduce_add_sync(0xffffffffU, mine.sum);
      const int low_half = __reduce_add_sync(0xffffffffU, lane_ < 16 ? mine.sum : 0);
      if (row == r) {
        x[0].scale = x[1].scale = mine.scale;
        x[0].sum = static_cast<float>(low_half);
        x[1].sum = static_cast<float>(all - low_half);
      }
    }
    __syncwarp();
#pragma unroll
    for (int c = 0; c < 2; ++c)
      x[c].digits = digits[lane_ / 4 % Layout::kColumns * Layout::kStride + 4 * c + lane_ % 4];
  }

  /// Outputs from o on of the last product, whose columns kParts warps shared, for activation row r: four, or
  /// two. (A number known only at run time would have the loads wait for each other.)
  template <int kParts, class Vector = float4>
  [[nodiscard]] __device__ __forceinline__ Vector total(int r, int o) const {
    const float* const from = memory_.shares + r * kShareStride + o;
    Vector parts[kParts];
#pragma unroll
    for (int p = 0; p < kParts; ++p)
      parts[p] = *reinterpret_cast<const Vector*>(from + p * kRows * kShareStride);
    Vector sum = parts[0];
#pragma unroll
    for (int p = 1; p < kParts; ++p) sum = plus(sum, parts[p]);
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
    return reciprocal_root(sum * kOfHidden + step_.eps);
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

  /// Weights that quad_of will ask for.
  __device__ __forceinline__ void prefetch(const float* weights) const {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(weights + 4 * thread_));
  }

  /// The residual stream's sums of squares, for inverse_rms behind the next product.
  __device__ __forceinline__ void leave_squares() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float squares = warp_sum(sum_of_squares(x_[r]));
      if (lane_ == 0) memory_.squares_of_x[r * kWorkers + warp_] = squares;
    }
  }

  /// x = (x + rms(y) · post) · scale. A barrier of the workers.
  __device__ __forceinline__ void add_normed(const float4 (&y)[kRows], const float4& post, float scale) {
    float* const all_squares = memory_.squares_of_sums[turn_];
    turn_ ^= 1;  // whoever is late may still be reading the last ones
    float squares[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) squares[r] = sum_of_squares(y[r]);
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2)
#pragma unroll
      for (float& square : squares) square += __shfl_xor_sync(0xffffffffU, square, offset);
    if (lane_ == 0) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) all_squares[r * kWorkers + warp_] = squares[r];
    }
    worker_barrier();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= step_.rows) continue;
      const float inverse = inverse_rms_of<kWorkers>(all_squares + r * kWorkers);
      x_[r] = times(plus(x_[r], times(times(y[r], inverse), post)), scale);
    }
  }

  // --- between clusters ---
  //
  // A sum's columns lie by 64, even ones before odd ones: a lane that adds has a pair, and neighbours add to
  // neighbours.

  /// Of the block's slice, what this lane has added to a sum the last time: a row to kSumWarps warps.
  [[nodiscard]] __device__ __forceinline__ ulonglong2* added_place(int which) const {
    return reinterpret_cast<ulonglong2*>(step_.exchange->added[which][portions_.cluster][warp_ / kSumWarps] +
                                         portions_.rank * kSlice + warp_ % kSumWarps * kPairColumns) +
           lane_;
  }

  /// Adds the block's part of its slice to a sum.
  __device__ __forceinline__ void add_up(int which, const ulonglong2& added) const {
    const int r = warp_ / kSumWarps;
    const int first = warp_ % kSumWarps * kPairColumns;
    const int o = first + 2 * lane_;
    float2 v;
    if (parts_ < 8)
      v = parts_ < 6 ? total<4, float2>(r, o) : total<6, float2>(r, o);
    else
      v = parts_ == 8 ? total<8, float2>(r, o) : total<kWorkers, float2>(r, o);
    const uint32_t lap = laps_ >> (which * kPersistentRows + r) & 1;
    const ulonglong2 now{fixed_word(v.x, lap), fixed_word(v.y, lap)};
    uint64_t* const to = step_.exchange->sums[which][r] + portions_.rank * kSlice + first + lane_;
    add_later(to, now.x - added.x);
    add_later(to + kWarp, now.y - added.y);
    *added_place(which) = now;
  }

  /// A sum's columns that this thread has, once all clusters have added theirs.
  __device__ __forceinline__ void receive_sums(int which, float4 (&y)[kRows]) const {
    const uint64_t* const from =
        step_.exchange->sums[which][0] + thread_ / 16 * kPairColumns + thread_ % 16 * 2;
    const uint32_t all = which == 0 ? kHeadClusters : kClusters;
    const auto expected = [&](int r) {
      return r < step_.rows && (laps_ >> (which * kPersistentRows + r) & 1) != 0 ? all : 0U;
    };
    // All that wait long for all of it would load the L2 cache as much as the weights do. (Head clusters of
    // several rows wait less long, and gain by asking for the first row at once.)
    if (kRows == 1 || portions_.helper()) {
      const bool asks = lane_ % 16 == 15;
      bool come = !asks;
      while (!__all_sync(0xffffffffU, come)) {
        if (asks) come = arrivals(load_sums(from + kWarp).y) == expected(0);
      }
    }
    // The other rows are there when the first is, as a rule.
    receive_rows<0, 1>(from, expected, y);
    if constexpr (kRows > 1) receive_rows<1, kRows>(from, expected, y);
  }
  template <int kBegin, int kEnd, class Expected>
  __device__ __forceinline__ void receive_rows(const uint64_t* from, const Expected& expected,
                                               float4 (&y)[kRows]) const {
    ulonglong2 even[kEnd - kBegin];
    ulonglong2 odd[kEnd - kBegin];
    bool here = false;
    while (!__all_sync(0xffffffffU, here)) {
#pragma unroll
      for (int i = 0; i < kEnd - kBegin; ++i) {
        even[i] = odd[i] = {};
        if (kBegin + i >= step_.rows) continue;
        even[i] = load_sums(from + (kBegin + i) * kHidden);
        odd[i] = load_sums(from + (kBegin + i) * kHidden + kWarp);
      }
      uint32_t missing = 0;
#pragma unroll
      for (int i = 0; i < kEnd - kBegin; ++i) {
        const uint32_t count = expected(kBegin + i);
        missing |= (arrivals(even[i].x) ^ count) | (arrivals(even[i].y) ^ count) |
                   (arrivals(odd[i].x) ^ count) | (arrivals(odd[i].y) ^ count);
      }
      here = missing == 0;
    }
#pragma unroll
    for (int i = 0; i < kEnd - kBegin; ++i)
      y[kBegin + i] = {fixed_value(even[i].x), fixed_value(odd[i].x), fixed_value(even[i].y),
                       fixed_value(odd[i].y)};
  }

  /// The per-layer embedding, which every head cluster has whole: to the cluster, and from the first one to
  /// the helpers.
  __device__ __forceinline__ void send_ple() {
    const int quad = thread_ / kBlocks;
    const int block = thread_ % kBlocks;
    const int first = portions_.rank * kSlice + 4 * quad;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r >= step_.rows) continue;
      const float4 v = total<kPleParts>(r, 4 * quad);
      send(v, memory_.sums + r * kHidden + first, &memory_.gathers[kSums], block);
      if (portions_.cluster != 0 || block != 0) continue;
      store_tagged(step_.exchange->ple[r] + first / 2, v.x, v.y, tag_);
      store_tagged(step_.exchange->ple[r] + first / 2 + 1, v.z, v.w, tag_);
    }
  }
  __device__ __forceinline__ void receive_ple(float4 (&y)[kRows]) const {
    // Asking all the time for all of it would load the L2 cache as much as the weights do.
    const bool asks = lane_ == kWarp - 1;
    bool come = !asks;
    while (!__all_sync(0xffffffffU, come)) {
      if (asks) come = load_tagged(step_.exchange->ple[0] + 2 * thread_ + 1).second_tag == tag_;
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      y[r] = {};
      if (r >= step_.rows) continue;
      const TaggedPair* const from = step_.exchange->ple[r] + 2 * thread_;
      bool here = false;
      while (!__all_sync(0xffffffffU, here)) {
        const TaggedPair a = load_tagged(from);
        const TaggedPair b = load_tagged(from + 1);
        here = a.first_tag == tag_ && a.second_tag == tag_ && b.first_tag == tag_ && b.second_tag == tag_;
        y[r] = {a.first, a.second, b.first, b.second};
      }
    }
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
    send(times(total<kHiddenParts>(r, which * width + quad * 4), inverse_rms(r)),
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
            times(total<kHiddenParts>(r, which * width + at - portions_.rank * width), inverse_rms(r));
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

  /// The head's attention, as the output projection takes it.
  __device__ __forceinline__ void attended_input(const PersistentLayer& layer, const LayerSizes& sizes,
                                                 float4 (&input)[kRows]) {
    if (sizes.attended) return load_attended(sizes.head_dim, input);
    if (sizes.head_dim == 256)
      attend<256>(layer, sizes);
    else
      attend<512>(layer, sizes);
    share_attention(sizes.head_dim);
    wait<kPartials>();
    combine_attention(sizes.head_dim, input);
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
      uint32_t bytes = 0;
      if (older) {
        const int all = min(kMost, range.end - begin);
        bytes = all * 2 * kHeadDim * 2;
        k = reinterpret_cast<const uint4*>(tape_.wait(bytes)) + warp_ * (kHeadDim / 8);
        v = k + all * (kHeadDim / 8);
        count = (all - warp_ + kWorkers - 1) / kWorkers;
      } else if (sizes.owns_kv) {
        make_newest<kHeadDim>(layer, sizes.kind);
      }
      if (count > 0) softmax.add(q, k + lane_, v + lane_, count);
      if (!older) break;
      tape_.pass(lane_, bytes);
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
    float top = kLeastTop;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      tails[i] = *reinterpret_cast<const float2*>(from + i * stride + head_dim);
      top = fmaxf(top, tails[i].x);
    }
    float sum = 0;
    float4 value{};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float weight = weight_below(tails[i].x, top);
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
      input[r] = r < step_.rows ? times(value, reciprocal(tail.y)) : float4{};
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
    const float4 m = times(gelu(times(total<kHiddenParts>(r, gate), inverse)),
                           times(total<kHiddenParts>(r, gate + kTileRows), inverse));
    const float* const to = memory_.middle + r * kMostUnits + portions_.rank * units + o;
#pragma unroll
    for (int i = 0; i < kBlocks / kSenders; ++i)
      send(m, to, &memory_.gathers[kMiddle], lane_ / kQuads * (kBlocks / kSenders) + i);
  }

  __device__ __forceinline__ void send_ple_middle(const float4& inputs) {
    if (warp_ >= step_.rows || lane_ >= kPleQuads) return;
    const float4 m = times(gelu(total<kHiddenParts>(warp_, 4 * lane_)), inputs);
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
  TapeReader tape_;
  const int thread_, lane_, warp_;
  uint32_t tag_, laps_;  // of ClusterExchange
  uint32_t phases_ = 0;  // a bit a gather: the parity it is at
  int turn_ = 0;         // the next of two squares_of_sums
  int mlp_turn_ = 0;     // the next of the MLP's two sums
  int parts_ = 0;        // warps that shared the last product's columns
  float4 x_[kRows];
  float4 input_norm_{};  // of the next product of the residual stream
};

}  // namespace facet::cuda::persistent
