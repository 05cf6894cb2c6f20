#include "text/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/quote.h"
#include "text/piece_index.h"
#include "text/tokenizer_json_events.h"

namespace facet::text {
namespace {

using nlohmann::json;

/// Turns the parsed file into a Vocabulary, part by part.
class Reader {
 public:
  Reader(TokenizerJson file, std::string_view source) : file_(std::move(file)), source_(source) {
    vocabulary_.source = source;
  }

  Vocabulary read() {
    read_model();
    read_pieces();
    read_merges();
    read_normalizer();
    read_pre_tokenizer(member(file_.head, "pre_tokenizer"));
    read_post_processor();
    read_decoder();
    vocabulary_.bos = find("<bos>");
    vocabulary_.eos = find("<eos>");
    vocabulary_.padding = find("<pad>");
    return std::move(vocabulary_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw bad_input(fmt::format("{}: {}", source_, what));
  }

  /// object[key], or null when it is absent.
  static const json& member(const json& object, const char* key) {
    static const json null;
    const auto found = object.find(key);
    return found == object.end() ? null : *found;
  }

  /// The string object[key], or "" when it is absent or null.
  std::string string_member(const json& object, const char* key, std::string_view where) const {
    const json& value = member(object, key);
    if (value.is_null()) return {};
    if (!value.is_string()) refuse(fmt::format("{}.{} is not a string", where, key));
    return value.get<std::string>();
  }

  bool bool_member(const json& object, const char* key, std::string_view where) const {
    const json& value = member(object, key);
    if (value.is_null()) return false;
    if (!value.is_boolean()) refuse(fmt::format("{}.{} is not a boolean", where, key));
    return value.get<bool>();
  }

  const json& object_member(const json& object, const char* key) const {
    const json& value = member(object, key);
    if (!value.is_object()) refuse(fmt::format("{} is missing or not an object", key));
    return value;
  }

  std::optional<int32_t> find(std::string_view piece) const {
    const int32_t id = index_.find(vocabulary_.pieces, piece);
    return id < 0 ? std::nullopt : std::optional(id);
  }

  void read_model() {
    const json& model = object_member(file_.head, "model");
    if (const std::string type = string_member(model, "type", "model"); !type.empty() && type != "BPE")
      refuse(fmt::format("model.type is {}; only \"BPE\" is supported", quote(type)));
    if (!member(model, "vocab").is_object())
      refuse("model.vocab is missing or not an object of piece: id (a BPE vocabulary)");
    if (!member(model, "merges").is_array()) refuse("model.merges is missing or not an array");
    if (!bool_member(model, "byte_fallback", "model"))
      refuse("model.byte_fallback is not true; only byte-fallback BPE is supported");
    if (bool_member(model, "ignore_merges", "model")) refuse("model.ignore_merges is not supported");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!string_member(model, key, "model").empty()) refuse(fmt::format("model.{} is not supported", key));
    if (const json& dropout = member(model, "dropout"); !dropout.is_null() && dropout != 0)
      refuse("model.dropout is not supported: encoding must give the same ids each time");
  }

  void read_pieces() {
    const json& added = member(file_.head, "added_tokens");
    if (!added.is_null() && !added.is_array()) refuse("added_tokens is not an array");
    place_pieces(added);
    index_ = PieceIndex(vocabulary_.pieces);
    if (const int32_t twice = index_.duplicate(); twice >= 0) {
      const std::string& piece = vocabulary_.pieces[static_cast<size_t>(twice)];
      refuse(fmt::format("{} has two ids: {} and {}", quote(piece), find(piece).value_or(-1), twice));
    }
    const std::string unknown = string_member(file_.head["model"], "unk_token", "model");
    if (unknown.empty()) return;
    vocabulary_.unknown = find(unknown);
    if (!vocabulary_.unknown)
      refuse(fmt::format("model.unk_token {} is not in the vocabulary", quote(unknown)));
  }

  /// Fills pieces, types and normalized. Every id in [0, number of pieces) must have exactly one piece;
  /// an added token either repeats an entry of model.vocab or continues behind it.
  void place_pieces(const json& added) {
    const size_t total = file_.vocab.size() + added.size();  // an upper bound on the ids
    std::vector<std::string>& pieces = vocabulary_.pieces;
    std::vector<bool> taken(total, false);
    pieces.resize(total);
    vocabulary_.types.assign(total, TokenType::kNormal);
    vocabulary_.normalized.assign(total, false);
    size_t end = 0;
    const auto place = [&](std::string piece, int64_t id) {
      if (id < 0 || static_cast<uint64_t>(id) >= total)
        refuse(fmt::format("{} has id {}, outside a vocabulary of {}", quote(piece), id, total));
      const auto at = static_cast<size_t>(id);
      if (taken[at] && pieces[at] != piece)
        refuse(fmt::format("id {} is both {} and {}", id, quote(pieces[at]), quote(piece)));
      const bool is_new = !taken[at];
      taken[at] = true;
      pieces[at] = std::move(piece);
      end = std::max(end, at + 1);
      return is_new;
    };
    for (auto& [piece, id] : file_.vocab) {
      const bool is_byte = is_byte_spelling(piece);
      if (!place(std::move(piece), id)) refuse(fmt::format("model.vocab holds id {} twice", id));
      if (is_byte) vocabulary_.types[static_cast<size_t>(id)] = TokenType::kByte;
    }
    std::vector<bool> added_before(total, false);
    for (size_t i = 0; i < added.size(); ++i) {
      const std::string where = fmt::format("added_tokens[{}]", i);
      const json& token = added[i];
      if (!token.is_object()) refuse(fmt::format("{} is not an object", where));
      const json& id = member(token, "id");
      const json& content = member(token, "content");
      if (!id.is_number_integer() || !content.is_string())
        refuse(fmt::format("{} lacks an integer id or a string content", where));
      for (const char* flag : {"single_word", "lstrip", "rstrip"})
        if (bool_member(token, flag, where)) refuse(fmt::format("{}.{} is not supported", where, flag));
      // A value over 2^63 - 1 reads as negative here: outside the vocabulary all the same.
      place(content.get<std::string>(), id.get<int64_t>());
      const auto at = id.get<size_t>();
      if (added_before[at]) refuse(fmt::format("added_tokens holds id {} twice", at));
      added_before[at] = true;
      vocabulary_.types[at] =
          bool_member(token, "special", where) ? TokenType::kControl : TokenType::kUserDefined;
      vocabulary_.normalized[at] = bool_member(token, "normalized", where);
    }
    const auto gap = std::find(taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(end), false);
    if (const auto at = static_cast<size_t>(gap - taken.begin()); at < end)
      refuse(fmt::format("no token has id {}, though ids go up to {}", at, end - 1));
    pieces.resize(end);
    vocabulary_.types.resize(end);
    vocabulary_.normalized.resize(end);
  }

  void read_merges() {
    vocabulary_.merges.reserve(file_.merges.size());
    for (const auto& [left, right] : file_.merges) {
      const auto left_id = find(left);
      const auto right_id = find(right);
      if (!left_id || !right_id)
        refuse(fmt::format("merge {} names {}, which is not in the vocabulary", vocabulary_.merges.size(),
                           quote(left_id ? right : left)));
      vocabulary_.merges.push_back({*left_id, *right_id});
    }
    file_.merges = {};
  }

  /// Whether `step` replaces the string `from` by `to`, as a normalizer or a decoder.
  static bool is_replace(const json& step, std::string_view from, std::string_view to) {
    return step.is_object() && member(step, "type") == "Replace" &&
           member(step, "pattern") == json{{"String", from}} && member(step, "content") == to;
  }

  /// The steps of a component: those of a Sequence, or the component alone, or none for null.
  std::vector<json> steps(const json& component, const char* list, std::string_view name) const {
    if (component.is_null()) return {};
    if (!component.is_object()) refuse(fmt::format("{} is not an object", name));
    if (member(component, "type") != "Sequence") return {component};
    const json& sequence = member(component, list);
    if (!sequence.is_array()) refuse(fmt::format("{}.{} is not an array", name, list));
    return sequence.get<std::vector<json>>();
  }

  /// What to call a step in an error.
  static std::string describe(const json& step) {
    std::string text = step.dump(-1, ' ', false, json::error_handler_t::replace);
    return quote(text);
  }

  void read_normalizer() {
    vocabulary_.escape_spaces = false;
    for (const json& step : steps(member(file_.head, "normalizer"), "normalizers", "normalizer")) {
      if (is_replace(step, " ", kSpaceMarker) && !vocabulary_.escape_spaces)
        vocabulary_.escape_spaces = true;
      else if (step.is_object() && member(step, "type") == "Prepend" &&
               member(step, "prepend") == kSpaceMarker && !vocabulary_.add_space_prefix)
        vocabulary_.add_space_prefix = true;
      else
        refuse(fmt::format("unsupported normalizer {}", describe(step)));
    }
  }

  void read_pre_tokenizer(const json& pre_tokenizer) {
    for (const json& step : steps(pre_tokenizer, "pretokenizers", "pre_tokenizer")) {
      if (splits_newline_runs(step))
        vocabulary_.split_newlines = true;
      else if (!(vocabulary_.escape_spaces && splits_at_spaces(step)))  // no space is left to split at
        refuse(fmt::format("unsupported pre_tokenizer {}", describe(step)));
    }
  }

  static bool splits_at_spaces(const json& step) {
    return step.is_object() && member(step, "type") == "Split" &&
           member(step, "pattern") == json{{"String", " "}};
  }

  /// Gemma 4's: runs of newlines are set apart from what lies between them. Accepts the ways to say so.
  static bool splits_newline_runs(const json& step) {
    if (!step.is_object() || member(step, "type") != "Split") return false;
    const json& invert = member(step, "invert");
    if (!invert.is_null() && invert != false) return false;
    const json& pattern = member(step, "pattern");
    const json& behavior = member(step, "behavior");
    if (pattern == json{{"String", "\n"}} || pattern == json{{"Regex", "\n"}} ||
        pattern == json{{"Regex", "\\n"}})
      return behavior == "Contiguous";
    if (!pattern.is_object() || pattern.size() != 1 || !member(pattern, "Regex").is_string()) return false;
    std::string regex = member(pattern, "Regex").get<std::string>();
    for (size_t at = regex.find('\n'); at != std::string::npos; at = regex.find('\n', at))
      regex.replace(at, 1, "\\n");
    constexpr std::array<std::string_view, 12> kSpellings = {
        "\\n+",           "(\\n+)",         "(?:\\n+)",       "[\\n]+",
        "([\\n]+)",       "(?:[\\n]+)",     "\\n+|[^\\n]+",   "[^\\n]+|\\n+",
        "[^\\n]+|[\\n]+", "[\\n]+|[^\\n]+", "(\\n+|[^\\n]+)", "([^\\n]+|\\n+)"};
    return std::find(kSpellings.begin(), kSpellings.end(), regex) != kSpellings.end() &&
           behavior == "Isolated";
  }

  void read_post_processor() {
    for (const json& step : steps(member(file_.head, "post_processor"), "processors", "post_processor")) {
      if (!step.is_object() || member(step, "type") != "TemplateProcessing")
        refuse(fmt::format("unsupported post_processor {}", describe(step)));
      read_template(step);
    }
  }

  /// The `single` template: special tokens, the text once, special tokens.
  void read_template(const json& processor) {
    const json& single = member(processor, "single");
    if (!single.is_array()) refuse("post_processor.single is not an array");
    bool after_text = false;
    for (const json& item : single) {
      if (!item.is_object()) refuse("post_processor.single holds something that is not an object");
      if (item.contains("Sequence")) {
        if (after_text) refuse("post_processor.single holds the text twice");
        after_text = true;
        continue;
      }
      if (!item.contains("SpecialToken"))
        refuse(fmt::format("unsupported post_processor item {}", describe(item)));
      auto& ids = after_text ? vocabulary_.suffix : vocabulary_.prefix;
      append_template_token(processor, item["SpecialToken"], ids);
    }
    if (!after_text) refuse("post_processor.single lacks the text");
  }

  /// The ids of a special token are those that post_processor.special_tokens gives it.
  void append_template_token(const json& processor, const json& token, std::vector<int32_t>& ids) const {
    if (!token.is_object() || !member(token, "id").is_string())
      refuse("post_processor: a SpecialToken without an id");
    const auto name = member(token, "id").get<std::string>();
    const json& table = member(processor, "special_tokens");
    const json& entry = table.is_object() ? member(table, name.c_str()) : table;
    const json& entry_ids = entry.is_object() ? member(entry, "ids") : entry;
    if (!entry_ids.is_array() || entry_ids.empty())
      refuse(fmt::format("post_processor.special_tokens has no ids for {}", quote(name)));
    for (const json& id : entry_ids) {
      if (!id.is_number_integer() || id < 0 || id >= vocabulary_.pieces.size())
        refuse(fmt::format("post_processor gives {} an id outside the vocabulary of {}", quote(name),
                           vocabulary_.pieces.size()));
      ids.push_back(id.get<int32_t>());
    }
  }

  void read_decoder() {
    bool replaces = false;
    bool fuses_bytes = false;
    for (const json& step : steps(member(file_.head, "decoder"), "decoders", "decoder")) {
      const json& type = step.is_object() ? member(step, "type") : step;
      if (is_replace(step, kSpaceMarker, " "))
        replaces = true;
      else if (type == "ByteFallback")
        fuses_bytes = true;
      else if (type == "Strip")
        read_strip(step);
      else if (type != "Fuse")
        refuse(fmt::format("unsupported decoder {}", describe(step)));
    }
    if (!fuses_bytes || replaces != vocabulary_.escape_spaces)
      refuse("the decoder does not undo what the normalizer and byte fallback do");
  }

  void read_strip(const json& step) {
    const json& start = member(step, "start");
    if (member(step, "content") != " " || member(step, "stop") != 0 || !start.is_number_integer() ||
        start < 0 || start > 16)
      refuse(fmt::format("unsupported decoder {}", describe(step)));
    vocabulary_.strip_leading_spaces = start.get<int32_t>();
  }

  TokenizerJson file_;
  std::string_view source_;
  Vocabulary vocabulary_;
  PieceIndex index_;
};

}  // namespace

Vocabulary read_tokenizer_json(std::string_view bytes, std::string_view source) {
  return Reader(parse_tokenizer_json(bytes, source), source).read();
}

}  // namespace facet::text
