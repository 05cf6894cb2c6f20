// What a parallel region costs: alone on the cores, and beside threads that never rest.
#include <benchmark/benchmark.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace facet {
namespace {

/// Threads that want a core each for as long as they live.
class Rivals {
 public:
  explicit Rivals(int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      threads_.emplace_back([this] {
        while (!stop_.load(std::memory_order_relaxed)) {
        }
      });
  }
  ~Rivals() {
    stop_ = true;
    for (std::thread& t : threads_) t.join();
  }
  Rivals(const Rivals&) = delete;
  Rivals& operator=(const Rivals&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

/// A region as a decode step of a small model has them: 20 µs of work divided among the team, and a barrier
/// in the middle. Arguments: threads, rivals.
void region(benchmark::State& state) {
  constexpr int kWork = 40000;  // dependent additions
  const Rivals rivals(state.range(1));
  ThreadPool pool(static_cast<int>(state.range(0)));
  const auto half = [&] {
    uint32_t sum = 0;
    for (int i = 0; i < kWork / 2 / pool.team(); ++i) benchmark::DoNotOptimize(sum += 1);
  };
  for (auto _ : state)
    pool.run([&](int thread) noexcept {
      half();
      pool.barrier(thread);
      half();
    });
}
BENCHMARK(region)
    ->ArgNames({"threads", "rivals"})
    ->ArgsProduct({{1, 2}, {0, 1, 2}})
    ->UseRealTime()
    ->MinTime(2)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace facet
