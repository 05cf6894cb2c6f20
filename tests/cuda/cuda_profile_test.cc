// Time by kernel: what a kernel is charged for, what it is called, and that CUPTI sees what ran.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "backend/cuda/kernel_trace.h"
#include "cuda/two_backends.h"
#include "engine/benchmark.h"
#include "support/paths.h"

namespace facet {
namespace {

TEST(KernelTrace, ChargesAKernelThatStartsEarlyFromItsPredecessorsEnd) {
  std::vector<cuda::DeviceSpan> spans = {{"b", 1500, 4000}, {"a", 1000, 3000}, {"a", 9000, 9500}};
  Profile profile;
  cuda::charge(spans, profile);
  EXPECT_EQ(profile.at("a").calls, 2);
  EXPECT_NEAR(profile.at("a").seconds, 2500e-9, 1e-15);
  EXPECT_EQ(profile.at("b").calls, 1);
  EXPECT_NEAR(profile.at("b").seconds, 1000e-9, 1e-15);
  EXPECT_NEAR(profile.at(std::string(cuda::kIdle)).seconds, 5000e-9, 1e-15);
  double total = 0;
  for (const auto& [name, time] : profile) total += time.seconds;
  EXPECT_NEAR(total, 8500e-9, 1e-15) << "from the first start to the last end";
}

TEST(KernelTrace, NamesAreShort) {
  EXPECT_EQ(
      cuda::kernel_name("_ZN5facet4cuda50_GLOBAL__N__2b292f12_17_read_bandwidth_cu_fd3557ed11read_kernelEP5u"
                        "int4m"),
      "read_kernel");
  EXPECT_EQ(cuda::kernel_name("_ZN5facet4cuda12_GLOBAL__N_16kernelILi4EfEEvPKT0_"), "kernel<4, float>");
  EXPECT_EQ(cuda::kernel_name("nvjet_hsh_128x256"), "nvjet_hsh_128x256");
  EXPECT_EQ(cuda::kernel_name(std::string(100, 'k').c_str()).size(), 60U);
}

class CudaProfile : public testing::CudaTest {};

TEST_F(CudaProfile, SeesTheKernelsOfPromptsAndOfRecordedSteps) {
  EngineOptions options;
  options.backend = "cuda";
  options.context = 256;
  Profile profile;
  options.profile = &profile;
  Engine engine(open_checkpoint((testing::models_dir() / "fable").string()), options);
  const auto measure = [&](BenchmarkTest::Kind kind) {
    const auto start = std::chrono::steady_clock::now();
    static_cast<void>(run_benchmark(engine, {kind, 100, 0, 1}, 1, &profile));
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
    double busy = 0;
    int64_t calls = 0;
    for (const auto& [name, time] : profile) {
      busy += time.seconds;
      calls += time.calls;
      RecordProperty(name, std::to_string(time.calls));
    }
    EXPECT_GT(busy, 0);
    EXPECT_LE(busy, wall.count());
    return calls;
  };
  EXPECT_GT(measure(BenchmarkTest::Kind::kPrompt), 20);
  EXPECT_GT(measure(BenchmarkTest::Kind::kDecode), 100)
      << "a kernel a step at the least, of a recorded one, too";
}

}  // namespace
}  // namespace facet
