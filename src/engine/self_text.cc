#include "engine/self_text.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/sampler.h"

namespace facet {
namespace {

constexpr float kNever = -1000;  // a logit bias

/// One of the texts being written.
struct Text {
  int sequence = 0;
  std::vector<int32_t> tokens;  // from the prefix on
  size_t stored = 0;            // of them in the cache
  Sampler sampler;
};

std::vector<Text> begin_texts(Engine& engine, const SelfTextOptions& options) {
  std::vector<Text> texts;
  for (int i = 0; i < options.texts; ++i) {
    SamplingParams sampling;
    sampling.seed = static_cast<uint64_t>(i);
    for (const int32_t id : options.never) sampling.logit_bias.emplace_back(id, kNever);
    texts.push_back({engine.cache().open(), options.prefix, 0, Sampler(sampling, engine.spec().vocab_size)});
    if (options.starts.empty()) continue;
    const std::vector<int32_t>& start = options.starts[static_cast<size_t>(i) % options.starts.size()];
    texts.back().tokens.insert(texts.back().tokens.end(), start.begin(), start.end());
  }
  return texts;
}

/// Starts differ in length: the texts with longer ones are full before the others.
std::vector<Text*> unfinished(std::span<Text> texts, size_t length) {
  std::vector<Text*> open;
  for (Text& text : texts)
    if (text.tokens.size() < length) open.push_back(&text);
  return open;
}

/// One token more for each text: all of them in as few steps as the engine's rows allow.
void write_token(Engine& engine, std::span<Text* const> texts) {
  const auto vocab = static_cast<size_t>(engine.spec().vocab_size);
  std::vector<SequenceTokens> parts;
  for (size_t begin = 0; begin < texts.size(); begin += parts.size()) {
    parts.clear();
    size_t rows = 0;
    for (const Text* text : texts.subspan(begin)) {
      const auto fresh = std::span(text->tokens).subspan(text->stored);
      rows += fresh.size();
      if (rows > static_cast<size_t>(engine.max_rows()) ||
          parts.size() == static_cast<size_t>(engine.max_logit_rows()))
        break;
      parts.push_back({text->sequence, fresh, Want::kLast});
    }
    if (parts.empty()) throw Error(ErrorCode::kUsage, "the start of a text is longer than a step");
    engine.step(parts);
    const std::span<const float> logits = engine.logits(0, engine.outputs());
    for (size_t i = 0; i < parts.size(); ++i) {
      Text& text = *texts[begin + i];
      text.stored = text.tokens.size();
      text.tokens.push_back(text.sampler.sample(logits.subspan(i * vocab, vocab)));
    }
  }
}

}  // namespace

std::vector<int32_t> write_own_texts(Checkpoint model, const SelfTextOptions& options) {
  EngineOptions engine_options;
  engine_options.threads = options.threads;
  engine_options.sequences = options.texts;
  engine_options.most_context = static_cast<int>(options.prefix.size()) + options.length;
  Engine engine(std::move(model), engine_options);
  engine.check_tokens(options.never);
  const auto context = static_cast<size_t>(engine.context());
  std::vector<Text> texts = begin_texts(engine, options);
  for (const Text& text : texts)
    if (text.tokens.size() >= context) throw bad_input("the model's context is too short to write texts in");

  const int64_t total = static_cast<int64_t>(context - options.prefix.size()) * options.texts;
  const auto written = [&] {
    int64_t count = 0;
    for (const Text& text : texts) count += static_cast<int64_t>(text.tokens.size() - options.prefix.size());
    return count;
  };
  std::vector<int32_t> all;
  for (std::vector<Text*> open = unfinished(texts, context); !open.empty();
       open = unfinished(texts, context)) {
    if (options.cancel != nullptr && *options.cancel) throw Error(ErrorCode::kInterrupted, "interrupted");
    write_token(engine, open);
    if (options.progress) options.progress(written(), total);
  }
  for (const Text& text : texts)
    all.insert(all.end(), text.tokens.begin() + static_cast<std::ptrdiff_t>(options.prefix.size()),
               text.tokens.end());
  return all;
}

}  // namespace facet
