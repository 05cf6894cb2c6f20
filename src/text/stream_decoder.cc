#include "text/stream_decoder.h"

#include <algorithm>

#include "text/utf8.h"

namespace facet::text {
namespace {}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, DecodeOptions options)
    : tokenizer_(&tokenizer),
      options_(options),
      spaces_to_strip_(tokenizer.vocabulary().strip_leading_spaces) {}

std::string_view StreamDecoder::push(int32_t id) {
  out_.clear();
  if (!tokenizer_->contains(id) || (options_.skip_special && tokenizer_->is_special(id))) return out_;
  if (const auto byte = tokenizer_->byte(id))
    append_byte(*byte);
  else
    append_text(tokenizer_->token(id));
  return without_leading_spaces();
}

std::string_view StreamDecoder::flush() {
  out_.clear();
  replace_held_bytes();
  const std::string_view rest = without_leading_spaces();
  spaces_to_strip_ = tokenizer_->vocabulary().strip_leading_spaces;
  return rest;
}

void StreamDecoder::append_byte(uint8_t byte) {
  held_ += static_cast<char>(byte);
  if (code_point_length(held_) == held_.size()) {
    out_ += held_;
    held_.clear();
  } else if (!is_incomplete_code_point(held_)) {
    // The byte does not continue what is held; it may still start something of its own.
    held_.pop_back();
    const bool was_alone = held_.empty();
    replace_held_bytes();
    if (was_alone)
      out_ += kReplacementCharacter;
    else
      append_byte(byte);
  }
}

void StreamDecoder::append_text(std::string_view piece) {
  replace_held_bytes();
  if (!tokenizer_->vocabulary().escape_spaces) {
    out_ += piece;
    return;
  }
  while (!piece.empty()) {
    const size_t marker = std::min(piece.find(kSpaceMarker), piece.size());
    out_ += piece.substr(0, marker);
    if (marker < piece.size()) out_ += ' ';
    piece.remove_prefix(std::min(marker + kSpaceMarker.size(), piece.size()));
  }
}

void StreamDecoder::replace_held_bytes() {
  for (size_t i = 0; i < held_.size(); ++i) out_ += kReplacementCharacter;
  held_.clear();
}

std::string_view StreamDecoder::without_leading_spaces() {
  std::string_view text = out_;
  while (spaces_to_strip_ > 0 && !text.empty()) {
    if (text[0] == ' ') {
      text.remove_prefix(1);
      --spaces_to_strip_;
    } else {
      spaces_to_strip_ = 0;
    }
  }
  return text;
}

}  // namespace facet::text
