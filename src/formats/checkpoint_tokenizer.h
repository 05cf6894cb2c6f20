// The tokenizer that goes with a checkpoint.
#pragma once

#include <optional>

#include "formats/checkpoint.h"
#include "text/tokenizer.h"

namespace facet {

/// Reads the checkpoint's tokenizer (a second or less), or nothing when it has none: token ids still work.
/// Throws Error{kBadInput} when it is broken.
[[nodiscard]] std::optional<text::Tokenizer> open_tokenizer(const Checkpoint& checkpoint);

/// What that tokenizer is made of, merges or scores included.
[[nodiscard]] std::optional<text::Vocabulary> open_vocabulary(const Checkpoint& checkpoint);

/// The chat template that lies with the tokenizer (chat_template.jinja, or GGUF metadata), for writers to
/// pass on: nothing here runs one.
[[nodiscard]] std::optional<std::string> chat_template(const Checkpoint& checkpoint);

/// The tokenizer in a tokenizer.json or a GGUF file. Throws Error{kBadInput}.
[[nodiscard]] text::Tokenizer open_tokenizer_file(const std::filesystem::path& path);

}  // namespace facet
