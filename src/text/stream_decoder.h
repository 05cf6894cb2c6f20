// Token ids to text, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace facet::text {

/// Turns a stream of ids into the very text that Tokenizer::decode gives for all of them at once, each
/// piece as soon as it is certain. What it returns is well-formed UTF-8: the bytes of a code point that is
/// spread over several byte tokens are held back (three at most) until it is whole or spoilt.
/// No allocation once its buffer has grown to the longest piece.
class StreamDecoder {
 public:
  /// `tokenizer` must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options = {});

  /// The text that `id` completes, often empty; valid until the next call.
  [[nodiscard]] std::string_view push(int32_t id);

  /// The end of the stream: U+FFFD for each byte still held back. The decoder then starts anew.
  [[nodiscard]] std::string_view flush();

 private:
  void append_byte(uint8_t byte);
  void append_text(std::string_view piece);
  void replace_held_bytes();
  std::string_view without_leading_spaces();

  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::string out_;
  std::string held_;         // a code point cut short, in bytes
  int32_t spaces_to_strip_;  // at the start of the text
};

}  // namespace facet::text
