#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>
#include <vector>

namespace facet {
namespace {

TEST(ThreadPool, RunsEveryThreadOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    std::vector<int> calls(static_cast<size_t>(threads));
    for (int round = 0; round < 1000; ++round)
      pool.run([&](int thread) noexcept { ++calls[static_cast<size_t>(thread)]; });
    for (const int c : calls) EXPECT_EQ(c, 1000);
  }
}

TEST(ThreadPool, BarrierPublishesWrites) {
  ThreadPool pool(3);
  std::vector<int> values(3);
  std::vector<int> sums(3);
  for (int round = 1; round <= 500; ++round) {
    pool.run([&](int thread) noexcept {
      values[static_cast<size_t>(thread)] = round * (thread + 1);
      pool.barrier();
      sums[static_cast<size_t>(thread)] = std::accumulate(values.begin(), values.end(), 0);
      pool.barrier();
    });
    for (const int s : sums) ASSERT_EQ(s, 6 * round);
  }
}

TEST(ThreadPool, WakesAfterASleep) {
  ThreadPool pool(2);
  int sum = 0;
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // far beyond the spin
    std::vector<int> seen(2);
    pool.run([&](int thread) noexcept { seen[static_cast<size_t>(thread)] = 1; });
    sum += seen[0] + seen[1];
  }
  EXPECT_EQ(sum, 6);
}

TEST(ThreadPool, TwoPoolsShareTheCores) {
  // Each has as many threads as there are cores, and both finish.
  const auto work = [](int* total) {
    ThreadPool pool(usable_cores());
    std::vector<int> calls(static_cast<size_t>(pool.size()));
    for (int round = 0; round < 300; ++round)
      pool.run([&](int thread) noexcept {
        ++calls[static_cast<size_t>(thread)];
        pool.barrier();
      });
    *total = std::accumulate(calls.begin(), calls.end(), 0);
  };
  int a = 0;
  int b = 0;
  std::thread other(work, &a);
  work(&b);
  other.join();
  EXPECT_EQ(a, 300 * usable_cores());
  EXPECT_EQ(b, 300 * usable_cores());
}

TEST(ThreadPool, StaticRangesCoverEverythingOnce) {
  for (const int64_t count : {0, 1, 7, 64, 1001}) {
    for (const int parts : {1, 2, 3, 16}) {
      int64_t next = 0;
      for (int part = 0; part < parts; ++part) {
        const StaticRange range = static_range(count, part, parts);
        EXPECT_EQ(range.begin, next);
        EXPECT_GE(range.end, range.begin);
        EXPECT_LE(range.end - range.begin, count / parts + 1);
        next = range.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(ThreadPool, UsableCoresIsWithinTheMachine) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace facet
