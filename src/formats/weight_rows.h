// Reading the rows of stored matrices for a writer: decoded, checked, on all threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/matrix_view.h"

namespace facet {

/// Called as a model is written: matrix elements done, elements in all. May throw to stop.
using WriteProgress = std::function<void(int64_t done, int64_t total)>;

class WeightRows {
 public:
  /// `threads` 0: one a usable core.
  WeightRows(int threads, int64_t total_elements, WriteProgress progress)
      : pool_(threads),
        rows_(static_cast<size_t>(pool_.size())),
        total_(total_elements),
        progress_(std::move(progress)) {}

  /// Rows that are decoded before they are written out: some megabytes of f32.
  [[nodiscard]] static int64_t rows_a_piece(const MatrixView& view) noexcept;

  /// A row in a thread's memory.
  struct Row {
    std::span<const float> decoded;  // [cols]
    std::span<float> scratch;        // [cols], for the taker
  };

  /// The threads, for other work between reads.
  [[nodiscard]] ThreadPool& pool() noexcept { return pool_; }

  /// Calls take(row index, Row) for rows [begin, end), on any thread in any order; it must not throw.
  /// Throws Error{kBadInput} naming `name` when a number is not finite or beyond `limit` in magnitude.
  template <class Take>
  void read(std::string_view name, const MatrixView& view, int64_t begin, int64_t end, float limit,
            Take&& take) {
    std::atomic<int64_t> bad{-1};
    pool_.run([&](int thread) noexcept {
      std::vector<float>& values = rows_[static_cast<size_t>(thread)];
      const auto cols = static_cast<size_t>(view.cols);
      if (values.size() < 2 * cols) values.resize(2 * cols);
      const std::span decoded(values.data(), cols);
      const StaticRange part = static_range(end - begin, thread, pool_.team());
      for (int64_t row = begin + part.begin; row < begin + part.end; ++row) {
        decode(view, row, decoded.data());
        if (within(decoded, limit))
          take(row, Row{decoded, {values.data() + cols, cols}});
        else
          bad = row;
      }
    });
    if (bad >= 0) refuse(name, view, bad, limit);
    done_ += (end - begin) * view.cols;
    if (progress_) progress_(done_, total_);
  }

 private:
  static void decode(const MatrixView& view, int64_t row, float* out) noexcept;
  [[nodiscard]] static bool within(std::span<const float> values, float limit) noexcept;
  [[noreturn]] static void refuse(std::string_view name, const MatrixView& view, int64_t row, float limit);

  ThreadPool pool_;
  std::vector<std::vector<float>> rows_;  // one a thread: a row and its scratch
  int64_t done_ = 0;
  int64_t total_;
  WriteProgress progress_;
};

}  // namespace facet
