// One thread's kernels on every instruction set this machine has. Weights are cold: each call takes the next
// of enough copies to fall out of every cache, as in a decode step, where all weights stream by once.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/packed_weight.h"

namespace facet::cpu {
namespace {

constexpr int64_t kCold = int64_t{256} << 20;  // bytes: beyond any cache of these machines

/// Packed tiles of random content for `rows` × `cols`, as many copies as make kCold, or one.
struct Tiles {
  PackedMatrix matrix;
  Buffer memory;
  int64_t bytes = 0;
  int64_t copies = 1;

  Tiles(TileKind kind, int64_t rows, int64_t cols, bool cold) {
    constexpr int kGroup = 64;
    matrix.kind = kind;
    matrix.rows = rows;
    matrix.cols = cols;
    if (kind == TileKind::kQ4 || kind == TileKind::kQ8) {
      matrix.group = kGroup;
      matrix.tile_bytes = cols / kGroup * (64 + (kind == TileKind::kQ4 ? 8 : 16) * 64);
    } else {
      matrix.tile_bytes = cols * kTileRows * (kind == TileKind::kF32 ? 4 : 2);
    }
    bytes = rows / kTileRows * matrix.tile_bytes;
    copies = cold ? (kCold + bytes - 1) / bytes : 1;
    memory = allocate_pages(static_cast<size_t>(bytes * copies));
    // Any bits are codes; 0x3c.. as bf16 scales and weights are small numbers.
    std::memset(memory.get(), 0x3c, static_cast<size_t>(bytes * copies));
  }
  const PackedMatrix& copy(int64_t i) {
    matrix.data = reinterpret_cast<const unsigned char*>(memory.get()) + i % copies * bytes;
    return matrix;
  }
};

/// `rows` rows of activations in both forms.
struct RandomActivations {
  Buffer memory;  // aligned, and in large pages, as the backend's is
  Activations view;

  RandomActivations(int rows, int64_t cols) {
    const int64_t count = rows * cols;
    memory = allocate_pages(static_cast<size_t>(count * 4 + count + count / 64 * 8));
    auto* x = reinterpret_cast<float*>(memory.get());
    auto* codes = reinterpret_cast<int8_t*>(x + count);
    auto* scales = reinterpret_cast<float*>(codes + count);
    float* sums = scales + count / 64;
    std::mt19937 random(1);
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
      x[i] = static_cast<float>(codes[i]) / 64;
    }
    std::fill_n(scales, count / 64, 0.02F);
    std::fill_n(sums, count / 64, 0.1F);
    view.x = x;
    view.codes = codes;
    view.scales = scales;
    view.sums = sums;
    view.stride = cols;
    view.groups = cols / 64;
    view.rows = rows;
  }
};

void product(benchmark::State& state, const KernelTable* kernels, TileKind kind, int64_t out, int64_t cols,
             int rows, bool cold) {
  Tiles tiles(kind, out, cols, cold);
  const RandomActivations a(rows, cols);
  const Buffer outputs = allocate_pages(static_cast<size_t>(out * rows) * 4);
  auto* y = reinterpret_cast<float*>(outputs.get());
  const Buffer panel = allocate_pages(kPanelBytes);
  constexpr int64_t kBlock = 64;  // outputs at a time, as the backend calls it for many rows
  int64_t copy = 0;
  for (auto _ : state) {
    const PackedMatrix& w = tiles.copy(copy++);
    const int64_t step = rows > kernels->sweep_rows ? kBlock : out;
    for (int64_t row = 0; row < out; row += step)
      kernels->product({&w, &a.view, row, std::min(row + step, out), y + row * rows, step,
                        reinterpret_cast<unsigned char*>(panel.get())});
    benchmark::ClobberMemory();
  }
  using benchmark::Counter;
  const double calls = static_cast<double>(state.iterations());
  state.counters["weights"] =
      Counter(static_cast<double>(tiles.bytes) * calls, Counter::kIsRate, Counter::kIs1000);
  state.counters["ops"] =
      Counter(2.0 * static_cast<double>(out * cols) * rows * calls, Counter::kIsRate, Counter::kIs1000);
}

void attend(benchmark::State& state, const KernelTable* kernels, int dim, int queries) {
  constexpr int kPages = 8;
  const size_t page_bytes = static_cast<size_t>(kPageSlots * dim * 2);
  std::vector<unsigned char> k(kPages * page_bytes, 0x3c);
  const std::vector<unsigned char> v = k;
  const auto floats = static_cast<size_t>(queries * dim);
  const std::vector<float> q(floats, 0.01F);
  std::vector<float> acc(floats);
  std::vector<float> weights(static_cast<size_t>(queries) * kPageSlots);
  std::vector<float> rows(static_cast<size_t>(16 * dim));
  const auto count = static_cast<size_t>(queries);
  std::vector<float> top(count, -1e30F);
  std::vector<float> sum(count);
  const std::vector<int32_t> first(count, 0);
  const std::vector<int32_t> last(count, kPages * kPageSlots);
  const AttentionState a{queries,    dim,        dim,        q.data(),       first.data(), last.data(),
                         top.data(), sum.data(), acc.data(), weights.data(), rows.data()};
  for (auto _ : state) {
    for (int p = 0; p < kPages; ++p) {
      KvPage page;
      page.element = KvElement::kBF16;
      page.k = k.data() + static_cast<size_t>(p) * page_bytes;
      page.v = v.data() + static_cast<size_t>(p) * page_bytes;
      page.stride = int64_t{2} * dim;
      page.position = p * kPageSlots;
      page.end = kPageSlots;
      kernels->attend_page(a, page);
    }
    benchmark::ClobberMemory();
  }
  state.counters["ops"] = benchmark::Counter(
      4.0 * kPages * kPageSlots * static_cast<double>(floats) * static_cast<double>(state.iterations()),
      benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

void quantize(benchmark::State& state, const KernelTable* kernels) {
  constexpr int64_t kCols = 6144;
  const RandomActivations a(1, kCols);
  std::vector<int8_t> codes(kCols);
  std::vector<float> scales(kCols / 64);
  std::vector<float> sums(kCols / 64);
  for (auto _ : state) {
    kernels->quantize_row(a.view.x, kCols, kCols, 64, 1e30F, codes.data(), scales.data(), sums.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(kCols * state.iterations());
}

const char* kind_name(TileKind kind) {
  switch (kind) {
    case TileKind::kF32: return "f32";
    case TileKind::kF16: return "f16";
    case TileKind::kBF16: return "bf16";
    case TileKind::kQ4: return "q4";
    case TileKind::kQ8: return "q8";
  }
  return "?";
}

void register_for(const KernelTable* kernels) {
  const auto name = [&](const std::string& what) { return fmt::format("{}/{}", kernels->name, what); };
  for (const TileKind kind : {TileKind::kQ4, TileKind::kQ8, TileKind::kBF16}) {
    for (const int rows : {1, 4, 8, 16, 24, 128, 512})
      benchmark::RegisterBenchmark(
          name(fmt::format("product/{}/2048x1536x{}", kind_name(kind), rows)).c_str(), product, kernels, kind,
          2048, 1536, rows, true)
          ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(name(fmt::format("product/{}/1536x6144x128", kind_name(kind))).c_str(),
                                 product, kernels, kind, 1536, 6144, 128, true)
        ->Unit(benchmark::kMicrosecond);
    benchmark::RegisterBenchmark(name(fmt::format("product/{}/256x1536x1/warm", kind_name(kind))).c_str(),
                                 product, kernels, kind, 256, 1536, 1, false)
        ->Unit(benchmark::kMicrosecond);
  }
  for (const auto& [dim, queries] : {std::pair{256, 8}, {512, 8}, {256, 32}, {512, 32}})
    benchmark::RegisterBenchmark(name(fmt::format("attend/{}x{}", dim, queries)).c_str(), attend, kernels,
                                 dim, queries)
        ->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark(name("quantize").c_str(), quantize, kernels);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const KernelTable* kernels : available_kernels()) register_for(kernels);
  return true;
}();

}  // namespace
}  // namespace facet::cpu
