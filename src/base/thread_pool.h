// Threads that run one function together, for kernels that last microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace facet {

/// Cores that this process may use: its affinity mask, capped by the cgroup's CPU quota (rounded down, at
/// least 1).
[[nodiscard]] int usable_cores() noexcept;

/// Divides [0, count) into `parts` contiguous ranges whose lengths differ by at most one.
struct StaticRange {
  int64_t begin = 0;
  int64_t end = 0;
};
[[nodiscard]] constexpr StaticRange static_range(int64_t count, int part, int parts) noexcept {
  return {count * part / parts, count * (part + 1) / parts};
}

/// A fixed team: the caller is thread 0, the others wait for work by spinning for a while (a decode step
/// starts hundreds of regions a few microseconds apart) and then asleep on a futex. Spinning is bounded, so
/// two pools on the same cores cost each other at most that long. One caller at a time.
class ThreadPool {
 public:
  /// `threads` 0: one a usable core. Throws std::system_error when a thread cannot be started.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Calls body(thread) once on each thread, thread in [0, size()), and returns when all have. `body` must
  /// not throw and must not call run().
  template <class Body>
  void run(Body&& body) noexcept {
    using Plain = std::remove_reference_t<Body>;
    start([](void* context, int thread) noexcept { (*static_cast<Plain*>(context))(thread); },
          const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Inside run(): waits until every thread is here. What any wrote before, all see after.
  void barrier() noexcept;

 private:
  using Entry = void (*)(void* context, int thread) noexcept;
  void start(Entry entry, void* context) noexcept;
  void stop() noexcept;
  void work(int thread) noexcept;

  static constexpr size_t kCacheLine = 64;

  alignas(kCacheLine) std::atomic<uint32_t> barrier_epoch_{0};
  alignas(kCacheLine) std::atomic<int> barrier_arrived_{0};
  // Bumped to start a region; what the region is lies on the same line.
  alignas(kCacheLine) std::atomic<uint32_t> generation_{0};
  bool stopping_ = false;
  Entry entry_ = nullptr;
  void* context_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace facet
