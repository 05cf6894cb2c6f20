// A model as GGUF metadata: the other way of gguf_model_spec.
#pragma once

#include <optional>
#include <vector>

#include "formats/generation_config.h"
#include "formats/gguf_writer.h"
#include "model/spec.h"
#include "text/vocabulary.h"

namespace facet {

/// Adds the keys under which llama.cpp and gguf_model_spec find the sizes of a Gemma 4 or Gemma 3 model.
/// Throws Error{kFailed} for a Gemma 3 that they have no keys for.
void add_model(const ModelSpec& spec, GgufPairs& pairs);

/// The divisors of the full layers' frequencies, [head_dim / 2] (tensor rope_freqs.weight): 1 for the pairs
/// that turn, 1e30 for the others. Empty when all turn.
[[nodiscard]] std::vector<float> rope_divisors(const ModelSpec& spec);

/// Adds general.sampling.*.
void add_sampling(const GenerationConfig& generation, GgufPairs& pairs);

/// Adds tokenizer.ggml.*.
void add_vocabulary(const text::Vocabulary& vocabulary, GgufPairs& pairs);

/// Adds `vocabulary`, extended by unused tokens to the model's rows, or says that there is none, so that
/// llama.cpp takes token ids. Special ids that it leaves open are the model's. Throws Error{kFailed} when it
/// has more tokens than the model.
void add_tokenizer(const ModelSpec& spec, std::optional<text::Vocabulary> vocabulary, GgufPairs& pairs);

}  // namespace facet
