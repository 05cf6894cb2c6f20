// A tokenizer small enough that a fuzzer reaches all of it.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "text/tokenizer.h"

namespace facet::text {

/// Ids 0 to 13: control tokens; 14 and 15: user-defined; then bytes, ASCII, and a few merges. `scored`
/// merges by score, as SentencePiece does, else by rank.
inline Tokenizer small_tokenizer(bool scored, bool split_newlines) {
  Vocabulary v;
  v.source = "small";
  v.split_newlines = split_newlines;
  const auto add = [&](std::string piece, TokenType type) {
    v.pieces.push_back(std::move(piece));
    v.types.push_back(type);
    if (scored) v.scores.push_back(-static_cast<float>(v.pieces.size() % 17));
    return static_cast<int32_t>(v.pieces.size() - 1);
  };
  for (const char* piece :
       {"<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|tool>", "<tool|>",
        "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", "<|\"|>"})
    add(piece, TokenType::kControl);
  add("<table>", TokenType::kUserDefined);
  add("\n\n", TokenType::kUserDefined);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), TokenType::kByte);
  const auto first_letter = static_cast<int32_t>(v.pieces.size());
  for (char c = '!'; c <= '~'; ++c) add(std::string(1, c), TokenType::kNormal);
  const int32_t newline = add("\n", TokenType::kNormal);
  const int32_t space = add("▁", TokenType::kNormal);
  const auto letter = [&](char c) { return first_letter + (c - '!'); };
  const auto merge = [&](int32_t left, int32_t right) {
    const int32_t result =
        add(v.pieces[static_cast<size_t>(left)] + v.pieces[static_cast<size_t>(right)], TokenType::kNormal);
    if (!scored) v.merges.push_back({left, right});
    return result;
  };
  const int32_t ca = merge(letter('c'), letter('a'));
  const int32_t ll = merge(letter('l'), letter('l'));
  const int32_t call = merge(ca, ll);
  merge(call, letter(':'));
  const int32_t aa = merge(letter('a'), letter('a'));
  merge(aa, aa);
  merge(space, letter('a'));
  const int32_t spaces = merge(space, space);
  merge(spaces, spaces);
  merge(newline, letter('a'));
  merge(letter('t'), merge(letter('h'), letter('o')));
  v.prefix = {0};
  v.bos = 0;
  v.eos = 1;
  return Tokenizer(std::move(v));
}

}  // namespace facet::text
