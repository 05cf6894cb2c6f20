#include "engine/json_mask.h"

#include <algorithm>
#include <limits>

namespace facet {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // ▁

std::string bytes_of(const text::Tokenizer& tokenizer, int32_t id) {
  if (const auto byte = tokenizer.byte(id)) return std::string(1, static_cast<char>(*byte));
  std::string_view piece = tokenizer.token(id);
  if (!tokenizer.vocabulary().escape_spaces) return std::string(piece);
  std::string bytes;
  for (size_t at = piece.find(kSpace); at != std::string_view::npos; at = piece.find(kSpace)) {
    bytes.append(piece.substr(0, at)).push_back(' ');
    piece.remove_prefix(at + kSpace.size());
  }
  return bytes.append(piece);
}

}  // namespace

TokenBytes::TokenBytes(const text::Tokenizer& tokenizer) {
  const auto& types = tokenizer.vocabulary().types;
  for (int32_t id = 0; tokenizer.contains(id); ++id) {
    const text::TokenType type = types[static_cast<size_t>(id)];
    if (type != text::TokenType::kNormal && type != text::TokenType::kUserDefined &&
        type != text::TokenType::kByte)
      continue;
    Token token{id, 0, bytes_of(tokenizer, id)};
    if (!token.bytes.empty()) tokens_.push_back(std::move(token));
  }
  std::sort(tokens_.begin(), tokens_.end(), [](const Token& a, const Token& b) { return a.bytes < b.bytes; });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& bytes = tokens_[i].bytes;
    longest_ = std::max(longest_, static_cast<int>(bytes.size()));
    if (i == 0) continue;
    const std::string& before = tokens_[i - 1].bytes;
    const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), before.size()));
    tokens_[i].shared =
        static_cast<int>(std::mismatch(bytes.begin(), end, before.begin()).first - bytes.begin());
  }
}

JsonMask::JsonMask(std::shared_ptr<const TokenBytes> vocabulary,
                   std::shared_ptr<const text::JsonSchema> schema, std::vector<int32_t> stop_ids)
    : vocabulary_(std::move(vocabulary)),
      schema_(std::move(schema)),
      stop_ids_(std::move(stop_ids)),
      state_(*schema_),
      after_(static_cast<size_t>(vocabulary_->longest()) + 1, state_) {
  const auto& tokens = vocabulary_->tokens();
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<size_t>(tokens[i].id);
    if (place_.size() <= id) place_.resize(id + 1, -1);
    place_[id] = static_cast<int>(i);
  }
}

void JsonMask::apply(std::span<float> logits) {
  if (allowed_in_ != state_) {
    find_allowed(logits.size());
    allowed_in_ = state_;
  }
  for (size_t id = 0; id < logits.size(); ++id)
    if (!allowed_[id]) logits[id] = -std::numeric_limits<float>::infinity();
}

void JsonMask::find_allowed(size_t vocab) {
  allowed_.assign(vocab, false);
  if (state_.can_end())
    for (const int32_t id : stop_ids_) allowed_[static_cast<size_t>(id)] = true;
  if (state_.complete()) return;
  after_[0] = state_;
  int good = 0;  // length of the current token's prefix that is allowed
  for (const TokenBytes::Token& token : vocabulary_->tokens()) {
    if (token.shared > good) continue;  // begins with what was refused before
    const auto length = static_cast<int>(token.bytes.size());
    for (good = token.shared; good < length; ++good) {
      text::JsonAutomaton& next = after_[static_cast<size_t>(good) + 1];
      next = after_[static_cast<size_t>(good)];
      if (!next.push(token.bytes[static_cast<size_t>(good)])) break;
    }
    if (good == length) allowed_[static_cast<size_t>(token.id)] = true;
  }
}

void JsonMask::advance(int32_t token) {
  const auto id = static_cast<size_t>(token);
  if (id >= place_.size() || place_[id] < 0) return;  // a stop id
  for (const char byte : vocabulary_->tokens()[static_cast<size_t>(place_[id])].bytes)
    (void)state_.push(byte);
}

}  // namespace facet
