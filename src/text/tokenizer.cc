#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/quote.h"
#include "text/stream_decoder.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace facet::text {
namespace {

/// Bounds the quadratic work of trying every split of a piece; SentencePiece makes far shorter ones.
constexpr size_t kMaxScoredPieceBytes = 256;

void append_escaped(std::string_view text, bool escape_spaces, std::string& out) {
  if (!escape_spaces) {
    out += text;
    return;
  }
  for (size_t at = 0; at < text.size();) {
    const size_t space = std::min(text.find(' ', at), text.size());
    out += text.substr(at, space - at);
    if (space < text.size()) out += kSpaceMarker;
    at = space + 1;
  }
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  const MappedFile file(tokenizer_json);
  const auto bytes = file.bytes();
  return from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, tokenizer_json.string());
}

Tokenizer Tokenizer::from_json(std::string_view bytes, std::string_view source) {
  return Tokenizer(read_tokenizer_json(bytes, source));
}

Tokenizer::Tokenizer(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  check_pieces();
  promote_delimiters();
  index_ = PieceIndex(vocabulary_.pieces);
  if (const int32_t twice = index_.duplicate(); twice >= 0) {
    const std::string& piece = vocabulary_.pieces[static_cast<size_t>(twice)];
    refuse(fmt::format("ids {} and {} are both {}", index_.find(vocabulary_.pieces, piece), twice,
                       quote(piece)));
  }
  index_byte_tokens();
  index_added_tokens();
  merges_ = MergeTable(vocab_size(), vocabulary_.scores.empty() ? rules_by_rank() : rules_by_score());
  vocabulary_.merges = {};
  vocabulary_.scores = {};
}

void Tokenizer::refuse(const std::string& what) const {
  throw bad_input(fmt::format("{}: {}", vocabulary_.source, what));
}

void Tokenizer::check_pieces() const {
  const Vocabulary& v = vocabulary_;
  if (v.pieces.empty() || v.pieces.size() > kMaxPieces)
    refuse(fmt::format("a vocabulary of {} tokens; expected 1 to {}", v.pieces.size(), kMaxPieces));
  if (v.types.size() != v.pieces.size())
    refuse(fmt::format("{} token types for {} tokens", v.types.size(), v.pieces.size()));
  if (!v.normalized.empty() && v.normalized.size() != v.pieces.size())
    refuse(fmt::format("{} normalized flags for {} tokens", v.normalized.size(), v.pieces.size()));
  for (size_t i = 0; i < v.pieces.size(); ++i)
    if (!is_utf8(v.pieces[i])) refuse(fmt::format("token {} is not UTF-8: {}", i, quote(v.pieces[i])));
  const auto check_id = [&](int32_t id, std::string_view what) {
    if (!contains(id))
      refuse(fmt::format("{} id {} is not in the vocabulary of {}", what, id, v.pieces.size()));
  };
  for (const int32_t id : v.prefix) check_id(id, "prefix token");
  for (const int32_t id : v.suffix) check_id(id, "suffix token");
  if (v.bos) check_id(*v.bos, "bos");
  if (v.eos) check_id(*v.eos, "eos");
  if (v.unknown) check_id(*v.unknown, "unknown-token");
  if (v.padding) check_id(*v.padding, "padding");
}

/// Some GGUF files declare Gemma 4's delimiters as user-defined, so that they are printed. They are
/// structure all the same: a user's text must not be able to spell one.
void Tokenizer::promote_delimiters() {
  for (size_t i = 0; i < vocabulary_.pieces.size(); ++i) {
    const std::string_view piece = vocabulary_.pieces[i];
    if (vocabulary_.types[i] == TokenType::kUserDefined && piece.size() > 3 && piece.front() == '<' &&
        piece.back() == '>' && (piece[1] == '|' || piece[piece.size() - 2] == '|'))
      vocabulary_.types[i] = TokenType::kControl;
  }
}

void Tokenizer::index_byte_tokens() {
  byte_tokens_.fill(-1);
  for (size_t i = 0; i < 256; ++i) {
    const std::string spelling = fmt::format("<0x{:02X}>", i);
    const int32_t found = index_.find(vocabulary_.pieces, spelling);
    if (!has_type(found, TokenType::kByte)) refuse(fmt::format("no byte token {}", spelling));
    byte_tokens_[i] = found;
  }
  for (size_t i = 0; i < vocab_size(); ++i)
    if (vocabulary_.types[i] == TokenType::kByte && !byte(static_cast<int32_t>(i)))
      refuse(fmt::format("byte token {} (id {}) is not one of <0x00> to <0xFF>", quote(vocabulary_.pieces[i]),
                         i));
}

void Tokenizer::index_added_tokens() {
  std::vector<std::pair<std::string, int32_t>> raw;
  std::vector<std::pair<std::string, int32_t>> normalized;
  for (size_t i = 0; i < vocab_size(); ++i) {
    const auto type = vocabulary_.types[i];
    if (type != TokenType::kControl && type != TokenType::kUserDefined) continue;
    const std::string& piece = vocabulary_.pieces[i];
    if (piece.empty()) refuse(fmt::format("added token {} is empty", i));
    if (piece.size() > AddedTokenMatcher::kMaxBytes)
      refuse(fmt::format("added token {} has {} bytes; at most {} are supported", i, piece.size(),
                         AddedTokenMatcher::kMaxBytes));
    if (!vocabulary_.normalized.empty() && vocabulary_.normalized[i]) {
      std::string spelling;
      append_escaped(piece, vocabulary_.escape_spaces, spelling);
      normalized.emplace_back(std::move(spelling), static_cast<int32_t>(i));
    } else {
      raw.emplace_back(piece, static_cast<int32_t>(i));
    }
  }
  added_ = AddedTokenMatcher(std::move(raw));
  added_normalized_ = AddedTokenMatcher(std::move(normalized));
}

std::vector<MergeRule> Tokenizer::rules_by_rank() const {
  const std::vector<std::string>& pieces = vocabulary_.pieces;
  std::vector<MergeRule> rules;
  rules.reserve(vocabulary_.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < vocabulary_.merges.size(); ++rank) {
    const auto [left, right] = vocabulary_.merges[rank];
    if (!contains(left) || !contains(right))
      refuse(fmt::format("merge {} joins ids {} and {} in a vocabulary of {}", rank, left, right,
                         pieces.size()));
    joined = pieces[static_cast<size_t>(left)];
    joined += pieces[static_cast<size_t>(right)];
    const int32_t result = index_.find(pieces, joined);
    if (result < 0)
      refuse(fmt::format("merge {} joins {} and {}, but {} is not in the vocabulary", rank,
                         quote(pieces[static_cast<size_t>(left)]), quote(pieces[static_cast<size_t>(right)]),
                         quote(joined)));
    // A rule that builds a control or byte token out of text is left out: text must stay text. In the
    // default mode it could never apply, as such a spelling is matched whole before merging.
    if (is_text(result)) rules.push_back({left, right, static_cast<int32_t>(rank), result});
  }
  return rules;
}

std::vector<MergeRule> Tokenizer::rules_by_score() const {
  const Vocabulary& v = vocabulary_;
  if (v.scores.size() != v.pieces.size())
    refuse(fmt::format("{} scores for {} tokens", v.scores.size(), v.pieces.size()));
  std::vector<float> ranking;
  for (size_t i = 0; i < v.scores.size(); ++i) {
    if (!std::isfinite(v.scores[i])) refuse(fmt::format("the score of token {} is not finite", i));
    ranking.push_back(v.scores[i]);
  }
  std::sort(ranking.begin(), ranking.end(), std::greater<>());
  ranking.erase(std::unique(ranking.begin(), ranking.end()), ranking.end());

  std::vector<MergeRule> rules;
  for (size_t i = 0; i < v.pieces.size(); ++i) {
    const auto result = static_cast<int32_t>(i);
    if (!is_text(result)) continue;
    const std::string_view piece = v.pieces[i];
    if (piece.size() > kMaxScoredPieceBytes)
      refuse(fmt::format("token {} has {} bytes; at most {} are supported in a SentencePiece vocabulary", i,
                         piece.size(), kMaxScoredPieceBytes));
    const auto rank = static_cast<int32_t>(
        std::lower_bound(ranking.begin(), ranking.end(), v.scores[i], std::greater<>()) - ranking.begin());
    for (size_t split = code_point_length(piece); split != 0 && split < piece.size();
         split += code_point_length(piece.substr(split))) {
      const int32_t left = index_.find(v.pieces, piece.substr(0, split));
      if (!is_text(left)) continue;
      const int32_t right = index_.find(v.pieces, piece.substr(split));
      if (is_text(right)) rules.push_back({left, right, rank, result});
    }
  }
  return rules;
}

/// One text on its way to ids, with the scratch memory that its parts share.
class Tokenizer::Encoding {
 public:
  Encoding(const Tokenizer& tokenizer, EncodeOptions options)
      : tokenizer_(tokenizer), options_(options), merger_(tokenizer.merges_) {}

  std::vector<int32_t> operator()(std::string_view text) {
    const Vocabulary& v = tokenizer_.vocabulary_;
    if (options_.add_bos) ids_ = v.prefix;
    split_at(tokenizer_.added_, text, [this](std::string_view part) { normalize(part); });
    if (options_.add_bos) ids_.insert(ids_.end(), v.suffix.begin(), v.suffix.end());
    return std::move(ids_);
  }

 private:
  /// Emits the added tokens in `text` and hands what lies between them to `rest`.
  template <typename Rest>
  void split_at(const AddedTokenMatcher& added, std::string_view text, const Rest& rest) {
    size_t begin = 0;
    size_t from = 0;
    while (!added.empty() && from < text.size()) {
      const AddedTokenMatcher::Match match = added.find(text, from);
      from = match.end;
      if (match.id < 0 || (!options_.parse_special && tokenizer_.is_special(match.id))) continue;
      if (match.begin > begin) rest(text.substr(begin, match.begin - begin));
      ids_.push_back(match.id);
      begin = match.end;
    }
    if (begin < text.size()) rest(text.substr(begin));
  }

  void normalize(std::string_view text) {
    const Vocabulary& v = tokenizer_.vocabulary_;
    normalized_.clear();
    if (v.add_space_prefix) normalized_ = kSpaceMarker;
    append_escaped(text, v.escape_spaces, normalized_);
    split_at(tokenizer_.added_normalized_, normalized_,
             [this](std::string_view part) { pre_tokenize(part); });
  }

  void pre_tokenize(std::string_view text) {
    if (!tokenizer_.vocabulary_.split_newlines) {
      merge(text);
      return;
    }
    while (!text.empty()) {
      const size_t end = text[0] == '\n' ? text.find_first_not_of('\n') : text.find('\n');
      merge(text.substr(0, end));
      text.remove_prefix(std::min(end, text.size()));
    }
  }

  void merge(std::string_view text) {
    symbols_.clear();
    while (!text.empty()) {
      const size_t length = std::max<size_t>(code_point_length(text), 1);
      const std::string_view symbol = text.substr(0, length);
      const int32_t id = tokenizer_.index_.find(tokenizer_.vocabulary_.pieces, symbol);
      if (tokenizer_.is_text(id))
        symbols_.push_back(id);
      else
        for (const char byte : symbol)
          symbols_.push_back(tokenizer_.byte_tokens_[static_cast<uint8_t>(byte)]);
      text.remove_prefix(length);
    }
    merger_.merge(symbols_);
    ids_.insert(ids_.end(), symbols_.begin(), symbols_.end());
  }

  const Tokenizer& tokenizer_;
  EncodeOptions options_;
  BpeMerger merger_;
  std::string normalized_;
  std::vector<int32_t> symbols_;
  std::vector<int32_t> ids_;
};

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes)
    throw bad_input(
        fmt::format("a text of {} bytes; at most {} can be encoded at once", text.size(), kMaxTextBytes));
  return Encoding(*this, options)(text);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, DecodeOptions options) const {
  StreamDecoder decoder(*this, options);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  text += decoder.flush();
  return text;
}

std::string_view Tokenizer::token(int32_t id) const {
  if (!contains(id))
    throw bad_input(fmt::format("token id {} is not in the vocabulary of {}", id, vocab_size()));
  return vocabulary_.pieces[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::id(std::string_view piece) const noexcept {
  const int32_t found = index_.find(vocabulary_.pieces, piece);
  return found < 0 ? std::nullopt : std::optional(found);
}

std::optional<uint8_t> Tokenizer::byte(int32_t id) const noexcept {
  if (!has_type(id, TokenType::kByte)) return std::nullopt;
  return spelled_byte(vocabulary_.pieces[static_cast<size_t>(id)]);
}

}  // namespace facet::text
