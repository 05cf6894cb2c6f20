// What this machine can do at most, measured: the bounds that a benchmark's figures are held against.
#pragma once

#include "backend/cpu/kernels.h"
#include "backend/cpu/packed_weight.h"
#include "base/thread_pool.h"

namespace facet::cpu {

struct MachineLimits {
  double read_gbs = 0;    ///< 10⁹ bytes a second, all threads, memory far larger than the caches
  double int8_gops = 0;   ///< 10⁹ operations a second, all threads; a multiply and an add count as two
  double f32_gflops = 0;  ///< likewise
};

/// Four times the last-level cache, within 512 MiB and 2 GiB: reading so much again and again finds next to
/// nothing in the cache. (Half a gigabyte is not cold on a server with 300 MB of cache.)
[[nodiscard]] size_t cold_bytes() noexcept;

/// Reads a block of memory over and over on all threads.
class ReadBandwidth {
 public:
  /// Allocates `bytes`, in 2 MiB pages where the system gives them. Throws Error{kDevice} without memory.
  ReadBandwidth(const KernelTable& kernels, ThreadPool& pool, size_t bytes = cold_bytes());
  /// The best of `passes` passes as one stream and as many as four streams, in 10⁹ bytes a second.
  [[nodiscard]] double measure(int passes) noexcept;

 private:
  const KernelTable& kernels_;
  ThreadPool& pool_;
  int64_t bytes_;
  Buffer memory_;
};

/// Operations a second of `loop` (KernelTable::int8_peak, f32_peak) on all threads, best of a few tenths of a
/// second.
[[nodiscard]] double peak_rate(double (*loop)(int64_t), ThreadPool& pool) noexcept;

}  // namespace facet::cpu
