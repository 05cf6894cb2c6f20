#include "engine/calibrate.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "backend/observed.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "engine/backend_choice.h"
#include "engine/engine.h"

namespace facet {
namespace {

/// Sums of x xᵀ over the inputs of every product, by where the matrix is stored.
class MomentMeter {
 public:
  explicit MomentMeter(int threads) : pool_(threads) {}

  void add(const MatrixView& stored, const float* x, int rows) {
    const auto n = static_cast<size_t>(stored.cols);
    Sum& sum = sums_[stored.data];
    sum.squares.resize(n);
    for (int r = 0; r < rows; ++r)
      for (size_t i = 0; i < n; ++i) {
        const double value = x[static_cast<size_t>(r) * n + i];
        sum.squares[i] += value * value;
      }
    sum.rows += rows;
    if (stored.cols > kMaxMomentColumns || stored.cols % 32 != 0) return;
    sum.moments.resize(n * n);
    pool_.run([&](int thread) noexcept {
      constexpr size_t kInputs = 32;  // so many stay in the cache
      for (size_t begin = 0; begin < static_cast<size_t>(rows); begin += kInputs) {
        const size_t count = std::min(kInputs, static_cast<size_t>(rows) - begin);
        // Interleaved: row i of the upper triangle has n − i elements.
        for (size_t i = static_cast<size_t>(thread) * kRows; i < n;
             i += static_cast<size_t>(pool_.team()) * kRows)
          add_rows(i, n, x + begin * n, count, sum.moments.data());
      }
    });
  }

  /// The means, by the matrices' names. Empties this.
  [[nodiscard]] Calibration take(const Checkpoint& model) {
    Calibration calibration;
    for (const WeightRow& row : weight_table(model.spec)) {
      if (row.use != WeightRow::Use::kMatmul) continue;
      const auto view = model.weights->matrix(row.name);
      const auto found = view ? sums_.find(view->data) : sums_.end();
      if (found == sums_.end()) continue;
      Sum& sum = found->second;
      InputMoments& input = calibration[row.name];
      for (const double squares : sum.squares)
        input.energy.push_back(static_cast<float>(squares / static_cast<double>(sum.rows)));
      input.moments = std::move(sum.moments);
      for (float& moment : input.moments) moment /= static_cast<float>(sum.rows);
    }
    return calibration;
  }

 private:
  struct Sum {
    std::vector<double> squares;
    std::vector<float> moments;  // [cols, cols], on and above the diagonal
    int64_t rows = 0;
  };

  // Rows of moments and columns of them that are summed together in registers.
  static constexpr size_t kRows = 4;
  static constexpr size_t kColumns = 8;

  /// Rows [i, i + kRows) of moments += Σ_r x[r, i] x[r, j], from the tile that holds the diagonal on.
  static void add_rows(size_t i, size_t n, const float* x, size_t count, float* moments) noexcept {
    for (size_t j = i / kColumns * kColumns; j < n; j += kColumns) {
      std::array<std::array<float, kColumns>, kRows> sums{};
      for (size_t r = 0; r < count; ++r) {
        const float* in = x + r * n;
        for (size_t k = 0; k < kRows; ++k)
          for (size_t c = 0; c < kColumns; ++c) sums[k][c] += in[i + k] * in[j + c];
      }
      for (size_t k = 0; k < kRows; ++k)
        for (size_t c = 0; c < kColumns; ++c) moments[(i + k) * n + j + c] += sums[k][c];
    }
  }

  ThreadPool pool_;
  std::unordered_map<const std::byte*, Sum> sums_;
};

/// Of a step's tokens those whose logits are computed, for the head's inputs: it is the dearest product.
constexpr int kHeadRows = 64;

}  // namespace

Calibration calibrate(Checkpoint model, std::span<const int32_t> ids, const CalibrationOptions& options) {
  if (ids.empty()) throw bad_input("the calibration text: expected at least one token, got none");
  EngineOptions engine_options;
  engine_options.backend = "cpu";  // products' inputs are looked at from the host
  engine_options.threads = options.threads;
  engine_options.most_context = options.context;
  engine_options.logit_rows = kHeadRows;
  MomentMeter meter(options.threads);
  auto backend = make_observed(make_backend(engine_options), [&](const MatrixView& stored, const float* x,
                                                                 int rows) { meter.add(stored, x, rows); });
  Engine engine(std::move(model), std::move(backend), engine_options);
  engine.check_tokens(ids);

  const auto context = static_cast<size_t>(engine.context());
  if (options.prefix.size() >= context) throw bad_input("the model's context is too short to calibrate in");
  const size_t window = context - options.prefix.size();
  const auto chunk = static_cast<size_t>(engine.max_rows());
  std::vector<int32_t> tokens;
  for (size_t begin = 0; begin < ids.size(); begin += window) {
    const auto part = ids.subspan(begin, std::min(window, ids.size() - begin));
    tokens.assign(options.prefix.begin(), options.prefix.end());
    tokens.insert(tokens.end(), part.begin(), part.end());
    const int sequence = engine.cache().open();
    for (size_t at = 0; at < tokens.size(); at += chunk) {
      if (options.cancel != nullptr && *options.cancel) throw Error(ErrorCode::kInterrupted, "interrupted");
      const size_t count = std::min(chunk, tokens.size() - at);
      engine.step({sequence, {tokens.data() + at, count}, Want::kAll}, /*whole=*/true);
      (void)engine.logits(0, std::min(engine.max_logit_rows(), engine.outputs()));
    }
    engine.cache().close(sequence);
    if (options.progress)
      options.progress(static_cast<int64_t>(begin + part.size()), static_cast<int64_t>(ids.size()));
  }
  return meter.take(engine.checkpoint());
}

}  // namespace facet
