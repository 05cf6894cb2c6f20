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

ThreadPool::ThreadPool(int threads)
    : team_(threads > 0 ? threads : usable_cores()),
      size_(team_),
      unit_size_(team_, std::chrono::milliseconds{64}),
      workers_(static_cast<size_t>(team_ - 1)) {
  try {
    for (int thread = 1; thread < size(); ++thread)
      workers_[static_cast<size_t>(thread - 1)].thread = std::thread([this, thread] { work(thread); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::call(int thread, Region region) noexcept {
  std::atomic<uint32_t>& regions = workers_[static_cast<size_t>(thread - 1)].regions;
  const uint32_t number = regions.load(std::memory_order_relaxed) / 2 + 1;
  // Sequentially consistent, as every store before a notify must be: notify looks for sleepers, and a store
  // that is still in the store buffer would let one fall asleep behind that look.
  regions.store(number * 2 + static_cast<uint32_t>(region));
  regions.notify_one();
}

void ThreadPool::stop() noexcept {
  stopping_ = true;
  for (int thread = 1; thread < size(); ++thread) {
    std::thread& worker = workers_[static_cast<size_t>(thread - 1)].thread;
    if (!worker.joinable()) break;  // the constructor got this far
    call(thread, Region::kTeam);
    worker.join();
  }
}

void ThreadPool::work(int thread) noexcept {
  const Worker& self = workers_[static_cast<size_t>(thread - 1)];
  for (uint32_t seen = 0;;) {
    wait_until_changed(self.regions, seen);
    seen = self.regions.load(std::memory_order_acquire);
    if (static_cast<Region>(seen % 2) == Region::kUnits) {
      work_on_units(thread);  // of this region or a later one, or there are none left
      continue;
    }
    // A team's region waits for this thread, so it is still the one that was announced.
    if (stopping_) return;
    entry_(context_, thread);
    arrive(barrier_epoch_.load(std::memory_order_relaxed));
  }
}

/// The number of a unit that is the calling thread's from now on; −1 when none is left.
int ThreadPool::take_unit(bool from_front) noexcept {
  uint64_t left = units_.load(std::memory_order_acquire);
  for (;;) {
    const auto front = static_cast<uint32_t>(left >> 32);
    const auto back = static_cast<uint32_t>(left);
    if (front >= back) return -1;
    const uint64_t rest = from_front ? left + (uint64_t{1} << 32) : left - 1;
    if (units_.compare_exchange_weak(left, rest, std::memory_order_acq_rel, std::memory_order_acquire))
      return static_cast<int>(from_front ? front : back - 1);
  }
}

void ThreadPool::work_on_units(int thread) noexcept {
  for (int unit = take_unit(false); unit >= 0; unit = take_unit(false)) {
    unit_entry_(unit_context_, thread, unit);
    units_done_.fetch_add(1);  // sequentially consistent: see call()
    units_done_.notify_one();
  }
}

void ThreadPool::start_units(int count, UnitEntry entry, void* context) noexcept {
  if (count < 1) return;
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const int team = std::min(unit_team(), count);
  if (team == 1) {
    for (int unit = 0; unit < count; ++unit) entry(context, 0, unit);
    if (unit_team() == 1 && size() > 1) unit_size_.record(Clock::now() - begin, TeamSize::Time{0});
    return;
  }
  unit_entry_ = entry;
  unit_context_ = context;
  units_done_.store(0, std::memory_order_relaxed);
  units_.store(static_cast<uint32_t>(count), std::memory_order_release);
  for (int thread = 1; thread < team; ++thread) call(thread, Region::kUnits);
  int own = 0;
  for (int unit = take_unit(true); unit >= 0; unit = take_unit(true), ++own) entry(context, 0, unit);
  const TeamSize::Time worked = Clock::now() - begin;
  const auto others = static_cast<uint32_t>(count - own);
  for (uint32_t done = units_done_.load(std::memory_order_acquire); done != others;
       done = units_done_.load(std::memory_order_acquire))
    wait_until_changed(units_done_, done);
  // A team with more threads than units says nothing about the cores.
  if (team == unit_team() && own > 0) unit_size_.record_units(Clock::now() - begin, worked * count / own);
}

void ThreadPool::start(Entry entry, void* context) noexcept {
  if (team_ > 1) {
    entry_ = entry;
    context_ = context;
    for (int thread = 1; thread < team_; ++thread) call(thread, Region::kTeam);
  }
  if (size() == 1) return entry(context, 0);
  waited_ = {};
  const auto begin = std::chrono::steady_clock::now();
  entry(context, 0);
  barrier(0);  // all have finished: `context` may go
  size_.record(std::chrono::steady_clock::now() - begin, waited_);
  team_ = size_.get();
}

bool ThreadPool::arrive(uint32_t epoch) noexcept {
  const int team = team_;  // read now: after the last arrival the caller may change it
  if (barrier_arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 != team) return false;
  barrier_arrived_.store(0, std::memory_order_relaxed);
  barrier_epoch_.store(epoch + 1);  // sequentially consistent: see call()
  barrier_epoch_.notify_all();
  return true;
}

void ThreadPool::barrier(int thread) noexcept {
  if (team_ == 1) return;
  const uint32_t epoch = barrier_epoch_.load(std::memory_order_relaxed);
  if (arrive(epoch)) return;
  if (thread != 0) return wait_until_changed(barrier_epoch_, epoch);
  const auto begin = std::chrono::steady_clock::now();
  wait_until_changed(barrier_epoch_, epoch);
  waited_ += std::chrono::steady_clock::now() - begin;
}

}  // namespace facet
