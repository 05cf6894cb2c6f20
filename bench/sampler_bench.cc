// One token from Gemma's vocabulary of 262,144.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "engine/sampler.h"

namespace facet {
namespace {

/// Arguments: top_k, top_p in percent, min_p in percent, deviation of the logits in tenths.
void sample(benchmark::State& state) {
  constexpr int kVocabulary = 262144;
  std::mt19937 random(1);
  std::normal_distribution<float> logit(0, static_cast<float>(state.range(3)) / 10);
  std::vector<float> logits(kVocabulary);
  for (float& l : logits) l = logit(random);
  SamplingParams params;
  params.top_k = static_cast<int>(state.range(0));
  params.top_p = static_cast<float>(state.range(1)) / 100;
  params.min_p = static_cast<float>(state.range(2)) / 100;
  Sampler sampler(params, kVocabulary);
  for (auto _ : state) benchmark::DoNotOptimize(sampler.sample(logits));
}
BENCHMARK(sample)
    ->ArgNames({"top_k", "top_p", "min_p", "deviation"})
    ->Args({64, 95, 0, 40})
    ->Args({0, 100, 0, 40})
    ->Args({0, 95, 0, 40})
    ->Args({0, 100, 5, 40})
    ->Args({0, 95, 0, 10})  // flat: half the vocabulary is in the nucleus
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace facet
