#include "server/served_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace facet::server {

ServedModel::ServedModel(std::string name, std::unique_ptr<Engine> engine, text::Tokenizer tokenizer,
                         const SchedulerOptions& options)
    : name_(std::move(name)),
      created_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      engine_(std::move(engine)),
      tokenizer_(std::move(tokenizer)) {
  const ModelSpec& spec = engine_->spec();
  const auto vocab = static_cast<size_t>(spec.vocab_size);
  if (tokenizer_.vocab_size() > vocab)
    throw bad_input(fmt::format("the tokenizer has {} tokens, the model {}", tokenizer_.vocab_size(), vocab));
  // The larger models of the family, those without per-layer embeddings, expect an empty thought.
  if (text::find_chat_tokens(tokenizer_))
    chat_.emplace(tokenizer_, text::ChatFormatOptions{spec.ple_dim == 0});

  const GenerationConfig& suggested = engine_->checkpoint().generation;
  defaults_.vocab_size = spec.vocab_size;
  defaults_.sampling.temperature = static_cast<float>(suggested.temperature.value_or(1.0));
  defaults_.sampling.top_k = suggested.top_k.value_or(0);
  defaults_.sampling.top_p = static_cast<float>(suggested.top_p.value_or(1.0));

  stop_ids_ = spec.eos_ids;
  if (chat_)
    for (const int32_t id : chat_->tokens().stop_ids())
      if (std::find(stop_ids_.begin(), stop_ids_.end(), id) == stop_ids_.end()) stop_ids_.push_back(id);
  scheduler_ = std::make_unique<Scheduler>(*engine_, options);
}

const std::shared_ptr<const TokenBytes>& ServedModel::token_bytes() {
  if (!token_bytes_) token_bytes_ = std::make_shared<const TokenBytes>(tokenizer_);
  return token_bytes_;
}

}  // namespace facet::server
