// The syntax of tokenizer.json: one pass over its bytes, without a tree of its half million merges.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace facet::text {

/// The file taken apart, not yet understood.
struct TokenizerJson {
  nlohmann::json head;                                 ///< all but the two members below
  std::vector<std::pair<std::string, int64_t>> vocab;  ///< model.vocab: (piece, id)
  std::vector<std::array<std::string, 2>> merges;      ///< model.merges
};

/// Parses `bytes`. Refuses, with Error{kBadInput} that begins with `source`: malformed JSON, nesting over
/// 64, duplicate keys (duplicate pieces are the vocabulary's to find), a root that is not an object, ids
/// that are not integers, merges that are neither "a b" nor ["a", "b"].
[[nodiscard]] TokenizerJson parse_tokenizer_json(std::string_view bytes, std::string_view source);

}  // namespace facet::text
