// The real tokenizer among the shared data.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace facet::testing {

/// Gemma 3's tokenizer.json (33 MB), unpacked once per process.
[[nodiscard]] const std::string& gemma3_tokenizer_json();

/// The tokenizer that it describes, loaded once per process.
[[nodiscard]] const text::Tokenizer& gemma3_tokenizer();

}  // namespace facet::testing
