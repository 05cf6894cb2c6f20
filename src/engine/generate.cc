#include "engine/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace facet {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

bool cancelled(const GenerateOptions& options) noexcept {
  return options.cancel != nullptr && options.cancel->load(std::memory_order_relaxed);
}

/// Feeds the prompt in chunks; false when cancelled on the way.
bool feed_prompt(Engine& engine, int sequence, std::span<const int32_t> prompt,
                 const GenerateOptions& options) {
  const auto total = static_cast<int>(prompt.size());
  const int chunk = engine.cache().options().chunk;
  for (int done = 0; done < total;) {
    if (cancelled(options)) return false;
    const int count = std::min(chunk, total - done);
    const bool last = done + count == total;
    engine.step({sequence, prompt.subspan(static_cast<size_t>(done), static_cast<size_t>(count)),
                 last ? Want::kLast : Want::kNothing});
    done += count;
    if (options.on_prompt) options.on_prompt(done, total);
  }
  return true;
}

/// From the likeliest tokens where they decide and the backend finds them, else from all.
int32_t draw(Engine& engine, Sampler& sampler) {
  if (const int enough = sampler.enough(); enough > 0)
    if (const auto likeliest = engine.top(0, 1, enough); !likeliest.empty()) return sampler.sample(likeliest);
  return sampler.sample(engine.logits(0));
}

}  // namespace

std::string_view stop_reason_name(StopReason reason) noexcept {
  switch (reason) {
    case StopReason::kLength: return "length";
    case StopReason::kStop: return "stop";
    case StopReason::kEos: return "eos";
    case StopReason::kCancelled: return "cancelled";
  }
  return "?";
}

GenerateResult generate(Engine& engine, int sequence, std::span<const int32_t> prompt,
                        const GenerateOptions& options) {
  const int stored = engine.cache().length(sequence);
  const int room = engine.context() - stored;
  if (prompt.empty()) throw bad_input("the prompt is empty");
  engine.check_tokens(options.history);
  engine.check_tokens(prompt);
  if (prompt.size() > static_cast<size_t>(room))
    throw bad_input(fmt::format("the prompt has {} tokens, the context of {} has room for {} (see --ctx)",
                                prompt.size(), engine.context(), room));
  // One token more than there is room for can be drawn: the last one need not be stored.
  const int most = room - static_cast<int>(prompt.size()) + 1;
  const int max_tokens = options.max_tokens > 0 ? std::min(options.max_tokens, most) : most;

  Sampler sampler(options.sampling, engine.spec().vocab_size);
  sampler.see_prompt(options.history);
  sampler.see_prompt(prompt);
  GenerateResult result;
  result.ids.reserve(static_cast<size_t>(max_tokens));
  result.prompt_tokens = static_cast<int>(prompt.size());

  auto start = Clock::now();
  const bool fed = feed_prompt(engine, sequence, prompt, options);
  result.prompt_ms = ms_since(start);
  result.stop_reason = fed ? StopReason::kLength : StopReason::kCancelled;
  start = Clock::now();
  while (fed) {
    const int32_t token = draw(engine, sampler);
    if (result.ids.empty()) {  // the first token is the prompt's work
      result.prompt_ms += ms_since(start);
      start = Clock::now();
    }
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), token) != options.stop_ids.end()) {
      result.stop_reason = StopReason::kEos;
      break;
    }
    result.ids.push_back(token);
    if (options.on_token && !options.on_token(token)) {
      result.stop_reason = StopReason::kStop;
      break;
    }
    if (static_cast<int>(result.ids.size()) == max_tokens) break;
    if (cancelled(options)) {
      result.stop_reason = StopReason::kCancelled;
      break;
    }
    engine.step({sequence, {&token, 1}, Want::kLast});
  }
  result.generated_ms = ms_since(start);
  return result;
}

}  // namespace facet
