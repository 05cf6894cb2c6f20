// The CUDA backend beside the reference, with arrays that exist in both.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/cuda/cuda_backend.h"
#include "backend/reference/reference.h"
#include "support/random_matrix.h"

namespace facet::testing {

/// Skips, and says why, where there is no GPU or no driver; one that cannot be used is a failure.
class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const cuda::DeviceSearch search = cuda::find_device();
    if (!search.present) GTEST_SKIP() << search.problem;
    ASSERT_TRUE(search.device) << search.problem;
    cuda.emplace();
  }
  void reserve(const Limits& limits) {
    cuda->reserve(limits);
    reference.reserve(limits);
  }
  Backend& backend(bool on_gpu) { return on_gpu ? static_cast<Backend&>(*cuda) : reference; }

  /// Runs `body(backend, on_gpu)`, which returns host values, on both.
  template <class Body>
  void expect_same(double bound, Body body) {
    const std::vector<float> expected = body(backend(false), false);
    const std::vector<float> out = body(backend(true), true);
    ASSERT_EQ(out.size(), expected.size());
    EXPECT_LE(relative_rms(out, expected), bound);
  }

  std::optional<CudaBackend> cuda;
  ReferenceBackend reference;
};

/// Bits of random bf16 numbers, for caches that are to be the same in both.
inline std::vector<uint16_t> random_bf16(int64_t count, uint32_t seed) {
  const auto values = random_floats(count, seed);
  std::vector<uint16_t> bits;
  for (const float value : values)
    bits.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  return bits;
}
inline float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}
/// A cache's values after `values`, made small: they are as many as those and mostly equal.
inline void append_cache(const std::vector<uint16_t>& bits, std::vector<float>& values) {
  for (const uint16_t b : bits) values.push_back(from_bf16(b) * 1e-3F);
}

/// Values in a backend's memory.
template <class T>
class Array {
 public:
  Array(Backend& backend, const std::vector<T>& values)
      : backend_(backend), count_(values.size()), memory_(backend.allocate(values.size() * sizeof(T))) {
    backend.upload(memory_.get(), values.data(), values.size() * sizeof(T));
  }
  Array(Backend& backend, int64_t count) : Array(backend, std::vector<T>(static_cast<size_t>(count))) {}

  [[nodiscard]] T* data() noexcept { return reinterpret_cast<T*>(memory_.get()); }
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> host(count_);
    backend_.download(host.data(), memory_.get(), count_ * sizeof(T));
    return host;
  }

 private:
  Backend& backend_;
  size_t count_;
  Buffer memory_;
};

/// A weight in both.
struct WeightOnBoth {
  RandomMatrix matrix;
  std::unique_ptr<Weight> gpu, host;
  WeightOnBoth(CudaBackend& cuda, Backend& reference, Encoding encoding, int64_t rows, int64_t cols,
               uint32_t seed, WeightUse use = WeightUse::kMatmul, int group = 64, DType scale = DType::kBF16)
      : matrix(encoding, rows, cols, group, scale, seed),
        gpu(cuda.load(matrix.view(), use)),
        host(reference.load(matrix.view(), use)) {}
  [[nodiscard]] const Weight& on(bool on_gpu) const { return on_gpu ? *gpu : *host; }
};

}  // namespace facet::testing
