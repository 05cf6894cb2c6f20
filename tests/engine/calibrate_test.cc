#include "engine/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "backend/observed.h"
#include "base/error.h"
#include "engine/backend_choice.h"
#include "engine/engine.h"
#include "engine/trace.h"
#include "engine/validate.h"
#include "support/errors.h"
#include "support/golden.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

class CalibrateGolden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (testing::golden_names().empty()) GTEST_SKIP() << "the shared goldens are not there";
    golden_ = testing::load_golden(GetParam());
  }
  testing::Golden golden_;
};

TEST_P(CalibrateGolden, ObservingShowsEveryProductAndChangesNothing) {
  Checkpoint model = open_checkpoint(golden_.directory.string());
  std::set<const std::byte*> expected;
  for (const WeightRow& row : weight_table(model.spec))
    if (row.use == WeightRow::Use::kMatmul && row.name.find(".experts.") == std::string::npos)
      expected.insert(model.weights->matrix(row.name)->data);

  const Trace trace = read_trace(golden_.trace());
  EngineOptions options;
  options.backend = "reference";
  options.context = static_cast<int>(trace.input_ids.size());
  std::set<const std::byte*> seen;
  auto backend = make_observed(make_backend(options), [&](const MatrixView& stored, const float*, int rows) {
    EXPECT_GT(rows, 0);
    seen.insert(stored.data);
  });
  Engine engine(std::move(model), std::move(backend), options);
  const ValidationResult result = validate_trace(engine, trace);
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(seen, expected);
}

INSTANTIATE_TEST_SUITE_P(Goldens, CalibrateGolden, ::testing::Values("tiny-e2b", "tiny-31b", "tiny-26b-a4b"),
                         [](const auto& test) { return testing::test_name(test.param); });

testing::TinyShape shape() {
  testing::TinyShape shape;
  shape.ffn_dim = 64;
  return shape;
}

std::vector<int32_t> ids(size_t count) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((i * 13 + i * i) % 64));
  return ids;
}

/// The sum of x xᵀ over every product, taken directly.
struct DirectMoments {
  std::map<const std::byte*, std::vector<double>> sums;
  std::map<const std::byte*, int> rows;

  void add(const MatrixView& stored, const float* x, int count) {
    const auto n = static_cast<size_t>(stored.cols);
    std::vector<double>& sum = sums[stored.data];
    sum.resize(n * n);
    for (int r = 0; r < count; ++r, x += n)
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j)
          sum[i * n + j] += static_cast<double>(x[i]) * static_cast<double>(x[j]);
    rows[stored.data] += count;
  }
};

TEST(Calibrate, MomentsAreTheMeansOverTheText) {
  const std::vector<int32_t> text = ids(90);
  CalibrationOptions options;
  options.prefix = {2};
  options.threads = 2;
  options.context = 41;  // windows of 40 tokens: three, the last one short
  std::vector<int64_t> progress;
  options.progress = [&](int64_t done, int64_t) { progress.push_back(done); };
  const Calibration calibration = calibrate(testing::tiny_checkpoint(shape()), text, options);
  EXPECT_EQ(progress, (std::vector<int64_t>{40, 80, 90}));

  Checkpoint model = testing::tiny_checkpoint(shape());
  std::map<std::string, const std::byte*> places;
  for (const WeightRow& row : weight_table(model.spec))
    if (row.use == WeightRow::Use::kMatmul) places[row.name] = model.weights->matrix(row.name)->data;
  EngineOptions engine_options;
  engine_options.context = 41;
  engine_options.threads = 1;
  DirectMoments direct;
  Engine engine(std::move(model),
                make_observed(make_backend(engine_options),
                              [&](const MatrixView& m, const float* x, int rows) { direct.add(m, x, rows); }),
                engine_options);
  for (size_t begin = 0; begin < text.size(); begin += 40) {
    std::vector<int32_t> window = {2};
    for (size_t i = begin; i < std::min(text.size(), begin + 40); ++i) window.push_back(text[i]);
    const int sequence = engine.cache().open();
    engine.step({sequence, window, Want::kAll}, true);
    engine.cache().close(sequence);
  }
  size_t compared = 0;
  for (const auto& [name, input] : calibration) {
    if (name == "model.embed_tokens.weight") continue;  // a sample: the head is dear
    const std::vector<double>& sum = direct.sums.at(places.at(name));
    const double rows = direct.rows.at(places.at(name));
    const size_t n = input.energy.size();
    ASSERT_EQ(sum.size(), n * n) << name;
    for (size_t i = 0; i < n; ++i)
      EXPECT_NEAR(input.energy[i], sum[i * n + i] / rows, 1e-4 * (1 + sum[i * n + i] / rows)) << name;
    if (input.moments.empty()) continue;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = i; j < n; ++j) {
        const double scale = std::sqrt(sum[i * n + i] * sum[j * n + j]) / rows;
        ASSERT_NEAR(input.moments[i * n + j], sum[i * n + j] / rows, 1e-4 * (1 + scale)) << name;
      }
    ++compared;
  }
  // Each layer's q, k, v, o, gate, up, down and the per-layer gate; the rows of 8 are too short.
  EXPECT_EQ(compared, 5U * 8U + 1U);
}

TEST(Calibrate, RefusesBadTexts) {
  testing::expect_error([] { (void)calibrate(testing::tiny_checkpoint(shape()), {}, {}); },
                        ErrorCode::kBadInput, {"at least one token"});
  const std::vector<int32_t> outside = {1, 64};
  testing::expect_error([&] { (void)calibrate(testing::tiny_checkpoint(shape()), outside, {}); },
                        ErrorCode::kBadInput, {"expected 0 to 63"});
  const std::atomic<bool> cancel{true};
  CalibrationOptions options;
  options.cancel = &cancel;
  testing::expect_error([&] { (void)calibrate(testing::tiny_checkpoint(shape()), ids(9), options); },
                        ErrorCode::kInterrupted, {"interrupted"});
}

}  // namespace
}  // namespace facet
