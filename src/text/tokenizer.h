// Text to token ids and back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/piece_index.h"
#include "text/vocabulary.h"

namespace facet::text {

struct EncodeOptions {
  /// Put what the tokenizer puts around a text: for Gemma, `<bos>` before it.
  bool add_bos = true;
  /// Whether the spelling of a control token (`<|turn>`) in the text is that token. True is Hugging Face's
  /// behaviour; false is for text that must stay text: what a user wrote. User-defined tokens (`<table>`,
  /// runs of newlines) are matched either way.
  bool parse_special = true;
};

struct DecodeOptions {
  bool skip_special = false;  ///< leave control tokens out of the text
};

/// A Gemma tokenizer: byte-pair merges over code points with byte fallback (tokenizer.json, `gemma4`
/// GGUFs), or SentencePiece's merging by score (`llama` GGUFs of Gemma 3). Immutable, so one serves every
/// thread.
///
/// Gives the ids of Hugging Face `tokenizers`. Where that library has no answer: bytes that are not UTF-8
/// become their byte tokens one by one (it only ever sees well-formed strings).
class Tokenizer {
 public:
  /// Texts are at most 1 GiB, so that positions and heap entries stay small.
  static constexpr size_t kMaxTextBytes = size_t{1} << 30U;
  static constexpr size_t kMaxPieces = size_t{1} << 24U;

  /// Reads a tokenizer.json. Throws Error{kBadInput} with one line that says what is wrong with it.
  [[nodiscard]] static Tokenizer load(const std::filesystem::path& tokenizer_json);

  /// As load(), from bytes; `source` names them in errors.
  [[nodiscard]] static Tokenizer from_json(std::string_view bytes,
                                           std::string_view source = "tokenizer.json");

  /// Checks the vocabulary: every id has one piece and no piece two ids, 256 well-spelled byte tokens,
  /// every merge makes a piece. Throws Error{kBadInput}.
  explicit Tokenizer(Vocabulary vocabulary);

  /// Throws Error{kBadInput} when `text` is over kMaxTextBytes. O(n log n).
  [[nodiscard]] std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;

  /// The text of `ids`, always well-formed UTF-8: each byte of byte tokens that does not belong to a whole
  /// code point becomes U+FFFD. Ids outside the vocabulary decode to nothing. (Hugging Face replaces every
  /// byte of a run of byte tokens when any of them is wrong; a stream cannot, as it would have to hold
  /// back the run.)
  [[nodiscard]] std::string decode(std::span<const int32_t> ids, DecodeOptions options = {}) const;

  [[nodiscard]] size_t vocab_size() const noexcept { return vocabulary_.pieces.size(); }
  [[nodiscard]] bool contains(int32_t id) const noexcept {
    return id >= 0 && static_cast<size_t>(id) < vocab_size();
  }

  /// The piece as the vocabulary spells it ("▁the", "<0x0A>"). Throws Error{kBadInput} unless contains(id).
  [[nodiscard]] std::string_view token(int32_t id) const;

  /// The id of the piece spelled exactly so.
  [[nodiscard]] std::optional<int32_t> id(std::string_view piece) const noexcept;

  /// Whether the token is structure (`<bos>`, `<|turn>`), not text. False outside the vocabulary.
  [[nodiscard]] bool is_special(int32_t id) const noexcept { return has_type(id, TokenType::kControl); }

  /// The byte that a byte token stands for.
  [[nodiscard]] std::optional<uint8_t> byte(int32_t id) const noexcept;

  [[nodiscard]] std::optional<int32_t> bos_id() const noexcept { return vocabulary_.bos; }
  [[nodiscard]] std::optional<int32_t> eos_id() const noexcept { return vocabulary_.eos; }
  [[nodiscard]] std::optional<int32_t> unknown_id() const noexcept { return vocabulary_.unknown; }
  [[nodiscard]] std::optional<int32_t> padding_id() const noexcept { return vocabulary_.padding; }

  /// What the tokenizer was made of (without its merges and scores).
  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  class Encoding;

  [[nodiscard]] bool has_type(int32_t id, TokenType type) const noexcept {
    return contains(id) && vocabulary_.types[static_cast<size_t>(id)] == type;
  }
  /// Whether plain text may become this token.
  [[nodiscard]] bool is_text(int32_t id) const noexcept {
    return has_type(id, TokenType::kNormal) || has_type(id, TokenType::kUserDefined);
  }
  void check_pieces() const;
  void promote_delimiters();
  void index_byte_tokens();
  void index_added_tokens();
  [[nodiscard]] std::vector<MergeRule> rules_by_rank() const;
  [[nodiscard]] std::vector<MergeRule> rules_by_score() const;
  [[noreturn]] void refuse(const std::string& what) const;

  Vocabulary vocabulary_;
  PieceIndex index_;
  std::array<int32_t, 256> byte_tokens_{};  // id of <0xXX>
  AddedTokenMatcher added_;                 // matched in the text as it is
  AddedTokenMatcher added_normalized_;      // matched after spaces are escaped
  MergeTable merges_;
};

}  // namespace facet::text
