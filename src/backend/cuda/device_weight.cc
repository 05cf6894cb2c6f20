#include "backend/cuda/device_weight.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "backend/cpu/block_groups.h"
#include "backend/cuda/device.h"
#include "quant/dequantize.h"
#include "tensor/dtype.h"

namespace facet::cuda {
namespace {

constexpr int64_t kStagingBytes = int64_t{16} << 20;

Codes codes_of(Encoding encoding) {
  switch (encoding) {
    case Encoding::kF32: return Codes::kF32;
    case Encoding::kF16: return Codes::kF16;
    case Encoding::kBF16: return Codes::kBF16;
    case Encoding::kAffine4: return Codes::kQ4;
    case Encoding::kAffine8: return Codes::kQ8;
    default: break;
  }
  const auto form = cpu::group_form(encoding);
  if (!form) return Codes::kF32;  // expanded
  return form->kind == cpu::TileKind::kQ4 ? Codes::kQ4 : Codes::kQ8;
}

Pairs pairs_of(const MatrixView& m) {
  if (m.is_affine())
    return m.scale_dtype == DType::kF16    ? Pairs::kF16
           : m.scale_dtype == DType::kBF16 ? Pairs::kBF16
                                           : Pairs::kF32;
  const auto form = cpu::group_form(m.encoding);
  return form ? Pairs::kF32 : Pairs::kNone;  // a product of two scales needs f32, and so may 128 times one
}

/// Rows [begin, begin + count) of `m` as the device holds them.
class RowConverter {
 public:
  RowConverter(const MatrixView& m, const DeviceMatrix& to) : m_(m), to_(to) {
    row_.resize(static_cast<size_t>(m.cols));
    values_.resize(2 * static_cast<size_t>(std::max<int64_t>(to.groups(), 1)));
    codes_.resize(static_cast<size_t>(m.cols));
  }

  /// Codes of one row, where the mapping's bytes will not do.
  void codes(int64_t row, std::byte* out) {
    if (to_.codes_kind == Codes::kF32) {
      dequantize_row(m_, row, row_.data());
      std::memcpy(out, row_.data(), row_.size() * sizeof(float));
      return;
    }
    split(row);
    for (int64_t i = 0; i < m_.cols; ++i) {
      const auto code = std::byte{codes_[static_cast<size_t>(i)]};
      if (to_.codes_kind == Codes::kQ8)
        out[i] = code;
      else
        out[i / 2] = i % 2 == 0 ? code : out[i / 2] | code << 4;
    }
  }

  /// Scales and biases of one row, side by side.
  void pairs(int64_t row, std::byte* out) {
    if (!m_.is_affine()) {
      split(row);
      std::memcpy(out, values_.data(), values_.size() * sizeof(float));
      return;
    }
    const auto size = static_cast<int64_t>(to_.pair_bytes() / 2);
    const int64_t groups = to_.groups();
    for (int64_t g = 0; g < groups; ++g) {
      std::memcpy(out + 2 * g * size, m_.scales + (row * groups + g) * size, static_cast<size_t>(size));
      std::memcpy(out + (2 * g + 1) * size, m_.biases + (row * groups + g) * size, static_cast<size_t>(size));
    }
  }

 private:
  /// Fills codes_, and values_ with the row's pairs.
  void split(int64_t row) {
    const int block = encoding_block(m_.encoding);
    const int groups = block / to_.group;
    std::array<float, cpu::kMostGroups> scales{};
    std::array<float, cpu::kMostGroups> biases{};
    const std::byte* data = m_.data + row * m_.row_bytes();
    for (int64_t b = 0; b < m_.cols / block; ++b) {
      cpu::split_block(m_.encoding, data + b * encoding_block_bytes(m_.encoding), codes_.data() + b * block,
                       scales.data(), biases.data());
      for (int g = 0; g < groups; ++g) {
        const auto at = static_cast<size_t>(2 * (b * groups + g));
        values_[at] = scales[static_cast<size_t>(g)];
        values_[at + 1] = biases[static_cast<size_t>(g)];
      }
    }
  }

  const MatrixView& m_;
  const DeviceMatrix& to_;
  std::vector<float> row_, values_;
  std::vector<uint8_t> codes_;
};

/// Sends rows of `row_bytes` made by `fill(row, out)` through a staging buffer.
template <class Fill>
void upload_rows(void* to, int64_t rows, int64_t row_bytes, cudaStream_t stream, Fill fill) {
  const int64_t at_once = std::clamp<int64_t>(kStagingBytes / std::max<int64_t>(row_bytes, 1), 1, rows);
  std::vector<std::byte> staging(static_cast<size_t>(at_once * row_bytes));
  for (int64_t row = 0; row < rows; row += at_once) {
    const int64_t count = std::min(at_once, rows - row);
    for (int64_t i = 0; i < count; ++i) fill(row + i, staging.data() + i * row_bytes);
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + row * row_bytes, staging.data(),
                          static_cast<size_t>(count * row_bytes), cudaMemcpyHostToDevice, stream),
          "copying a weight");
    check(cudaStreamSynchronize(stream), "copying a weight");
  }
}

/// Sends rows of a mapping as they are.
void upload_stored(void* to, const std::byte* from, int64_t rows, int64_t row_bytes, cudaStream_t stream) {
  const auto bytes = static_cast<size_t>(rows * row_bytes);
  const cudaError_t direct = cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream);
  if (direct == cudaErrorInvalidValue) {
    // The runtime refuses memory that is pinned in part, and a table that stays on the host shares its first
    // and last page with its neighbours in the file.
    (void)cudaGetLastError();
    upload_rows(to, rows, row_bytes, stream, [&](int64_t row, std::byte* out) {
      std::memcpy(out, from + row * row_bytes, static_cast<size_t>(row_bytes));
    });
    return;
  }
  check(direct, "copying a weight");
  check(cudaStreamSynchronize(stream), "copying a weight");
}

/// Pins the pages that hold `bytes` at `data`. Returns their start and the device's address of `data`, or
/// nulls.
std::pair<void*, const void*> pin(const std::byte* data, int64_t bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(data) / page * page;
  const auto end =
      (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes) + page - 1) / page * page;
  auto* pages = reinterpret_cast<void*>(begin);
  if (cudaHostRegister(pages, end - begin, cudaHostRegisterMapped | cudaHostRegisterReadOnly) !=
      cudaSuccess) {
    (void)cudaGetLastError();
    return {};
  }
  void* device = nullptr;
  if (cudaHostGetDevicePointer(&device, pages, 0) != cudaSuccess) {
    (void)cudaGetLastError();
    (void)cudaHostUnregister(pages);
    return {};
  }
  return {pages, static_cast<std::byte*>(device) + (reinterpret_cast<uintptr_t>(data) - begin)};
}

}  // namespace

DeviceWeight::DeviceWeight(const MatrixView& stored, Residence residence)
    : Weight(stored), residence_(residence) {
  matrix_.codes_kind = codes_of(stored.encoding);
  matrix_.pairs_kind = pairs_of(stored);
  matrix_.rows = stored.rows;
  matrix_.cols = stored.cols;
  if (matrix_.pairs_kind != Pairs::kNone)
    matrix_.group = stored.is_affine() ? stored.group_size : cpu::group_form(stored.encoding)->group;
}

void DeviceWeight::fill(const MatrixView& stored, cudaStream_t stream) {
  take_codes(stored, stream);
  if (matrix_.group == 0) return;
  pairs_ = allocate(static_cast<size_t>(all_pair_bytes()));
  matrix_.pairs = pairs_;
  RowConverter convert(stored, matrix_);
  upload_rows(pairs_, stored.rows, matrix_.groups() * matrix_.pair_bytes(), stream,
              [&](int64_t row, std::byte* out) { convert.pairs(row, out); });
}

void DeviceWeight::take_codes(const MatrixView& stored, cudaStream_t stream) {
  const int64_t row_bytes = matrix_.code_bytes(stored.cols);
  const bool as_stored = row_bytes == stored.row_bytes() && (stored.is_affine() || matrix_.group == 0);
  const auto bytes = static_cast<size_t>(all_code_bytes());
  RowConverter convert(stored, matrix_);
  if (residence_ == Residence::kHost) {
    if (as_stored) std::tie(pinned_, matrix_.codes) = pin(stored.data, all_code_bytes());
    if (pinned_ != nullptr) return;
    host_codes_.reset(allocate_pinned(bytes));
    matrix_.codes = host_codes_.get();  // the device has the host's addresses
    auto* const to = static_cast<std::byte*>(host_codes_.get());
    if (as_stored)
      std::memcpy(to, stored.data, bytes);
    else
      for (int64_t row = 0; row < stored.rows; ++row) convert.codes(row, to + row * row_bytes);
    return;
  }
  codes_ = allocate(bytes);
  matrix_.codes = codes_;
  if (as_stored) {
    upload_stored(codes_, stored.data, stored.rows, row_bytes, stream);
  } else {
    upload_rows(codes_, stored.rows, row_bytes, stream,
                [&](int64_t row, std::byte* out) { convert.codes(row, out); });
  }
}

void DeviceWeight::make_tiles(cudaStream_t stream) {
  if (!serves_tiles(matrix_)) return;
  tiles_ = tile_shape(matrix_);
  if (matrix_.codes == nullptr) return;
  tile_codes_ = allocate(static_cast<size_t>(code_bytes(tiles_)));
  if (tiles_.groups > 0) tile_pairs_ = allocate(static_cast<size_t>(pair_bytes(tiles_)));
  tiles_.codes = static_cast<const uint4*>(tile_codes_);
  tiles_.pairs = static_cast<const uint2*>(tile_pairs_);
  fill_tiles(matrix_, tiles_, stream);
  check(cudaGetLastError(), "arranging a weight");
}

int64_t DeviceWeight::device_bytes() const noexcept {
  int64_t bytes = residence_ == Residence::kDevice ? allocation_bytes(all_code_bytes()) : 0;
  if (matrix_.group > 0) bytes += allocation_bytes(all_pair_bytes());
  if (tiles_.tiles > 0) bytes += allocation_bytes(code_bytes(tiles_));
  if (tiles_.groups > 0) bytes += allocation_bytes(pair_bytes(tiles_));
  return bytes;
}

DeviceWeight::~DeviceWeight() {
  (void)cudaFree(codes_);
  (void)cudaFree(pairs_);
  (void)cudaFree(tile_codes_);
  (void)cudaFree(tile_pairs_);
  if (pinned_ != nullptr) (void)cudaHostUnregister(pinned_);
}

}  // namespace facet::cuda
