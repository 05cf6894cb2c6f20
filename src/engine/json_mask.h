// Holding an answer to JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/token_mask.h"
#include "text/json_automaton.h"
#include "text/json_schema.h"
#include "text/tokenizer.h"

namespace facet {

/// The bytes that each text token stands for, in lexical order, so that what one says of a prefix holds for
/// all tokens that share it. Control tokens are left out.
class TokenBytes {
 public:
  explicit TokenBytes(const text::Tokenizer& tokenizer);

  struct Token {
    int32_t id = 0;
    int shared = 0;  ///< bytes in common with the token before it
    std::string bytes;
  };
  [[nodiscard]] const std::vector<Token>& tokens() const noexcept { return tokens_; }
  [[nodiscard]] int longest() const noexcept { return longest_; }

 private:
  std::vector<Token> tokens_;
  int longest_ = 0;
};

/// Lets through the tokens that go on with a JSON text of a schema, and the stop ids where it may end. A step
/// takes about one look at each byte of the vocabulary that its prefix allows; none where it stands as it
/// stood before.
class JsonMask final : public TokenMask {
 public:
  /// `stop_ids` must not be empty.
  JsonMask(std::shared_ptr<const TokenBytes> vocabulary, std::shared_ptr<const text::JsonSchema> schema,
           std::vector<int32_t> stop_ids);

  void apply(std::span<float> logits) override;
  void advance(int32_t token) override;

 private:
  void find_allowed(size_t vocab);

  std::shared_ptr<const TokenBytes> vocabulary_;
  std::shared_ptr<const text::JsonSchema> schema_;
  std::vector<int32_t> stop_ids_;
  std::vector<int> place_;  // [vocab] in the vocabulary's order; −1: not a text token
  text::JsonAutomaton state_;
  std::vector<text::JsonAutomaton> after_;  // [longest + 1] by length of the prefix at hand
  std::vector<bool> allowed_;               // [vocab] in `allowed_in_`
  std::optional<text::JsonAutomaton> allowed_in_;
};

}  // namespace facet
