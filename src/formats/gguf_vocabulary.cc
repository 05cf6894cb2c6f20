#include "formats/gguf_vocabulary.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/quote.h"
#include "model/spec_limits.h"

namespace facet {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";
// Each merge makes a piece, in at most a few ways.
constexpr uint64_t kMaxMerges = uint64_t{4} * kMaxVocabulary;

std::optional<int32_t> token_id(const GgufMetadata& metadata, std::string_view name, size_t tokens) {
  return metadata.integer(fmt::format("tokenizer.ggml.{}_token_id", name), 0,
                          static_cast<int64_t>(tokens) - 1);
}

void read_pieces(const GgufMetadata& metadata, text::Vocabulary& vocabulary) {
  const uint64_t count = metadata.array_size(kTokens);
  if (count == 0 || count > kMaxVocabulary)
    throw metadata.unexpected(kTokens, fmt::format("1 to {} tokens", kMaxVocabulary), std::to_string(count));
  vocabulary.pieces.reserve(count);
  metadata.each_string(kTokens,
                       [&](size_t, std::string_view piece) { vocabulary.pieces.emplace_back(piece); });
  const auto types =
      metadata.required(kTypes, metadata.integers(kTypes, count, static_cast<int>(text::TokenType::kNormal),
                                                  static_cast<int>(text::TokenType::kByte)));
  for (const int type : types) vocabulary.types.push_back(static_cast<text::TokenType>(type));
}

/// "left right": the space that parts them is the first one that leaves something on its left.
std::vector<text::Merge> read_merges(const GgufMetadata& metadata, const std::vector<std::string>& pieces) {
  const uint64_t count = metadata.array_size(kMerges);
  if (count == 0 || count > kMaxMerges)
    throw metadata.unexpected(kMerges, fmt::format("1 to {} merges", kMaxMerges), std::to_string(count));
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(pieces.size());
  for (size_t id = 0; id < pieces.size(); ++id) ids.emplace(pieces[id], static_cast<int32_t>(id));
  std::vector<text::Merge> merges;
  merges.reserve(count);
  metadata.each_string(kMerges, [&](size_t rank, std::string_view pair) {
    const size_t space = pair.find(' ', 1);
    const auto left = ids.find(pair.substr(0, space));
    const auto right = space == std::string_view::npos ? ids.end() : ids.find(pair.substr(space + 1));
    if (left == ids.end() || right == ids.end())
      throw metadata.unexpected(fmt::format("{}[{}]", kMerges, rank), "two tokens of the vocabulary",
                                quote(pair));
    merges.push_back({left->second, right->second});
  });
  return merges;
}

}  // namespace

bool has_gguf_vocabulary(const GgufFile& file) {
  const auto model = file.metadata().string(kModel);
  return model && *model != "none" && *model != "no_vocab";
}

std::optional<text::Vocabulary> gguf_vocabulary(const GgufFile& file) {
  if (!has_gguf_vocabulary(file)) return std::nullopt;
  const GgufMetadata& metadata = file.metadata();
  const auto model = metadata.string(kModel);
  if (*model != "gemma4" && *model != "llama")
    throw metadata.unexpected(kModel, "gemma4 or llama", quote(*model));

  text::Vocabulary vocabulary;
  vocabulary.source = file.label();
  read_pieces(metadata, vocabulary);
  const size_t tokens = vocabulary.pieces.size();
  if (*model == "gemma4") {
    vocabulary.merges = read_merges(metadata, vocabulary.pieces);
    vocabulary.split_newlines = true;
  } else {
    vocabulary.scores = metadata.required(kScores, metadata.floats(kScores, tokens));
  }
  vocabulary.bos = token_id(metadata, "bos", tokens);
  vocabulary.eos = token_id(metadata, "eos", tokens);
  vocabulary.unknown = token_id(metadata, "unknown", tokens);
  vocabulary.padding = token_id(metadata, "padding", tokens);
  // SentencePiece's own default is a space before the text; Gemma's files say false.
  vocabulary.add_space_prefix =
      metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(*model == "llama");
  // Early Gemma 4 files say false by mistake; llama.cpp overrules them, too.
  const bool add_bos = metadata.boolean("tokenizer.ggml.add_bos_token").value_or(true) || *model == "gemma4";
  if (vocabulary.bos && add_bos) vocabulary.prefix = {*vocabulary.bos};
  if (vocabulary.eos && metadata.boolean("tokenizer.ggml.add_eos_token").value_or(false))
    vocabulary.suffix = {*vocabulary.eos};
  return vocabulary;
}

}  // namespace facet
