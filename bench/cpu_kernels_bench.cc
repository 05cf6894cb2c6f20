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
#include "tensor/dtype.h"

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

/// Items of a prompt's last `rows` rows, eight query heads each, one after the other as a thread takes them.
void attend_prompt(benchmark::State& state, const KernelTable* kernels, int dim, int window, int context) {
  constexpr int kRows = 512;
  constexpr int kGroup = 8;
  constexpr int kItemRows = 32;
  constexpr int kQueries = kItemRows * kGroup;
  const int64_t width = int64_t{kGroup} * dim;
  const auto random = [](int64_t count) {
    std::mt19937 bits(1);
    std::vector<float> x(static_cast<size_t>(count));
    for (float& v : x) v = static_cast<float>(static_cast<int>(bits() % 255) - 127) / 256;
    return x;
  };
  const std::vector<float> q = random(kRows * width);
  std::vector<float> out(q.size());
  std::vector<uint16_t> k;
  for (const float v : random(int64_t{context} * dim)) k.push_back(f32_to_bf16(v));
  const std::vector<uint16_t> v = k;
  std::vector<int32_t> positions(kRows);
  std::vector<int32_t> pages(static_cast<size_t>(context / kPageSlots));
  for (int i = 0; i < kRows; ++i) positions[static_cast<size_t>(i)] = context - kRows + i;
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);

  PromptAttention a;
  a.row_stride = width;
  a.rows = kItemRows;
  a.group = kGroup;
  a.head_dim = dim;
  a.window = window;
  a.element = KvElement::kBF16;
  a.k = reinterpret_cast<const unsigned char*>(k.data());
  a.v = reinterpret_cast<const unsigned char*>(v.data());
  a.stride = int64_t{2} * dim;
  a.scale_stride = 1;
  a.pages = pages.data();
  a.ring = static_cast<int>(pages.size());
  constexpr int64_t kTiles = kQueries / kLanes;
  const int64_t registers = kTiles * (dim / 32) * 2;
  std::vector<Buffer> scratch;
  const auto carve = [&]<class T>(T*& place, int64_t bytes) {
    scratch.push_back(allocate_pages(static_cast<size_t>(bytes)));
    place = reinterpret_cast<T*>(scratch.back().get());
  };
  carve(a.scratch.queries, registers * kRegisterBytes);
  carve(a.scratch.scores, int64_t{2} * kPromptBlock * kLanes * 4);
  carve(a.scratch.weights, kTiles * (kPromptBlock / 32) * kRegisterBytes);
  carve(a.scratch.values, int64_t{kPromptBlock} / 32 * 2 * kRegisterBytes);
  carve(a.scratch.sums, registers * kRegisterBytes);
  for (float** place : {&a.scratch.top, &a.scratch.sum}) carve(*place, int64_t{kQueries} * 4);
  for (int32_t** place : {&a.scratch.first, &a.scratch.last}) carve(*place, int64_t{kQueries} * 4);

  double keys = 0;
  for (const int32_t p : positions) keys += window > 0 ? std::min(window, p + 1) : p + 1;
  for (auto _ : state) {
    for (int row = 0; row < kRows; row += kItemRows) {
      a.q = q.data() + row * width;
      a.out = out.data() + row * width;
      a.positions = positions.data() + row;
      kernels->attend_prompt(a);
    }
    benchmark::ClobberMemory();
  }
  state.counters["ops"] =
      benchmark::Counter(4.0 * keys * static_cast<double>(width) * static_cast<double>(state.iterations()),
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
  if (kernels->attend_prompt != nullptr)
    for (const auto& [dim, window] : {std::pair{256, 512}, {512, 0}})
      for (const int context : {512, 2048})
        benchmark::RegisterBenchmark(name(fmt::format("attend_prompt/{}/{}", dim, context)).c_str(),
                                     attend_prompt, kernels, dim, window, context)
            ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark(name("quantize").c_str(), quantize, kernels);
}

[[maybe_unused]] const bool kRegistered = [] {
  for (const KernelTable* kernels : available_kernels()) register_for(kernels);
  return true;
}();

}  // namespace
}  // namespace facet::cpu
