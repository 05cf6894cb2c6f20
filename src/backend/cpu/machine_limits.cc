#include "backend/cpu/machine_limits.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

namespace facet::cpu {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

size_t cold_bytes() noexcept {
  const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);  // 0 or −1: unknown
  return std::clamp(4 * static_cast<size_t>(std::max(cache, 0L)), size_t{512} << 20, size_t{2} << 30) &
         ~size_t{4095};
}

ReadBandwidth::ReadBandwidth(const KernelTable& kernels, ThreadPool& pool, size_t bytes)
    : kernels_(kernels), pool_(pool), bytes_(static_cast<int64_t>(bytes)), memory_(allocate_pages(bytes)) {
  // Written by the threads that will read it: untouched pages are all the same one page of zeros.
  pool_.run([&](int thread) noexcept {
    const StaticRange mine = static_range(bytes_ / 4096, thread, pool_.team());
    std::memset(memory_.get() + mine.begin * 4096, thread + 1,
                static_cast<size_t>((mine.end - mine.begin) * 4096));
  });
}

double ReadBandwidth::measure(int passes) noexcept {
  double best = 0;
  for (int pass = 0; pass < passes; ++pass) {
    for (const int streams : {1, 4}) {
      const auto start = std::chrono::steady_clock::now();
      pool_.run([&](int thread) noexcept {
        const StaticRange mine = static_range(bytes_ / 4096, thread, pool_.team());
        alignas(64) unsigned char sink[64];
        kernels_.read(reinterpret_cast<const unsigned char*>(memory_.get()) + mine.begin * 4096,
                      (mine.end - mine.begin) * 4096, streams, sink);
        asm volatile("" : : "r"(sink) : "memory");
      });
      best = std::max(best, static_cast<double>(bytes_) / seconds_since(start) / 1e9);
    }
  }
  return best;
}

double peak_rate(double (*loop)(int64_t), ThreadPool& pool) noexcept {
  int64_t iterations = 1000;
  for (double took = 0; took < 0.02; iterations *= 2) {  // long enough for the clock to settle
    const auto start = std::chrono::steady_clock::now();
    loop(iterations);
    took = seconds_since(start);
  }
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    double operations = 0;
    pool.run([&](int thread) noexcept {
      const double done = loop(iterations);
      if (thread == 0) operations = done * pool.team();
    });
    best = std::max(best, operations / seconds_since(start) / 1e9);
  }
  return best;
}

}  // namespace facet::cpu
