#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/backend_choice.h"

namespace facet {

namespace {

KvOptions kv_options(const ModelSpec& model, const Backend& backend, const EngineOptions& options) {
  KvOptions kv;
  kv.type = options.kv.value_or(backend.default_kv_type());
  kv.sequences = options.sequences;
  kv.context = options.context > 0 ? options.context : std::min(model.context_length, options.most_context);
  kv.chunk = std::min(options.chunk > 0 ? options.chunk : backend.preferred_chunk(), kv.context);
  constexpr int64_t kMaxBlocks = 1 << 20;  // 64 Mi tokens
  const int64_t block_bytes = std::max<int64_t>(1, KvCache::block_bytes(model, kv.type));
  kv.shared_pages = static_cast<int>(std::min(options.prefix_bytes / block_bytes, kMaxBlocks));
  return kv;
}

}  // namespace

EngineParts::EngineParts(const Checkpoint& checkpoint, Backend& backend, const EngineOptions& options) {
  const ModelSpec& model = checkpoint.spec;
  const KvOptions kv = kv_options(model, backend, options);
  const int max_rows = std::max(kv.chunk, options.sequences);
  const int logit_rows =
      options.logit_rows > 0 ? options.logit_rows : std::min(max_rows, std::max(16, options.sequences));
  // The cache before the weights: what does not fit should fail before minutes of loading.
  cache = std::make_unique<KvCache>(model, backend, kv);
  weights = load_weights(model, *checkpoint.weights, backend, options.progress);
  forward = std::make_unique<ForwardPass>(model, weights, *cache, backend, max_rows, logit_rows);
}

Engine::Engine(Checkpoint checkpoint, const EngineOptions& options)
    : checkpoint_(std::move(checkpoint)),
      backend_(profiled(make_backend(checkpoint_, options), options)),
      parts_(checkpoint_, *backend_, options),
      lanes_(checkpoint_.spec, parts_.weights, *parts_.cache, *backend_, *parts_.forward) {
  reserve();
}

Engine::Engine(Checkpoint checkpoint, std::unique_ptr<Backend> backend, const EngineOptions& options)
    : checkpoint_(std::move(checkpoint)),
      backend_(profiled(std::move(backend), options)),
      parts_(checkpoint_, *backend_, options),
      lanes_(checkpoint_.spec, parts_.weights, *parts_.cache, *backend_, *parts_.forward) {
  reserve();
}

std::unique_ptr<Backend> Engine::profiled(std::unique_ptr<Backend> backend, const EngineOptions& options) {
  if (options.profile == nullptr || backend->profile_into(*options.profile)) return backend;
  return make_profiled(std::move(backend), *options.profile);
}

void Engine::reserve() {
  for (auto* ids : {&tokens_, &positions_, &sequences_, &outputs_})
    ids->reserve(static_cast<size_t>(max_rows()));
  const auto most_top = static_cast<size_t>(backend_->most_top(spec().vocab_size));
  const auto logit_rows = static_cast<size_t>(max_logit_rows());
  top_ids_.reserve(most_top * logit_rows);
  top_.reserve(most_top * logit_rows);
  if (!backend_->is_host_memory()) logits_.resize(logit_rows * static_cast<size_t>(spec().vocab_size));
}

void Engine::step(std::span<const SequenceTokens> parts, bool whole) {
  for (auto* ids : {&tokens_, &positions_, &sequences_, &outputs_}) ids->clear();
  size_t rows = 0;
  for (const SequenceTokens& part : parts) {
    rows += part.tokens.size();
    check_tokens(part.tokens);
  }
  if (rows > static_cast<size_t>(max_rows()))
    throw Error(ErrorCode::kUsage, fmt::format("a step of {} tokens: at most {} fit", rows, max_rows()));
  for (const SequenceTokens& part : parts) {
    const int start = parts_.cache->length(part.sequence);
    const auto count = static_cast<int>(part.tokens.size());
    if (!parts_.cache->extend(part.sequence, count))
      throw Error(ErrorCode::kFailed,
                  fmt::format("the context is full: {} tokens stored, {} more do not fit in {}", start, count,
                              context()));
    for (int i = 0; i < count; ++i) {
      if (part.want == Want::kAll || (part.want == Want::kLast && i == count - 1))
        outputs_.push_back(static_cast<int32_t>(tokens_.size()));
      tokens_.push_back(part.tokens[static_cast<size_t>(i)]);
      positions_.push_back(start + i);
      sequences_.push_back(part.sequence);
    }
  }
  const Step step{tokens_, positions_, sequences_, outputs_};
  in_lanes_ = !whole && lanes_.run(step);
  if (!in_lanes_) parts_.forward->run(step, whole);
}

void Engine::check_tokens(std::span<const int32_t> tokens) const {
  for (const int32_t token : tokens)
    if (token < 0 || token >= spec().vocab_size)
      throw bad_input(fmt::format("token id {}: expected 0 to {}", token, spec().vocab_size - 1));
}

std::span<const float> Engine::logits(int output) {
  return logits(output, 1);
}

std::span<const float> Engine::logits(int first, int count) {
  if (in_lanes_) return lanes_.logits(first, count);
  const float* values = parts_.forward->logits(first, count);
  const auto size = static_cast<size_t>(count) * static_cast<size_t>(spec().vocab_size);
  if (backend_->is_host_memory()) return {values, size};
  backend_->download(logits_.data(), values, size * sizeof(float));
  return {logits_.data(), size};
}

std::span<const TokenLogit> Engine::top(int first, int count, int likeliest) {
  const size_t size = static_cast<size_t>(count) * static_cast<size_t>(likeliest);
  if (likeliest > backend_->most_top(spec().vocab_size)) return {};
  const float* values = parts_.forward->logits(first, count);
  top_ids_.resize(size);
  backend_->top(values, count, spec().vocab_size, likeliest, top_ids_.data(), logits_.data());
  top_.resize(size);
  for (size_t i = 0; i < size; ++i) top_[i] = {logits_[i], top_ids_[i]};
  return top_;
}

}  // namespace facet
