#include "cli/sampling_options.h"

#include <charconv>
#include <random>

namespace facet::cli {
namespace {

/// CLI11 lets 2⁶⁴ and more wrap to the largest value.
const CLI::Validator kUint64(
    [](const std::string& text) {
      uint64_t value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      return error == std::errc() && end == text.data() + text.size()
                 ? std::string()
                 : "expected 0 to 18446744073709551615, got " + text;
    },
    "UINT64");

}  // namespace

void SamplingOptions::declare(CLI::App& app) {
  const auto group = "Sampling (defaults: the model's generation_config.json)";
  app.add_option("--temp", temperature, "Temperature; 0 is greedy")->group(group);
  app.add_option("--top-k", top_k, "Keep the K likeliest tokens; 0 keeps all")->group(group);
  app.add_option("--top-p", top_p, "Keep the fewest tokens that hold this probability")->group(group);
  app.add_option("--min-p", min_p, "Drop tokens below this share of the likeliest's probability")
      ->group(group);
  app.add_option("--repeat-penalty", repeat_penalty, "Above 1: make tokens seen before less likely")
      ->group(group);
  app.add_option("--frequency-penalty", frequency_penalty, "Lower a token's logit by this for each use")
      ->group(group);
  app.add_option("--presence-penalty", presence_penalty, "Lower a used token's logit by this once")
      ->group(group);
  app.add_option("--seed", seed, "Same seed, same text (default: random)")->group(group)->check(kUint64);
  app.add_flag("--greedy", greedy, "Always the likeliest token")->group(group);
  app.add_option("--stop", stop, "End the answer before this text; may be repeated")
      ->group(group)
      ->type_name("TEXT")
      ->default_str("")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", ignore_eos, "Go on past the model's end-of-answer tokens")->group(group);
}

SamplingParams SamplingOptions::params(const GenerationConfig& defaults) const {
  SamplingParams p;
  p.temperature = temperature.value_or(static_cast<float>(defaults.temperature.value_or(1.0)));
  p.top_k = top_k.value_or(defaults.top_k.value_or(0));
  p.top_p = top_p.value_or(static_cast<float>(defaults.top_p.value_or(1.0)));
  p.min_p = min_p.value_or(0.0F);
  p.repeat_penalty = repeat_penalty.value_or(1.0F);
  p.frequency_penalty = frequency_penalty.value_or(0.0F);
  p.presence_penalty = presence_penalty.value_or(0.0F);
  p.seed = seed ? *seed : (uint64_t{std::random_device{}()} << 32 | std::random_device{}());
  if (greedy) p.temperature = 0;
  return p;
}

}  // namespace facet::cli
