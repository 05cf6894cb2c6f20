// What a tokenizer is made of, free of any file format: tokenizer.json and GGUF metadata both fill this.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace facet::text {

/// What stands for a space in a piece.
inline constexpr std::string_view kSpaceMarker = "\xE2\x96\x81";  // ▁ U+2581

/// What a token is for. The values are those of GGUF's `tokenizer.ggml.token_type`.
enum class TokenType : uint8_t {
  kNormal = 1,       ///< made by merging
  kUnknown = 2,      ///< stands for what cannot be encoded; byte fallback leaves it without use
  kControl = 3,      ///< structure (`<bos>`, `<|turn>`): matched whole, and only where the caller allows it
  kUserDefined = 4,  ///< text that is always matched whole (`<table>`, a run of newlines)
  kUnused = 5,       ///< a reserved entry
  kByte = 6          ///< `<0x00>` … `<0xFF>`
};

/// Two neighbours that merge; the earlier in the list, the sooner.
struct Merge {
  int32_t left;
  int32_t right;
};

/// A vocabulary as a reader found it; Tokenizer's constructor checks it.
struct Vocabulary {
  std::string source;               ///< names it in errors: usually the file's path
  std::vector<std::string> pieces;  ///< by id, UTF-8, all different
  std::vector<TokenType> types;     ///< by id
  std::vector<bool> normalized;     ///< by id: a kControl or kUserDefined token that is matched after " " has
                                    ///< become "▁", not before; empty: none is

  /// Byte-pair merges by rank, or (when `scores` is not empty) none: SentencePiece's rule, where the
  /// neighbours merge whose joined piece has the best score.
  std::vector<Merge> merges;
  std::vector<float> scores;  ///< by id, or empty

  bool escape_spaces = true;         ///< " " becomes "▁" before merging, and back in decoding
  bool add_space_prefix = false;     ///< "▁" before text that begins the input or follows an added token
  bool split_newlines = false;       ///< a run of newlines never merges with its neighbours (Gemma 4)
  int32_t strip_leading_spaces = 0;  ///< spaces that decoding drops from the start of the text, at most

  std::vector<int32_t> prefix;  ///< put before a text: `<bos>`
  std::vector<int32_t> suffix;  ///< put after a text

  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::optional<int32_t> unknown;
  std::optional<int32_t> padding;
};

/// Whether a piece is spelled `<0x..>`, with whatever two bytes in the dots' place.
[[nodiscard]] constexpr bool is_byte_spelling(std::string_view piece) noexcept {
  return piece.size() == 6 && piece.substr(0, 3) == "<0x" && piece[5] == '>';
}

/// The byte that `<0xXX>` (upper-case hexadecimal) spells, or nothing.
[[nodiscard]] constexpr std::optional<uint8_t> spelled_byte(std::string_view piece) noexcept {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (!is_byte_spelling(piece)) return std::nullopt;
  const size_t high = kDigits.find(piece[3]);
  const size_t low = kDigits.find(piece[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<uint8_t>(16 * high + low);
}

}  // namespace facet::text
