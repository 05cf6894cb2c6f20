#include "engine/sampler.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "support/sanitized.h"

namespace facet {
namespace {

std::vector<float> log_probabilities(std::vector<float> p) {
  for (float& x : p) x = std::log(x);
  return p;
}

/// How often each token comes up in `draws` draws from the same logits, seeds 0, 1, 2, ….
std::map<int32_t, int> histogram(SamplingParams params, const std::vector<float>& logits, int draws) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < draws; ++i) {
    params.seed = static_cast<uint64_t>(i);
    ++counts[Sampler(params, static_cast<int>(logits.size())).sample(logits)];
  }
  return counts;
}

TEST(Sampler, GreedyTakesTheLikeliestAndOfEqualsTheFirst) {
  SamplingParams params;
  params.temperature = 0;
  Sampler sampler(params, 4);
  EXPECT_EQ(sampler.sample(std::vector<float>{0, 3, 3, 1}), 1);
}

TEST(Sampler, DrawsByProbability) {
  const auto counts = histogram({}, log_probabilities({0.5F, 0.3F, 0.2F}), 20000);
  // Standard deviations of the counts are below 71: five of them.
  EXPECT_NEAR(counts.at(0), 10000, 355);
  EXPECT_NEAR(counts.at(1), 6000, 355);
  EXPECT_NEAR(counts.at(2), 4000, 355);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingParams params;
  params.temperature = 0.5F;  // squares the odds
  const auto counts = histogram(params, log_probabilities({0.6F, 0.4F}), 20000);
  EXPECT_NEAR(counts.at(0), 20000 * 0.36 / (0.36 + 0.16), 355);
}

TEST(Sampler, TopKTopPAndMinPCutTheTail) {
  const auto logits = log_probabilities({0.1F, 0.4F, 0.3F, 0.2F});
  SamplingParams params;
  params.top_k = 2;
  auto counts = histogram(params, logits, 2000);
  EXPECT_EQ(counts.size(), 2U);
  EXPECT_TRUE(counts.contains(1) && counts.contains(2));

  params = {};
  params.top_p = 0.69F;  // 0.4 is not enough, 0.4 + 0.3 is
  counts = histogram(params, logits, 2000);
  EXPECT_EQ(counts.size(), 2U);

  params = {};
  params.top_p = 0;  // always at least one
  counts = histogram(params, logits, 100);
  EXPECT_EQ(counts.size(), 1U);

  params = {};
  params.min_p = 0.6F;  // of 0.4: 0.24
  counts = histogram(params, logits, 2000);
  EXPECT_EQ(counts.size(), 2U);
}

TEST(Sampler, TopKAboveTheVocabularyKeepsAll) {
  SamplingParams params;
  params.top_k = 1000;
  EXPECT_EQ(histogram(params, log_probabilities({0.5F, 0.5F}), 200).size(), 2U);
}

/// The definition, spelled out: everything sorted, every probability there.
int32_t draw_by_sorting(const SamplingParams& params, const std::vector<float>& logits, double uniform) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
  if (params.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(params.top_k)));
  std::vector<float> p;
  for (const int32_t id : order) p.push_back(std::exp((logit(id) - logit(order[0])) / params.temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  size_t kept = 0;
  double mass = 0;
  for (; kept < p.size(); ++kept) {
    if (kept > 0 && (mass >= params.top_p * sum || p[kept] < params.min_p)) break;
    mass += p[kept];
  }
  double rest = uniform * mass;
  size_t chosen = 0;
  while (chosen + 1 < kept && (rest -= p[chosen]) >= 0) ++chosen;
  return order[chosen];
}

/// The number in [0, 1) that a seed's first draw uses: found by drawing among equals.
double first_uniform(uint64_t seed) {
  constexpr int kEquals = 1 << 20;
  SamplingParams params;
  params.seed = seed;
  return Sampler(params, kEquals).sample(std::vector<float>(kEquals, 0.0F)) / double{kEquals};
}

TEST(Sampler, SelectingGivesWhatSortingGives) {
  std::vector<double> uniform;
  const uint64_t seeds = testing::sanitized() ? 5 : 20;
  for (uint64_t seed = 0; seed < seeds; ++seed) uniform.push_back(first_uniform(seed));
  int exact = 0;
  std::mt19937 random(5);
  for (const float spread : {0.1F, 1.0F, 4.0F}) {  // flat: the draw goes far down the list
    std::normal_distribution<float> logit(0, spread);
    std::vector<float> logits(20000);
    for (float& l : logits) l = std::round(logit(random) * 64) / 64;  // many equals
    for (const auto& [top_k, top_p, min_p] : {std::tuple{0, 1.0F, 0.0F},
                                              {0, 0.95F, 0.0F},
                                              {0, 0.5F, 0.01F},
                                              {0, 1.0F, 0.05F},
                                              {64, 0.95F, 0.0F},
                                              {3000, 1.0F, 0.0F},
                                              {5000, 0.9F, 0.001F}}) {
      SCOPED_TRACE(fmt::format("spread {} top_k {} top_p {} min_p {}", spread, top_k, top_p, min_p));
      SamplingParams params;
      params.top_k = top_k;
      params.top_p = top_p;
      params.min_p = min_p;
      params.temperature = 0.8F;
      for (size_t seed = 0; seed < uniform.size(); ++seed) {
        params.seed = seed;
        const int32_t token = Sampler(params, static_cast<int>(logits.size())).sample(logits);
        // The number is known to within 2⁻²⁰: the token is what both ends give, or lies between theirs.
        const int32_t first = draw_by_sorting(params, logits, uniform[seed]);
        const int32_t last = draw_by_sorting(params, logits, uniform[seed] + 0x1p-20);
        const auto logit_of = [&](int32_t id) { return logits[static_cast<size_t>(id)]; };
        EXPECT_LE(logit_of(token), logit_of(first));
        EXPECT_GE(logit_of(token), logit_of(last));
        if (first == last) {
          EXPECT_EQ(token, first);
        }
        exact += first == last ? 1 : 0;
      }
    }
  }
  EXPECT_GT(exact, testing::sanitized() ? 50 : 200) << "of 420 draws, a quarter of them under sanitizers";
}

TEST(Sampler, TheLikeliestDecideAsAllDo) {
  constexpr int kVocab = 500;
  std::mt19937 random(6);
  std::normal_distribution<float> logit(0, 3);
  for (const auto& [temperature, top_k] : {std::pair{0.0F, 0}, {0.8F, 1}, {1.3F, 5}, {0.7F, 64}}) {
    SamplingParams params;
    params.temperature = temperature;
    params.top_k = top_k;
    params.top_p = 0.9F;
    params.seed = 3;
    Sampler from_all(params, kVocab);
    Sampler from_some(params, kVocab);
    const int enough = from_some.enough();
    ASSERT_EQ(enough, temperature == 0 ? 1 : top_k);
    for (int draw = 0; draw < 50; ++draw) {
      std::vector<float> logits(kVocab);
      for (float& l : logits) l = std::round(logit(random) * 64) / 64;  // many equals
      std::vector<TokenLogit> some;
      for (int32_t i = 0; i < kVocab; ++i) some.push_back({logits[static_cast<size_t>(i)], i});
      std::stable_sort(some.begin(), some.end(), [](auto& a, auto& b) { return a.logit > b.logit; });
      some.resize(static_cast<size_t>(enough));
      std::shuffle(some.begin(), some.end(), random);
      some.push_back({0, -1});  // no token
      EXPECT_EQ(from_some.sample(some), from_all.sample(logits));
    }
  }
  SamplingParams params;
  params.top_k = 5;
  params.presence_penalty = 1;
  EXPECT_EQ(Sampler(params, kVocab).enough(), 0);  // what was generated may fall behind the rest
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  const std::vector<float> logits(1000, 0.0F);
  SamplingParams params;
  params.seed = 7;
  Sampler a(params, 1000);
  Sampler b(params, 1000);
  params.seed = 8;
  Sampler c(params, 1000);
  int different = 0;
  int repeated = 0;
  int32_t previous = -1;
  for (int i = 0; i < 50; ++i) {
    const int32_t token = a.sample(logits);
    EXPECT_EQ(token, b.sample(logits));
    different += token != c.sample(logits) ? 1 : 0;
    repeated += token == previous ? 1 : 0;
    previous = token;
  }
  EXPECT_GT(different, 40);
  EXPECT_LT(repeated, 5) << "each draw is a new number";
}

TEST(Sampler, PenaltiesCountWhatTheyShould) {
  SamplingParams params;
  params.temperature = 0;
  params.repeat_penalty = 2;
  {
    Sampler sampler(params, 3);
    sampler.see_prompt(std::vector<int32_t>{0});
    EXPECT_EQ(sampler.sample(std::vector<float>{3, 2, 0}), 1) << "3 / 2 is less than 2; the prompt counts";
    EXPECT_EQ(sampler.sample(std::vector<float>{-1, -3, -1.9F}), 2) << "negative logits are multiplied";
  }
  params = {};
  params.temperature = 0;
  params.presence_penalty = 1.5F;
  {
    Sampler sampler(params, 2);
    sampler.see_prompt(std::vector<int32_t>{0});
    const std::vector<float> logits = {2, 1};
    EXPECT_EQ(sampler.sample(logits), 0) << "the prompt does not count";
    EXPECT_EQ(sampler.sample(logits), 1);
  }
  params = {};
  params.temperature = 0;
  params.frequency_penalty = 0.6F;
  {
    Sampler sampler(params, 2);
    const std::vector<float> logits = {2, 1};
    EXPECT_EQ(sampler.sample(logits), 0);
    EXPECT_EQ(sampler.sample(logits), 0) << "2 − 0.6 is still more than 1";
    EXPECT_EQ(sampler.sample(logits), 1) << "2 − 1.2 is not";
  }
}

TEST(Sampler, LogitBiasIsAdded) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{1, 5.0F}};
  EXPECT_EQ(Sampler(params, 2).sample(std::vector<float>{4, 0}), 1);
}

TEST(Sampler, BrokenLogitsAreAnErrorNotATokenAndSomeNaNsAreSkipped) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  SamplingParams params;
  EXPECT_THROW(Sampler(params, 2).sample(std::vector<float>{nan, nan}), Error);
  EXPECT_EQ(Sampler(params, 3).sample(std::vector<float>{nan, 1, nan}), 1);
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Sampler(params, 3).sample(std::vector<float>{0, inf, -inf}), 1);
}

TEST(Sampler, RefusesParametersOutOfRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refused = [](auto change) {
    SamplingParams params;
    change(params);
    try {
      validate(params, 10);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kUsage;
    }
    return false;
  };
  EXPECT_FALSE(refused([](SamplingParams&) {}));
  EXPECT_TRUE(refused([&](SamplingParams& p) { p.temperature = nan; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.temperature = -1; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.top_p = 2; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.top_k = -1; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.min_p = 1.1F; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.repeat_penalty = 0; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.logit_bias = {{10, 1.0F}}; }));
  EXPECT_TRUE(refused([&](SamplingParams& p) { p.logit_bias = {{1, nan}}; }));
}

}  // namespace
}  // namespace facet
