#include "engine/backend_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/engine.h"
#include "support/errors.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

GpuSearch gpu_with(int64_t free_memory) {
  return {Gpu{"a GPU", "9.0", size_t{80} * kGiB, static_cast<size_t>(free_memory)}, true, ""};
}
/// A model of six gibibytes.
GpuMemoryNeed six_gib() {
  return {3 * kGiB, 2 * kGiB, 1 * kGiB};
}

TEST(BackendChoice, TakesTheGpuThatHoldsTheModel) {
  const BackendChoice choice = choose_backend(gpu_with(6 * kGiB), six_gib);
  EXPECT_EQ(choice.name, "cuda");
  EXPECT_EQ(choice.passed_over, "");
}

TEST(BackendChoice, SaysWhatDoesNotFit) {
  const BackendChoice choice = choose_backend(gpu_with(6 * kGiB - 1), six_gib);
  EXPECT_EQ(choice.name, "cpu");
  EXPECT_THAT(choice.passed_over, HasSubstr("6.00 GiB of the GPU's memory (weights 3.00, cache 2.00, working "
                                            "memory 1.00), 6.00 of 80.00 GiB are free"));
}

TEST(BackendChoice, IsSilentWhereThereIsNoGpu) {
  const BackendChoice choice = choose_backend({std::nullopt, false, "no NVIDIA driver"}, [] {
    ADD_FAILURE() << "nothing to plan for";
    return six_gib();
  });
  EXPECT_EQ(choice.name, "cpu");
  EXPECT_EQ(choice.passed_over, "");
}

TEST(BackendChoice, SaysWhyAGpuCannotBeUsed) {
  const BackendChoice choice = choose_backend({std::nullopt, true, "compute capability 7.5"}, six_gib);
  EXPECT_EQ(choice.name, "cpu");
  EXPECT_EQ(choice.passed_over, "compute capability 7.5");
}

TEST(BackendChoice, AGpuThatDoesNotOpenIsAReasonAndABrokenModelAnError) {
  const auto failing = [](ErrorCode code) {
    return [code]() -> GpuMemoryNeed { throw Error(code, "it fails"); };
  };
  const BackendChoice choice = choose_backend(gpu_with(80 * kGiB), failing(ErrorCode::kDevice));
  EXPECT_EQ(choice.name, "cpu");
  EXPECT_EQ(choice.passed_over, "it fails");
  EXPECT_THROW((void)choose_backend(gpu_with(80 * kGiB), failing(ErrorCode::kBadInput)), Error);
}

TEST(BackendChoice, AutoIsWhatThisMachineHas) {
  const Checkpoint checkpoint = testing::tiny_checkpoint({});
  EngineOptions options;
  std::string heard;
  options.notice = [&](const std::string& line) { heard = line; };
  const GpuSearch search = find_gpu();
  EXPECT_EQ(search.gpu.has_value(), search.problem.empty());
  EXPECT_EQ(make_backend(checkpoint, options)->name(), search.gpu ? "cuda" : "cpu");
  EXPECT_EQ(heard.empty(), search.gpu || !search.present);
  options.isa = "portable";
  EXPECT_EQ(make_backend(checkpoint, options)->name(), "cpu") << "it has instruction sets";
  options.backend = "tpu";
  EXPECT_THROW((void)make_backend(checkpoint, options), Error);
}

}  // namespace
}  // namespace facet
