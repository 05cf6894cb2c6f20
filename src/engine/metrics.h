// Counts and distributions of a running server.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace facet {

/// A distribution of durations in fixed buckets, as Prometheus has it. One thread records, any reads; a
/// reader may see a record half counted, never a torn value.
class Histogram {
 public:
  /// Upper bounds in seconds; the last bucket has none.
  static constexpr std::array<double, 18> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,    5,     10,   25,    50,   100, 250,  500};

  void record(double seconds) noexcept {
    size_t bucket = 0;
    while (bucket < kBounds.size() && seconds > kBounds[bucket]) ++bucket;
    counts_[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_.store(sum_.load(std::memory_order_relaxed) + seconds, std::memory_order_relaxed);
  }

  [[nodiscard]] uint64_t count(size_t bucket) const noexcept {
    return counts_[bucket].load(std::memory_order_relaxed);
  }
  [[nodiscard]] double sum() const noexcept { return sum_.load(std::memory_order_relaxed); }
  static constexpr size_t kBuckets = kBounds.size() + 1;

 private:
  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
  std::atomic<double> sum_{0};
};

/// What the scheduler counts. Seconds.
struct ServingMetrics {
  Histogram time_to_first_token;  ///< from submit() on
  Histogram inter_token;
  Histogram end_to_end;                    ///< from submit() to the finish, cancelled ones excepted
  std::atomic<uint64_t> prompt_tokens{0};  ///< cached ones included
  std::atomic<uint64_t> cached_tokens{0};
  std::atomic<uint64_t> generated_tokens{0};
  std::atomic<uint64_t> steps{0};
  /// Finished requests by FinishReason.
  std::array<std::atomic<uint64_t>, 6> finished{};
};

}  // namespace facet
