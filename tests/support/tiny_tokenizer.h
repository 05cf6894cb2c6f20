// A small Gemma-4-shaped tokenizer (tests/data/text/make_tiny_tokenizer.py).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/tokenizer.h"

namespace facet::testing {

/// Its tokenizer.json, to be spoilt by tests.
[[nodiscard]] nlohmann::json tiny_tokenizer_json();

/// The tokenizer that it describes: Gemma 4's control tokens (other ids), 876 tokens.
[[nodiscard]] const text::Tokenizer& tiny_tokenizer();

}  // namespace facet::testing
