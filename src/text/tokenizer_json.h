// Reads Hugging Face's tokenizer.json.
#pragma once

#include <string_view>

#include "text/vocabulary.h"

namespace facet::text {

/// The vocabulary that `bytes` describe. Understands what Gemma's files hold: a BPE model with byte
/// fallback, the normalizer " " → "▁", the pre-tokenizers of Gemma 3 and 4, added tokens, a template that
/// adds tokens around the text, and the decoder that undoes it all. Anything else that would change the
/// ids is refused: Error{kBadInput}, one line that begins with `source`. Memory is linear in the file.
[[nodiscard]] Vocabulary read_tokenizer_json(std::string_view bytes, std::string_view source);

}  // namespace facet::text
