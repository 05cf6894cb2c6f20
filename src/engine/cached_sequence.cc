#include "engine/cached_sequence.h"

#include <algorithm>

#include "base/error.h"

namespace facet {

CachedSequence::CachedSequence(Engine& engine) : engine_(engine), sequence_(engine.cache().open()) {
  if (sequence_ < 0) throw Error(ErrorCode::kFailed, "all sequence slots are taken");
}

CachedSequence::~CachedSequence() {
  engine_.cache().close(sequence_);
}

void CachedSequence::trim_to_cache() {
  const auto length = static_cast<size_t>(engine_.cache().length(sequence_));
  if (length < tokens_.size()) tokens_.resize(length);
}

GenerateResult CachedSequence::complete(std::span<const int32_t> prompt, const GenerateOptions& options) {
  if (prompt.empty()) throw bad_input("the prompt is empty");
  const auto [same, unused] = std::mismatch(tokens_.begin(), tokens_.end(), prompt.begin(), prompt.end() - 1);
  const int kept = engine_.cache().truncate(sequence_, static_cast<int>(same - tokens_.begin()));
  // What is about to be stored; the cache's length says afterwards how much of it was.
  tokens_.assign(prompt.begin(), prompt.end());
  GenerateOptions with_history = options;
  with_history.history = prompt.first(static_cast<size_t>(kept));
  try {
    GenerateResult result =
        generate(engine_, sequence_, prompt.subspan(static_cast<size_t>(kept)), with_history);
    tokens_.insert(tokens_.end(), result.ids.begin(), result.ids.end());
    trim_to_cache();
    return result;
  } catch (...) {
    trim_to_cache();
    throw;
  }
}

}  // namespace facet
