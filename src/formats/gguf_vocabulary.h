// GGUF's tokenizer section.
#pragma once

#include <optional>

#include "formats/gguf.h"
#include "text/vocabulary.h"

namespace facet {

/// The vocabulary in tokenizer.ggml.*, or nothing when the file has none. `gemma4` is byte-pair merging by
/// rank; `llama` is SentencePiece's by score. Throws Error{kBadInput} for another model, lists of different
/// lengths or a merge of unknown pieces; text::Tokenizer checks the rest.
[[nodiscard]] std::optional<text::Vocabulary> gguf_vocabulary(const GgufFile& file);

/// Whether the file has a tokenizer: it names a kind other than "none".
[[nodiscard]] bool has_gguf_vocabulary(const GgufFile& file);

}  // namespace facet
