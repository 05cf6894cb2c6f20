#include "engine/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "engine/trace.h"
#include "support/errors.h"
#include "support/golden.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

EngineOptions small_options(int context = 0) {
  EngineOptions options;
  options.backend = "reference";
  options.context = context;
  options.kv = KvType::kF32;
  options.chunk = 16;
  return options;
}

Engine tiny_engine(int context, unsigned seed = 1) {
  return Engine(testing::tiny_checkpoint({}, seed), small_options(context));
}

std::vector<int32_t> tiny_ids(size_t count) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((i * 29 + i * i) % 64));
  return ids;
}

TEST(PositionScore, IsTheDefinition) {
  const std::vector<float> q = {0.5F, -1.0F, 3.0F, 2.0F};
  const std::vector<float> p = {1.0F, 0.0F, 2.0F, -4.0F};
  const auto probabilities = [](const std::vector<float>& logits) {
    std::vector<double> out;
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    for (const float x : logits) out.push_back(std::exp(static_cast<double>(x)) / sum);
    return out;
  };
  const auto pq = probabilities(q);
  const auto pp = probabilities(p);
  double kl = 0;
  for (size_t i = 0; i < pp.size(); ++i) kl += pp[i] * std::log(pp[i] / pq[i]);
  const PositionScore score = score_position(q, p, 3);
  EXPECT_NEAR(score.nll, -std::log(pq[3]), 1e-6);
  EXPECT_NEAR(score.reference_nll, -std::log(pp[3]), 1e-6);
  EXPECT_NEAR(score.kl, kl, 1e-6);
  EXPECT_TRUE(score.same_top);
  EXPECT_FALSE(score_position(q, std::vector<float>{9, 0, 0, 0}, 3).same_top);
}

TEST(PositionScore, UniformLogitsOverALargeVocabulary) {
  const std::vector<float> uniform(262144, 7.0F);
  EXPECT_NEAR(score_position(uniform, uniform, 5).nll, std::log(262144.0), 1e-6);
  // Another vector with the same distribution: no divergence.
  const std::vector<float> shifted(262144, -20.0F);
  EXPECT_NEAR(score_position(uniform, shifted, 5).kl, 0, 1e-6);
}

TEST(PositionScore, LogitsThatAreNotNumbersShow) {
  const std::vector<float> good = {1, 2, 3};
  const std::vector<float> bad = {1, NAN, 3};
  EXPECT_FALSE(std::isfinite(score_position(bad, bad, 0).nll));
  EXPECT_FALSE(std::isfinite(score_position(bad, good, 0).kl));
}

TEST(Perplexity, IsWhatTransformersComputed) {
  if (testing::golden_names().empty()) GTEST_SKIP() << "the shared goldens are not there";
  const testing::Golden golden = testing::load_golden("tiny-e2b");
  const std::vector<int32_t> ids = read_trace(golden.trace()).input_ids;
  EngineOptions options = small_options(static_cast<int>(ids.size()));
  options.chunk = 64;
  Engine engine(open_checkpoint(golden.directory.string()), options);
  PerplexityOptions scoring;
  scoring.prefix = {ids.front()};  // <bos>: the golden's mean is over all tokens after it
  const Perplexity result = score_text(engine, nullptr, std::span(ids).subspan(1), scoring);
  EXPECT_EQ(result.tokens, static_cast<int64_t>(ids.size()) - 1);
  EXPECT_EQ(result.windows, 1);
  EXPECT_NEAR(result.mean_nll(), golden.mean_nll, 1e-4);
  EXPECT_NEAR(result.perplexity(), std::exp(golden.mean_nll), 1e-2 * std::exp(golden.mean_nll));
  EXPECT_NEAR(result.bits_per_byte(100), result.nll / std::numbers::ln2 / 100, 1e-12);
  EXPECT_EQ(result.mean_kl, std::nullopt);
}

TEST(Perplexity, WindowsScoreEveryTokenOnceAndKnowNothingOfEachOther) {
  Engine engine = tiny_engine(20);
  const std::vector<int32_t> ids = tiny_ids(50);
  PerplexityOptions options;
  options.prefix = {2};
  std::vector<int64_t> progress;
  options.progress = [&](int64_t done, int64_t total) {
    progress.push_back(done);
    EXPECT_EQ(total, 50);
  };
  const Perplexity whole = score_text(engine, nullptr, ids, options);
  EXPECT_EQ(whole.tokens, 50);
  EXPECT_EQ(whole.windows, 3);  // 19 tokens each beside the prefix
  EXPECT_EQ(progress.back(), 50);
  EXPECT_TRUE(std::ranges::is_sorted(progress));
  options.progress = {};
  double sum = 0;
  for (const auto& [begin, count] : {std::pair(0, 19), {19, 19}, {38, 12}})
    sum += score_text(engine, nullptr, std::span(ids).subspan(begin, count), options).nll;
  EXPECT_NEAR(whole.nll, sum, 1e-4);
}

TEST(Perplexity, WithoutAPrefixAWindowsFirstTokenIsNotScored) {
  Engine engine = tiny_engine(20);
  const Perplexity result = score_text(engine, nullptr, tiny_ids(50), {});
  EXPECT_EQ(result.windows, 3);
  EXPECT_EQ(result.tokens, 47);
}

TEST(Perplexity, AModelDoesNotDivergeFromItself) {
  Engine engine = tiny_engine(20);
  Engine same = tiny_engine(20);
  const Perplexity result = score_text(engine, &same, tiny_ids(30), {});
  EXPECT_NEAR(*result.mean_kl, 0, 1e-7);
  EXPECT_EQ(*result.same_top, 1);
  EXPECT_DOUBLE_EQ(*result.reference_nll, result.nll);
}

TEST(Perplexity, AnotherModelDiverges) {
  Engine engine = tiny_engine(20);
  Engine other = tiny_engine(20, 2);
  const Perplexity result = score_text(engine, &other, tiny_ids(30), {});
  EXPECT_GT(*result.mean_kl, 0.01);
  EXPECT_LT(*result.same_top, 1);
  EXPECT_NE(*result.reference_nll, result.nll);
}

TEST(Perplexity, RefusesWhatCannotBeScored) {
  Engine engine = tiny_engine(20);
  testing::expect_error([&] { (void)score_text(engine, nullptr, {}, {}); }, ErrorCode::kBadInput,
                        {"at least 2 tokens"});
  testing::expect_error([&] { (void)score_text(engine, nullptr, std::vector<int32_t>{1}, {}); },
                        ErrorCode::kBadInput, {"at least 2 tokens, got 1"});
  testing::expect_error(
      [&] {
        (void)score_text(engine, nullptr, std::vector<int32_t>{1, 64}, {});
      },
      ErrorCode::kBadInput, {"expected 0 to 63"});
  Engine shorter = tiny_engine(10);
  testing::expect_error([&] { (void)score_text(engine, &shorter, tiny_ids(30), {}); }, ErrorCode::kBadInput,
                        {"context: expected 20"});
  testing::TinyShape shape;
  shape.vocab = 65;
  Engine wider(testing::tiny_checkpoint(shape), small_options(20));
  testing::expect_error([&] { (void)score_text(engine, &wider, tiny_ids(30), {}); }, ErrorCode::kBadInput,
                        {"vocabulary: expected 64"});
  PerplexityOptions options;
  options.prefix = std::vector<int32_t>(20, 2);
  testing::expect_error([&] { (void)score_text(engine, nullptr, tiny_ids(30), options); },
                        ErrorCode::kBadInput, {"a context of 20: expected at least 21"});
}

TEST(Perplexity, StopsWhenAsked) {
  Engine engine = tiny_engine(20);
  const std::atomic<bool> cancel{true};
  PerplexityOptions options;
  options.cancel = &cancel;
  testing::expect_error([&] { (void)score_text(engine, nullptr, tiny_ids(30), options); },
                        ErrorCode::kInterrupted, {"interrupted"});
  EXPECT_EQ(score_text(engine, nullptr, tiny_ids(30), {}).tokens, 28) << "the sequence was given back";
}

}  // namespace
}  // namespace facet
