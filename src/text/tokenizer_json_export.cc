#include "text/tokenizer_json_export.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_map>

#include "text/utf8.h"

namespace facet::text {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

OrderedJson sequence(const char* list, std::vector<OrderedJson> steps) {
  if (steps.empty()) return nullptr;
  if (steps.size() == 1) return steps.front();
  return {{"type", "Sequence"}, {list, std::move(steps)}};
}

OrderedJson added_tokens(const Vocabulary& v) {
  OrderedJson all = OrderedJson::array();
  for (size_t id = 0; id < v.pieces.size(); ++id) {
    const TokenType type = v.types[id];
    if (type != TokenType::kControl && type != TokenType::kUserDefined) continue;
    all.push_back({{"id", id},
                   {"content", v.pieces[id]},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", !v.normalized.empty() && v.normalized[id]},
                   {"special", type == TokenType::kControl}});
  }
  return all;
}

OrderedJson normalizer(const Vocabulary& v) {
  std::vector<OrderedJson> steps;
  if (v.add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMarker}});
  if (v.escape_spaces) steps.push_back(replace(" ", kSpaceMarker));
  return sequence("normalizers", std::move(steps));
}

OrderedJson pre_tokenizer(const Vocabulary& v) {
  if (!v.split_newlines) return nullptr;
  return {{"type", "Split"},
          {"pattern", {{"Regex", "[^\\n]+|[\\n]+"}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

/// Special tokens before and after the text.
OrderedJson post_processor(const Vocabulary& v) {
  if (v.prefix.empty() && v.suffix.empty()) return nullptr;
  OrderedJson single = OrderedJson::array();
  OrderedJson pair = OrderedJson::array();
  OrderedJson table = OrderedJson::object();
  const auto add_tokens = [&](OrderedJson& to, const std::vector<int32_t>& ids, int text) {
    for (const int32_t id : ids) {
      const std::string& piece = v.pieces[static_cast<size_t>(id)];
      to.push_back({{"SpecialToken", {{"id", piece}, {"type_id", text}}}});
      table[piece] = {{"id", piece}, {"ids", {id}}, {"tokens", {piece}}};
    }
  };
  const auto add_text = [&](OrderedJson& to, const char* name, int text) {
    add_tokens(to, v.prefix, text);
    to.push_back({{"Sequence", {{"id", name}, {"type_id", text}}}});
    add_tokens(to, v.suffix, text);
  };
  add_text(single, "A", 0);
  add_text(pair, "A", 0);
  add_text(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", table}};
}

OrderedJson decoder(const Vocabulary& v) {
  std::vector<OrderedJson> steps;
  if (v.escape_spaces) steps.push_back(replace(kSpaceMarker, " "));
  steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (v.strip_leading_spaces > 0)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", v.strip_leading_spaces}, {"stop", 0}});
  return sequence("decoders", std::move(steps));
}

OrderedJson model(const Vocabulary& v) {
  OrderedJson vocab = OrderedJson::object();
  // Straight into the vector behind it: an ordered object looks every new key up in all it has.
  auto& entries = vocab.get_ref<OrderedJson::object_t&>();
  entries.reserve(v.pieces.size());
  for (size_t id = 0; id < v.pieces.size(); ++id)
    static_cast<std::vector<OrderedJson::object_t::value_type>&>(entries).emplace_back(v.pieces[id], id);
  OrderedJson merges = OrderedJson::array();
  for (const auto& [left, right] : v.scores.empty() ? v.merges : merges_by_score(v))
    merges.push_back({v.pieces[static_cast<size_t>(left)], v.pieces[static_cast<size_t>(right)]});
  OrderedJson unknown;
  if (v.unknown) unknown = v.pieces[static_cast<size_t>(*v.unknown)];
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", true},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

}  // namespace

std::vector<Merge> merges_by_score(const Vocabulary& v) {
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(v.pieces.size());
  for (size_t id = 0; id < v.pieces.size(); ++id) ids.emplace(v.pieces[id], static_cast<int32_t>(id));
  const auto text_id = [&](std::string_view piece) {
    const auto found = ids.find(piece);
    if (found == ids.end()) return int32_t{-1};
    const TokenType type = v.types[static_cast<size_t>(found->second)];
    return type == TokenType::kNormal || type == TokenType::kUserDefined ? found->second : int32_t{-1};
  };
  std::vector<int32_t> by_score(v.pieces.size());
  std::iota(by_score.begin(), by_score.end(), 0);
  std::ranges::stable_sort(by_score, std::ranges::greater(),
                           [&](int32_t id) { return v.scores[static_cast<size_t>(id)]; });
  std::vector<Merge> merges;
  for (const int32_t id : by_score) {
    const std::string_view piece = v.pieces[static_cast<size_t>(id)];
    if (text_id(piece) < 0) continue;
    for (size_t split = code_point_length(piece); split != 0 && split < piece.size();
         split += code_point_length(piece.substr(split))) {
      const int32_t left = text_id(piece.substr(0, split));
      const int32_t right = text_id(piece.substr(split));
      if (left >= 0 && right >= 0) merges.push_back({left, right});
    }
  }
  return merges;
}

std::string tokenizer_json(const Vocabulary& v) {
  const OrderedJson json = {{"version", "1.0"},
                            {"truncation", nullptr},
                            {"padding", nullptr},
                            {"added_tokens", added_tokens(v)},
                            {"normalizer", normalizer(v)},
                            {"pre_tokenizer", pre_tokenizer(v)},
                            {"post_processor", post_processor(v)},
                            {"decoder", decoder(v)},
                            {"model", model(v)}};
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace facet::text
