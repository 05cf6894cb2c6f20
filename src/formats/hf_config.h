// Hugging Face's config.json → ModelSpec.
#pragma once

#include "formats/json.h"
#include "model/spec.h"

namespace facet {

/// Reads a Gemma text model's configuration: model_type "gemma4" or "gemma3" (sizes under text_config), or
/// "gemma4_text" or "gemma3_text" (flat). The result is validated. Throws Error{kBadInput} that names the
/// key, what was expected and what is there.
///
/// A head of its own (tie_word_embeddings false) is refused: no Gemma has one. A lm_head.weight in a tied
/// checkpoint is ignored, as transformers ignores it.
[[nodiscard]] ModelSpec hf_model_spec(const JsonView& config);

/// eos_token_id as configs write it: absent, one id or a list.
[[nodiscard]] std::vector<int> token_id_list(const JsonView& object, std::string_view key);

}  // namespace facet
