#include "engine/self_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "engine/calibrate.h"
#include "engine/generate.h"
#include "engine/perplexity.h"
#include "formats/mlx_writer.h"
#include "support/errors.h"
#include "support/golden.h"
#include "support/paths.h"
#include "support/sanitized.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Not;

SelfTextOptions options() {
  SelfTextOptions options;
  options.prefix = {2};
  options.starts = {{}, {5, 6, 7}};
  options.never = {1};
  options.texts = 20;  // more than one call gives logits for
  options.length = 40;
  options.threads = 2;
  return options;
}

TEST(SelfText, IsWhatTheModelWritesAlone) {
  std::vector<int64_t> progress;
  SelfTextOptions wanted = options();
  wanted.progress = [&](int64_t done, int64_t total) {
    progress.push_back(done);
    EXPECT_EQ(total, 800);
  };
  const std::vector<int32_t> written = write_own_texts(testing::tiny_checkpoint({}), wanted);
  ASSERT_EQ(written.size(), 800U);
  EXPECT_TRUE(std::ranges::is_sorted(progress));
  EXPECT_EQ(progress.back(), 800);

  EngineOptions engine_options;
  engine_options.context = 41;
  Engine engine(testing::tiny_checkpoint({}), engine_options);
  std::vector<std::vector<int32_t>> texts;
  for (int i = 0; i < 20; ++i) {
    std::vector<int32_t> prompt = {2};
    if (i % 2 == 1) prompt.insert(prompt.end(), {5, 6, 7});
    GenerateOptions alone;
    alone.sampling.seed = static_cast<uint64_t>(i);
    alone.sampling.logit_bias = {{1, -1000.0F}};
    alone.max_tokens = 41 - static_cast<int>(prompt.size());
    const int sequence = engine.cache().open();
    const GenerateResult result = generate(engine, sequence, prompt, alone);
    engine.cache().close(sequence);
    texts.emplace_back(prompt.begin() + 1, prompt.end());
    texts.back().insert(texts.back().end(), result.ids.begin(), result.ids.end());
  }
  for (int i = 0; i < 20; ++i) {
    const std::vector<int32_t> text(written.begin() + 40 * i, written.begin() + 40 * (i + 1));
    EXPECT_EQ(text, texts[static_cast<size_t>(i)]) << i;
  }
  std::ranges::sort(texts);
  EXPECT_EQ(std::ranges::adjacent_find(texts), texts.end()) << "all different";
}

/// Mean KL of `model` with 8-bit weights from itself: of random ones, 4 bits leave too little to compare, and
/// their activations have little structure to go by. docs/quality.md has what trained ones gain.
double divergence(const std::string& model, AffineMethod method, Calibration calibration,
                  std::span<const int32_t> ids) {
  const testing::TemporaryDirectory directory;
  MlxWriteOptions writing;
  writing.bits = writing.head_bits = 8;
  writing.method = method;
  writing.calibration = std::move(calibration);
  write_mlx(open_checkpoint(model), directory / "q", writing);
  EngineOptions engine_options;
  engine_options.backend = "reference";
  engine_options.context = 65;
  Engine engine(open_checkpoint((directory / "q").string()), engine_options);
  Engine reference(open_checkpoint(model), engine_options);
  PerplexityOptions scoring;
  scoring.prefix = {2};
  return *score_text(engine, &reference, ids, scoring).mean_kl;
}

TEST(SelfText, CalibratesAQuantizationThatDiffersLess) {
  FACET_SKIP_IF_SANITIZED();
  if (testing::golden_names().empty()) GTEST_SKIP() << "the shared goldens are not there";
  const std::string model = testing::load_golden("tiny-e2b").directory.string();
  SelfTextOptions wanted = options();
  wanted.texts = 160;  // fewer leave the order of the first two to chance
  wanted.length = 64;
  const std::vector<int32_t> texts = write_own_texts(open_checkpoint(model), wanted);
  CalibrationOptions calibrating;
  calibrating.prefix = {2};
  calibrating.context = 65;
  const auto calibration_texts = std::span(texts).first(texts.size() / 2);
  const Calibration calibration = calibrate(open_checkpoint(model), calibration_texts, calibrating);
  const std::span<const int32_t> others = std::span(texts).last(texts.size() / 2);
  const double nearest = divergence(model, AffineMethod::kNearest, {}, others);
  const double plain = divergence(model, AffineMethod::kSearch, {}, others);
  const double own = divergence(model, AffineMethod::kSearch, calibration, others);
  EXPECT_LT(plain, nearest);
  EXPECT_LT(own, plain);
}

TEST(SelfText, LeavesOutWhatIsNeverToBeDrawn) {
  SelfTextOptions wanted = options();
  wanted.never.clear();
  EXPECT_THAT(write_own_texts(testing::tiny_checkpoint({}), wanted), Contains(9));
  wanted.never = {9};
  EXPECT_THAT(write_own_texts(testing::tiny_checkpoint({}), wanted), Each(Not(9)));
}

TEST(SelfText, IsAsLongAsTheContextAllows) {
  SelfTextOptions wanted = options();
  wanted.texts = 3;
  wanted.length = 1000;
  testing::TinyShape shape;
  shape.context = 24;
  EXPECT_EQ(write_own_texts(testing::tiny_checkpoint(shape), wanted).size(), 3U * 23U);
  wanted.starts = {std::vector<int32_t>(23, 4)};
  testing::expect_error([&] { (void)write_own_texts(testing::tiny_checkpoint(shape), wanted); },
                        ErrorCode::kBadInput, {"too short"});
}

TEST(SelfText, CanBeInterrupted) {
  const std::atomic<bool> cancel{true};
  SelfTextOptions wanted = options();
  wanted.cancel = &cancel;
  testing::expect_error([&] { (void)write_own_texts(testing::tiny_checkpoint({}), wanted); },
                        ErrorCode::kInterrupted, {"interrupted"});
}

}  // namespace
}  // namespace facet
