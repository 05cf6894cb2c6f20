#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>

namespace facet {
namespace {

/// How long a thread spins before it sleeps: longer than the gaps between a step's regions, far shorter than
/// a scheduler's time slice.
constexpr std::chrono::microseconds kSpin{80};

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Returns when `value` is no longer `old`: spins, then sleeps.
void wait_until_changed(const std::atomic<uint32_t>& value, uint32_t old) noexcept {
  constexpr int kPausesPerClock = 64;
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerClock; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

/// Cores that `directory`'s quota allows, or infinity.
double quota_of(const std::string& directory) {
  double quota = 0;
  double period = 0;
  std::ifstream v2(directory + "/cpu.max");
  if (v2 >> quota >> period && period > 0) return quota / period;  // "max 100000" fails to parse: no limit
  std::ifstream v1_quota(directory + "/cpu.cfs_quota_us");
  std::ifstream v1_period(directory + "/cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) return quota / period;
  return INFINITY;
}

/// The tightest quota from this process's cgroup up to the root.
double cgroup_quota() {
  double tightest = INFINITY;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && (',' + controllers + ',').find(",cpu,") == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    std::string path = line.substr(second + 1);
    for (;;) {
      tightest = std::min(tightest, quota_of(root + path));
      const size_t slash = path.rfind('/');
      if (path.empty() || slash == std::string::npos) break;
      path.resize(slash);
    }
  }
  return tightest;
}

int affinity_cores() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return static_cast<int>(std::thread::hardware_concurrency());
  return CPU_COUNT(&set);
}

}  // namespace

int usable_cores() noexcept {
  double cores = affinity_cores();
  try {
    cores = std::min(cores, std::floor(cgroup_quota()));
  } catch (...) {  // an unreadable cgroup file limits nothing
  }
  return std::max(1, static_cast<int>(cores));
}

ThreadPool::ThreadPool(int threads) {
  const int count = threads > 0 ? threads : usable_cores();
  workers_.reserve(static_cast<size_t>(count - 1));
  try {
    for (int thread = 1; thread < count; ++thread) workers_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() noexcept {
  stopping_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::work(int thread) noexcept {
  // The constructor starts no region, so every worker begins at generation 0 however late it is scheduled.
  for (uint32_t seen = 0;; ++seen) {
    wait_until_changed(generation_, seen);
    if (stopping_) return;
    entry_(context_, thread);
    barrier();
  }
}

void ThreadPool::start(Entry entry, void* context) noexcept {
  if (workers_.empty()) return entry(context, 0);
  entry_ = entry;
  context_ = context;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  entry(context, 0);
  barrier();  // all have finished: `context` may go
}

void ThreadPool::barrier() noexcept {
  if (workers_.empty()) return;
  const uint32_t epoch = barrier_epoch_.load(std::memory_order_relaxed);
  if (barrier_arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
    barrier_arrived_.store(0, std::memory_order_relaxed);
    barrier_epoch_.store(epoch + 1, std::memory_order_release);
    barrier_epoch_.notify_all();
  } else {
    wait_until_changed(barrier_epoch_, epoch);
  }
}

}  // namespace facet
