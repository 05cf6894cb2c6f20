// The CUDA backend's large kernels at E2B's shapes, timed by events on the device: products of a prompt's
// chunk, and attention of a chunk over what came before it.
#include <benchmark/benchmark.h>
#include <cuda_runtime_api.h>

#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/flash_attention.h"
#include "backend/cuda/matrix_library.h"
#include "base/error.h"

namespace facet {
namespace {

/// Device memory, filled with small random bf16 values: zeros would run faster than real data.
class DeviceArray {
 public:
  explicit DeviceArray(int64_t values) : memory_(cuda::allocate(static_cast<size_t>(2 * values))) {
    std::vector<uint16_t> block(1 << 20);
    std::mt19937 random(1);
    // Signs and mantissas at random, exponents of 2^-4 to 2^-1.
    for (uint16_t& v : block) {
      const auto bits = static_cast<uint32_t>(random());
      v = static_cast<uint16_t>((bits & 0x807fU) | (123U + (bits >> 16 & 3U)) << 7);
    }
    for (int64_t at = 0; at < values; at += static_cast<int64_t>(block.size()))
      cuda::check(
          cudaMemcpy(static_cast<uint16_t*>(memory_) + at, block.data(),
                     2 * std::min(block.size(), static_cast<size_t>(values - at)), cudaMemcpyHostToDevice),
          "filling memory");
  }
  explicit DeviceArray(const std::vector<int32_t>& values) : memory_(cuda::allocate(values.size() * 4)) {
    cuda::check(cudaMemcpy(memory_, values.data(), values.size() * 4, cudaMemcpyHostToDevice),
                "filling memory");
  }
  ~DeviceArray() { (void)cudaFree(memory_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  template <class T = void>
  [[nodiscard]] T* get() const noexcept {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_;
};

/// Times `launch(stream)` with events.
template <class Launch>
void time_on_device(benchmark::State& state, double operations, Launch launch) {
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  (void)cudaEventCreate(&start);
  (void)cudaEventCreate(&end);
  launch();
  for (auto _ : state) {
    (void)cudaEventRecord(start);
    launch();
    (void)cudaEventRecord(end);
    (void)cudaEventSynchronize(end);
    float ms = 0;
    (void)cudaEventElapsedTime(&ms, start, end);
    state.SetIterationTime(static_cast<double>(ms) * 1e-3);
  }
  (void)cudaEventDestroy(start);
  (void)cudaEventDestroy(end);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess)
    state.SkipWithError(cudaGetErrorString(error));
  state.counters["op/s"] = benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate,
                                              benchmark::Counter::kIs1000);
}

bool no_gpu(benchmark::State& state) {
  try {
    (void)cuda::open_device();
    return false;
  } catch (const Error& error) {
    state.SkipWithError(error.what());
    return true;
  }
}

/// Arguments: rows, outputs, columns.
void product(benchmark::State& state) {
  if (no_gpu(state)) return;
  const auto library = cuda::MatrixLibrary::open();
  if (library == nullptr) {
    state.SkipWithError("cuBLASLt is not installed");
    return;
  }
  const int64_t rows = state.range(0);
  const int64_t out = state.range(1);
  const int64_t cols = state.range(2);
  const DeviceArray x(rows * cols);
  const DeviceArray w(out * cols);
  const DeviceArray y(rows * out);
  time_on_device(state, 2.0 * static_cast<double>(rows * out * cols), [&] {
    if (!library->multiply({w.get(), x.get(), rows, out, cols, y.get(), out, true}, nullptr))
      state.SkipWithError("cuBLASLt has no kernel for this shape");
  });
}
BENCHMARK(product)
    ->ArgNames({"rows", "out", "cols"})
    ->ArgsProduct({{2048, 4096, 8192}, {2560, 12288}, {1536}})  // q, k and v; gate and up
    ->ArgsProduct({{2048, 4096, 8192}, {1536}, {2048, 6144}})   // attention's output; down
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

/// Attention of 8 query heads on one key/value head. Arguments: head_dim, window (0: full), rows, tokens
/// before them, and whether by the kernel for Hopper.
void attention(benchmark::State& state) {
  if (no_gpu(state)) return;
  const bool hopper = state.range(4) != 0;
  if (hopper && !cuda::open_device().hopper()) {
    state.SkipWithError("not a Hopper GPU");
    return;
  }
  const auto dim = static_cast<int>(state.range(0));
  const auto window = static_cast<int>(state.range(1));
  const auto count = static_cast<int>(state.range(2));
  const auto before = static_cast<int>(state.range(3));
  constexpr int kHeads = 8;
  const int stride = (before + count + kPageTokens - 1) / kPageTokens;
  std::vector<int32_t> positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), before);
  std::vector<int32_t> table(static_cast<size_t>(stride));
  std::iota(table.begin(), table.end(), 0);
  double keys = 0;
  for (const int p : positions) keys += window > 0 ? std::min(p + 1, window) : p + 1;

  const DeviceArray q(int64_t{count} * kHeads * dim);
  const DeviceArray out(int64_t{count} * kHeads * dim);
  const DeviceArray k(int64_t{stride} * kPageTokens * dim);
  const DeviceArray v(int64_t{stride} * kPageTokens * dim);
  const DeviceArray at(positions);
  const DeviceArray sequences(std::vector<int32_t>(positions.size(), 0));
  const DeviceArray pages(table);
  const AttentionShape shape{dim, kHeads, 1, window, 1, nullptr};
  const KvView kv{KvType::kBF16,        1,     dim, k.get<std::byte>(), v.get<std::byte>(), nullptr, nullptr,
                  pages.get<int32_t>(), stride};
  const Rows rows{count, nullptr, at.get<int32_t>(), sequences.get<int32_t>()};
  time_on_device(state, 4.0 * keys * kHeads * dim, [&] {
    (hopper ? cuda::flash_attend_hopper : cuda::flash_attend)(q.get(), rows, shape, kv, out.get(), nullptr);
  });
}
BENCHMARK(attention)
    ->ArgNames({"dim", "window", "rows", "before", "hopper"})
    ->ArgsProduct({{256}, {512}, {2048, 8192}, {0, 6144}, {0, 1}})
    ->ArgsProduct({{512}, {0}, {2048, 8192}, {0, 6144}, {0, 1}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace facet
