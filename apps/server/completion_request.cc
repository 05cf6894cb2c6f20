#include <fmt/format.h>

#include "server/api_request.h"

namespace facet::server {
namespace {

constexpr int kDefaultTokens = 16;  // OpenAI's
constexpr size_t kMaxPromptIds = size_t{1} << 20;

std::vector<int32_t> read_ids(const RequestView& ids, int vocab_size) {
  const size_t count = ids.array(1, kMaxPromptIds);
  std::vector<int32_t> result(count);
  for (size_t i = 0; i < count; ++i)
    result[i] = static_cast<int32_t>(ids.element(i).integer(0, vocab_size - 1));
  return result;
}

/// A text, a list of ids, or a list of either.
std::vector<Prompt> read_prompts(const RequestView& prompt, int vocab_size) {
  if (prompt.is_string()) return {{prompt.string(), {}}};
  if (!prompt.is_array()) throw prompt.unexpected("a string or an array");
  const size_t count = prompt.array(1, kMaxPromptIds);
  if (prompt.element(0).is_integer()) return {{{}, read_ids(prompt, vocab_size)}};
  if (count > static_cast<size_t>(kMaxChoices))
    throw prompt.error(fmt::format("at most {} prompts are accepted", kMaxChoices));
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < count; ++i) {
    const RequestView one = prompt.element(i);
    if (one.is_array()) {
      prompts.push_back({{}, read_ids(one, vocab_size)});
    } else {
      prompts.push_back({one.string(), {}});
    }
  }
  return prompts;
}

}  // namespace

CompletionRequest read_completion_request(const RequestView& request, const RequestDefaults& defaults) {
  CompletionRequest completion;
  completion.generation = read_generation_request(request, defaults);
  GenerationRequest& generation = completion.generation;
  if (generation.max_tokens == 0) generation.max_tokens = kDefaultTokens;
  const RequestView prompt = request.at("prompt");
  completion.prompts = read_prompts(prompt, defaults.vocab_size);
  if (completion.prompts.size() * static_cast<size_t>(generation.choices) > static_cast<size_t>(kMaxChoices))
    throw ApiError(400,
                   fmt::format("n: {} prompts with n {}: at most {} choices in all",
                               completion.prompts.size(), generation.choices, kMaxChoices),
                   "n");
  if (const auto v = request.find("logprobs"))
    generation.top_logprobs = static_cast<int>(v->integer(0, kMaxTopLogprobs));
  if (const auto v = request.find("echo"); v && v->boolean()) throw v->error("not supported");
  if (const auto v = request.find("suffix"); v && !v->string().empty()) throw v->error("not supported");
  if (const auto v = request.find("best_of"); v && v->integer(1, kMaxChoices) != generation.choices)
    throw v->error("supported only when equal to n");
  return completion;
}

}  // namespace facet::server
