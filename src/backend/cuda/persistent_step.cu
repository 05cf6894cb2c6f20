#include <algorithm>

#include "backend/cuda/persistent_gathers.cuh"
#include "backend/cuda/persistent_tape.cuh"
#include "backend/cuda/persistent_worker.cuh"

namespace facet::cuda {
namespace {

using namespace persistent;

/// Of the parameters; as a constant, each lane would wait for the others.
__device__ void copy_layers(const PersistentStep& step, const LayerSpan& span, PersistentLayer* to) {
  static_assert(sizeof(PersistentLayer) % sizeof(uint64_t) == 0);
  const uint64_t* from = reinterpret_cast<const uint64_t*>(step.layers);
  asm("" : "+l"(from));  // a generic address, as the compiler sees it
  constexpr int kWords = sizeof(PersistentLayer) / sizeof(uint64_t);
  const int end =
      min(span.end + 1, step.layer_count) * kWords;  // the next layer's norm follows the last's sum
  for (int i = span.begin * kWords + static_cast<int>(threadIdx.x); i < end; i += kThreads)
    reinterpret_cast<uint64_t*>(to)[i] = from[i];
}

template <Codes kCodes, Codes kPleCodes, int kRows, bool kInSpans>
__global__ void __launch_bounds__(kThreads, 1)
    persistent_step_kernel(const __grid_constant__ PersistentStep step) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // registers can be moved between warps there only
  extern __shared__ __align__(128) std::byte shared[];
  auto& memory = *reinterpret_cast<Memory<kRows>*>(shared);
  if (threadIdx.x == 0) {
    memory.slots.init(kWorkers);
    for (uint64_t& gather : memory.gathers) barrier_init(&gather, 1);
    publish_barriers();
  }
  copy_layers(step, span_of<kInSpans>(step), memory.layers);
  cluster_barrier();
  const Portions portions{cluster_index(), cluster_rank()};
  std::byte* const ring = shared + kRingBegin<kRows>;
  uint32_t tag = 0;
  uint32_t laps = 0;
  if (threadIdx.x >= kWorkerThreads) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kWriterRegisters));
    if (threadIdx.x == kWorkerThreads)
      write_tape<kCodes, kPleCodes, kRows, kInSpans>(
          step, memory.layers, portions,
          TapeWriter(memory.slots, ring, static_cast<uint32_t>(kRingBytes<kRows>)));
    else if (threadIdx.x == kWorkerThreads + kWarp)
      expect_gathers<kRows, kInSpans>(step, memory, portions);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kWorkerRegisters));
    wait_for_previous();
    Worker<kCodes, kPleCodes, kRows, kInSpans> worker(step, portions, memory, ring);
    worker.run();
    tag = worker.tag();
    laps = worker.laps();
  }
  let_next_start();
  cluster_barrier();  // nobody's shared memory goes while others may still write to it
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  step.exchange->tag = tag;
  step.exchange->laps = laps;
#endif
}

struct Variant {
  Codes codes, ple_codes;
  int rows;
  void (*kernel)(PersistentStep);
  void (*kernel_in_spans)(PersistentStep);
  int ring_bytes;
};
template <Codes kCodes, Codes kPleCodes, int kRows>
constexpr Variant variant() {
  return {kCodes,
          kPleCodes,
          kRows,
          persistent_step_kernel<kCodes, kPleCodes, kRows, false>,
          persistent_step_kernel<kCodes, kPleCodes, kRows, true>,
          kRingBytes<kRows>};
}

const Variant* find_variant(const PersistentStep& step) noexcept {
  static constexpr Variant kVariants[] = {
      variant<Codes::kQ4, Codes::kQ8, 1>(), variant<Codes::kQ4, Codes::kQ8, 4>(),
      variant<Codes::kQ4, Codes::kQ4, 1>(), variant<Codes::kQ4, Codes::kQ4, 4>(),
      variant<Codes::kQ8, Codes::kQ8, 1>(), variant<Codes::kQ8, Codes::kQ8, 4>(),
  };
  for (const Variant& v : kVariants)
    if (v.codes == step.codes && v.ple_codes == step.ple_codes && step.rows <= v.rows) return &v;
  return nullptr;
}
/// A launch of some of the layers, or of all, for which there is one that need not ask.
auto kernel_of(const Variant& v, const PersistentStep& step) noexcept {
  return step.attended != nullptr ? v.kernel_in_spans : v.kernel;
}

LaunchShape launch_shape() {
  LaunchShape shape;
  shape.grid = kClusters * kBlocks;
  shape.threads = kThreads;
  shape.shared = kMostShared;
  shape.cluster = kBlocks;
  return shape;
}

}  // namespace

bool serves_persistent(const PersistentStep& step) noexcept {
  if (step.layer_count < 1 || step.layer_count > kPersistentLayers || step.rows < 1 ||
      step.rows > kPersistentRows)
    return false;
  for (int l = 0; l < step.layer_count; ++l) {
    const PersistentLayer& layer = step.layers[l];
    if ((layer.head_dim != 256 && layer.head_dim != 512) || layer.head_dim != step.head_dim[layer.kind()] ||
        (layer.ffn_dim != Shape::kFfnUnit && layer.ffn_dim != Shape::kMostFfn))
      return false;
  }
  const Variant* const v = find_variant(step);
  if (v == nullptr) return false;
  // A chunk has room, of two rows of tiles with their scales (an eighth more, at most).
  const auto chunk_bytes = [](Codes codes) {
    return 2 * kHidden / kTileColumns * tile_vectors(codes) * kWarp * static_cast<int>(sizeof(uint4)) * 9 / 8;
  };
  return v->ring_bytes >= std::max(chunk_bytes(step.codes), chunk_bytes(step.ple_codes)) &&
         resident_clusters(reinterpret_cast<const void*>(kernel_of(*v, step)), launch_shape()) >= kClusters;
}

void persistent_step(const PersistentStep& step, cudaStream_t stream) {
  launch_dependent(kernel_of(*find_variant(step), step), launch_shape(), stream, step);
}

}  // namespace facet::cuda
