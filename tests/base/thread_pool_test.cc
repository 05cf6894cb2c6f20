#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
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
    std::vector<int> wanted(calls.size());
    for (int round = 0; round < 1000; ++round) {
      for (int thread = 0; thread < pool.team(); ++thread) ++wanted[static_cast<size_t>(thread)];
      pool.run([&](int thread) noexcept { ++calls[static_cast<size_t>(thread)]; });
    }
    EXPECT_EQ(calls, wanted);
    EXPECT_EQ(calls[0], 1000);
    EXPECT_GT(calls.back(), 0);
  }
}

TEST(ThreadPool, EachUnitRunsOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<int> runs(300);
    std::vector<int> wanted(runs.size());
    for (int round = 0; round < 1000; ++round) {
      const int count = round % 301;
      for (int unit = 0; unit < count; ++unit) ++wanted[static_cast<size_t>(unit)];
      pool.each(count, [&](int thread, int unit) noexcept {
        EXPECT_LT(thread, threads);
        ++runs[static_cast<size_t>(unit)];
      });
      if (round % 7 == 0) {  // between the regions of teams
        std::vector<int> calls(static_cast<size_t>(threads));
        const int team = pool.team();
        pool.run([&](int thread) noexcept { ++calls[static_cast<size_t>(thread)]; });
        ASSERT_EQ(std::accumulate(calls.begin(), calls.end(), 0), team);
      }
    }
    EXPECT_EQ(runs, wanted);
  }
}

TEST(ThreadPool, UnitsSeeWhatEarlierOnesWrote) {
  ThreadPool pool(3);
  std::vector<int64_t> values(64);
  for (int round = 1; round <= 500; ++round) {
    // Each of the next region's units reads another's value of this one.
    pool.each(64, [&](int, int unit) noexcept { values[static_cast<size_t>(unit)] = round * 100 + unit; });
    std::vector<int64_t> read(values.size());
    pool.each(64, [&](int, int unit) noexcept {
      read[static_cast<size_t>(unit)] = values[static_cast<size_t>(63 - unit)];
    });
    for (int unit = 0; unit < 64; ++unit) ASSERT_EQ(read[static_cast<size_t>(unit)], round * 100 + 63 - unit);
  }
}

TEST(ThreadPool, BarrierPublishesWrites) {
  ThreadPool pool(3);
  std::vector<int> values(3);
  std::vector<int> sums(3);
  for (int round = 1; round <= 500; ++round) {
    const int team = pool.team();
    pool.run([&](int thread) noexcept {
      values[static_cast<size_t>(thread)] = round * (thread + 1);
      pool.barrier(thread);
      sums[static_cast<size_t>(thread)] = std::accumulate(values.begin(), values.begin() + team, 0);
      pool.barrier(thread);
    });
    for (int t = 0; t < team; ++t) ASSERT_EQ(sums[static_cast<size_t>(t)], round * team * (team + 1) / 2);
  }
}

TEST(ThreadPool, WakesAfterASleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // far beyond the spin
    const int team = pool.team();
    std::vector<int> seen(2);
    pool.run([&](int thread) noexcept { seen[static_cast<size_t>(thread)] = 1; });
    EXPECT_EQ(seen[0] + seen[1], team);
  }
}

TEST(ThreadPool, TwoPoolsShareTheCores) {
  // Each has as many threads as there are cores, and both finish.
  const auto work = [](int* rounds) {
    ThreadPool pool(usable_cores());
    std::vector<int> calls(static_cast<size_t>(pool.size()));
    for (int round = 0; round < 300; ++round)
      pool.run([&](int thread) noexcept {
        ++calls[static_cast<size_t>(thread)];
        pool.barrier(thread);
      });
    *rounds = calls[0];
  };
  int a = 0;
  int b = 0;
  std::thread other(work, &a);
  work(&b);
  other.join();
  EXPECT_EQ(a, 300);
  EXPECT_EQ(b, 300);
}

TEST(ThreadPool, LeavesOutThreadsThatAreNotThere) {
  using namespace std::chrono_literals;
  ThreadPool pool(2);
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  const auto run_until = [&](int team, std::chrono::microseconds caller, std::chrono::microseconds worker) {
    while (pool.team() != team && std::chrono::steady_clock::now() < deadline)
      pool.run([&](int thread) noexcept { std::this_thread::sleep_for(thread == 0 ? caller : worker); });
    return pool.team() == team;
  };
  EXPECT_TRUE(run_until(1, 0us, 1000us)) << "the caller does nothing but wait";
  EXPECT_TRUE(run_until(2, 1000us, 0us)) << "the worker is back";
}

/// Milliseconds of work that it takes `size` to reach `team`, when a region of t threads lasts 1 ms and its
/// caller waits for wait(t) of that.
template <class Wait>
int work_until(TeamSize& size, int team, Wait wait) {
  for (int ms = 0; ms < 10000; ++ms) {
    if (size.get() == team) return ms;
    size.record(std::chrono::milliseconds(1), std::chrono::microseconds(wait(size.get())));
  }
  return -1;
}

TEST(TeamSize, DropsToWhatPays) {
  TeamSize size(16);
  // Four cores are taken.
  const auto wait = [](int team) { return team > 12 ? 900 : 50; };
  EXPECT_LT(work_until(size, 12, wait), 20);
  int crowded = 0;
  for (int ms = 0; ms < 10000; ++ms) {
    crowded += size.get() > 12 ? 1 : 0;
    ASSERT_GE(size.get(), 12) << ms;
    size.record(std::chrono::milliseconds(1), std::chrono::microseconds(wait(size.get())));
  }
  EXPECT_LT(crowded, 150) << "trials are rare: 4 ms in 644";
  EXPECT_GT(crowded, 0) << "but there are some";
}

TEST(TeamSize, ReturnsWhenTheCoresAreFree) {
  TeamSize size(2);
  EXPECT_LT(work_until(size, 1, [](int) { return 900; }), 10);
  for (int ms = 0; ms < 5000; ++ms)
    size.record(std::chrono::milliseconds(1), std::chrono::microseconds(size.get() == 2 ? 900 : 0));
  const int slow = work_until(size, 2, [](int) { return 0; });
  EXPECT_LE(slow, 650);
  // A hold that has grown shrinks again in calm times.
  for (int ms = 0; ms < 5000; ++ms) size.record(std::chrono::milliseconds(1), {});
  EXPECT_EQ(size.get(), 2);
  EXPECT_LT(work_until(size, 1, [](int) { return 900; }), 10);
  const int fast = work_until(size, 2, [](int) { return 0; });
  EXPECT_GT(fast, 0);
  EXPECT_LT(fast, 50);
}

TEST(TeamSize, KeepsThreadsThatAreWorthTheirWaits) {
  TeamSize two(2);
  EXPECT_EQ(work_until(two, 1, [](int) { return 500; }), -1) << "half the time: as fast as one, no worse";
  TeamSize one(1);
  EXPECT_EQ(work_until(one, 2, [](int) { return 0; }), -1);
}

TEST(TeamSize, JudgesUnitsByWhatTheCallerAloneWouldNeed) {
  using std::chrono::milliseconds;
  TeamSize absent(2);
  for (int ms = 0; ms < 1000; ++ms) absent.record_units(milliseconds(10), milliseconds(10));
  EXPECT_EQ(absent.get(), 2) << "the caller did it all and waited for nobody";
  TeamSize helpful(2);
  for (int ms = 0; ms < 1000; ++ms) helpful.record_units(milliseconds(10), milliseconds(13));
  EXPECT_EQ(helpful.get(), 2) << "a third faster than alone, its waits included";
  TeamSize harmful(2, milliseconds(10));
  harmful.record_units(milliseconds(10), milliseconds(5));
  EXPECT_EQ(harmful.get(), 1) << "it waited for longer than the work took";
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
