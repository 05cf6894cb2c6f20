// Vocabulary → tokenizer.json: the other way of read_tokenizer_json.
#pragma once

#include <string>

#include "text/vocabulary.h"

namespace facet::text {

/// A tokenizer.json whose tokenizer gives the ids that `vocabulary`'s gives. A vocabulary with scores
/// (SentencePiece's rule) becomes one with merges: every split of a piece into two others, the best piece
/// first. `vocabulary` must be one that Tokenizer accepts.
[[nodiscard]] std::string tokenizer_json(const Vocabulary& vocabulary);

/// The merges that SentencePiece's rule amounts to, best first.
[[nodiscard]] std::vector<Merge> merges_by_score(const Vocabulary& vocabulary);

}  // namespace facet::text
