#include "backend/cuda/weight_copies.h"

#include <cstddef>

#include "backend/cuda/kernels.h"

namespace facet::cuda {
namespace {

constexpr size_t kLeftFree = size_t{1} << 30;

void* allocate_if_plenty(size_t bytes) noexcept {
  size_t free = 0;
  size_t total = 0;
  void* memory = nullptr;
  if (cudaMemGetInfo(&free, &total) == cudaSuccess && free >= bytes + kLeftFree &&
      cudaMalloc(&memory, bytes) == cudaSuccess)
    return memory;
  (void)cudaGetLastError();
  return nullptr;
}

}  // namespace

void WeightCopies::clear() noexcept {
  for (auto& [weights, copy] : copies_) (void)cudaFree(copy);
  copies_.clear();
}

const void* WeightCopies::find(WeightStack weights, cudaStream_t stream) noexcept {
  if (weights.size() == 1 && weights[0]->codes_kind == Codes::kBF16) return weights[0]->codes;
  std::array<const void*, kMostStacked> key{};
  int64_t rows = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    key[i] = weights[i]->codes;
    rows += weights[i]->rows;
  }
  const auto [place, fresh] = copies_.try_emplace(key, nullptr);
  if (!fresh) return place->second;
  const int64_t cols = weights[0]->cols;
  place->second = allocate_if_plenty(static_cast<size_t>(2 * rows * cols));
  if (place->second == nullptr) return nullptr;
  auto* to = static_cast<std::byte*>(place->second);
  for (const DeviceMatrix* w : weights) {
    to_bf16(*w, w->rows, to, stream);
    to += 2 * w->rows * cols;
  }
  return place->second;
}

}  // namespace facet::cuda
