// What the backend does when the GPU's memory is short.
#include <gtest/gtest.h>

#include <vector>

#include "backend/cuda/device.h"
#include "cuda/two_backends.h"

namespace facet {
namespace {

/// Takes the device's memory but for about `left` bytes.
class MostOfTheMemory {
 public:
  explicit MostOfTheMemory(size_t left) {
    size_t free = 0;
    size_t total = 0;
    while (cudaMemGetInfo(&free, &total) == cudaSuccess && free > left + kGranule) {
      void* const block = cuda::try_allocate(std::max(kGranule, (free - left) / 2));
      if (block == nullptr) break;
      blocks_.push_back(block);
    }
  }
  ~MostOfTheMemory() {
    for (void* const block : blocks_) (void)cudaFree(block);
  }
  MostOfTheMemory(const MostOfTheMemory&) = delete;
  MostOfTheMemory& operator=(const MostOfTheMemory&) = delete;

 private:
  static constexpr size_t kGranule = size_t{2} << 20;
  std::vector<void*> blocks_;
};

class CudaDevice : public testing::CudaTest {};

TEST_F(CudaDevice, TheBandwidthIsMeasuredOverLessWhereLessIsFree) {
  EXPECT_GT(cuda->read_bandwidth(), 100);
  {
    const MostOfTheMemory taken(size_t{700} << 20);
    EXPECT_GT(cuda->read_bandwidth(), 100);
  }
  const MostOfTheMemory taken(size_t{100} << 20);
  EXPECT_EQ(cuda->read_bandwidth(), 0) << "not measured";
}

}  // namespace
}  // namespace facet
