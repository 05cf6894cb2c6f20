// Threads that run one function together, for kernels that last microseconds.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/team_size.h"

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

/// The caller is thread 0; the others wait for work by spinning for a while (a decode step starts hundreds of
/// regions a few microseconds apart) and then asleep on a futex. Spinning is bounded, and a region is given
/// fewer threads while the cores are wanted elsewhere (TeamSize), so pools that share cores, or one beside
/// other programs, do not wait for threads that are not running. One caller at a time.
class ThreadPool {
 public:
  /// `threads` 0: one a usable core. Throws std::system_error when a thread cannot be started.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// The most threads a region can have.
  [[nodiscard]] int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }
  /// Inside run(): the threads of this region, 1 … size(). Outside: of the next.
  [[nodiscard]] int team() const noexcept { return team_; }
  /// The threads that the next region of units is offered to.
  [[nodiscard]] int unit_team() const noexcept { return unit_size_.get(); }

  /// Calls body(thread) once for each thread in [0, team()), at the same time, and returns when all have
  /// returned. `body` must not throw and must not call run().
  template <class Body>
  void run(Body&& body) noexcept {
    using Plain = std::remove_reference_t<Body>;
    start([](void* context, int thread) noexcept { (*static_cast<Plain*>(context))(thread); },
          const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Calls body(thread, unit) once for each unit in [0, count), count < 2³¹, and returns when all have
  /// returned. Threads take units as they come: the caller from the front and the others from the back, so
  /// that in a row of such regions a unit mostly stays with its thread and its cache. A thread that is not
  /// running holds nobody up unless it has begun a unit. `body` must not throw, wait for other units or start
  /// a region.
  template <class Body>
  void each(int count, Body&& body) noexcept {
    using Plain = std::remove_reference_t<Body>;
    start_units(
        count,
        [](void* context, int thread, int unit) noexcept { (*static_cast<Plain*>(context))(thread, unit); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  /// Inside run(), called by every thread of the team: waits until all are here. What any wrote before, all
  /// see after.
  void barrier(int thread) noexcept;

 private:
  using Entry = void (*)(void* context, int thread) noexcept;
  using UnitEntry = void (*)(void* context, int thread, int unit) noexcept;
  static constexpr size_t kCacheLine = 64;
  enum class Region : uint32_t { kTeam, kUnits };

  struct alignas(kCacheLine) Worker {
    // Regions started for this worker, twice their number, and what the last one is. One of units may be
    // missed.
    std::atomic<uint32_t> regions{0};
    std::thread thread;
  };

  void start(Entry entry, void* context) noexcept;
  void start_units(int count, UnitEntry entry, void* context) noexcept;
  [[nodiscard]] int take_unit(bool from_front) noexcept;
  void work_on_units(int thread) noexcept;
  void call(int thread, Region region) noexcept;
  void stop() noexcept;
  void work(int thread) noexcept;
  /// Counts a thread in at the barrier that ends `epoch`; the last one opens it and gets true.
  bool arrive(uint32_t epoch) noexcept;

  alignas(kCacheLine) std::atomic<uint32_t> barrier_epoch_{0};
  alignas(kCacheLine) std::atomic<int> barrier_arrived_{0};
  // The region's: written by the caller while no worker runs.
  alignas(kCacheLine) bool stopping_ = false;
  int team_ = 1;
  Entry entry_ = nullptr;
  void* context_ = nullptr;
  // The units' that are left: front and back, 32 bits each. Who takes one may read what stands below it.
  alignas(kCacheLine) std::atomic<uint64_t> units_{0};
  UnitEntry unit_entry_ = nullptr;
  void* unit_context_ = nullptr;
  alignas(kCacheLine) std::atomic<uint32_t> units_done_{0};  // by workers
  // The caller's own.
  TeamSize size_{1};
  /// An absent thread costs a region of units little, so that team is judged over many of the scheduler's
  /// slices.
  TeamSize unit_size_{1};
  TeamSize::Time waited_{0};
  std::vector<Worker> workers_;
};

}  // namespace facet
