// Bad tokenizer.json files: one clear line each.
#include "text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "support/tiny_tokenizer.h"
#include "text/tokenizer.h"

namespace facet::text {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// The message of the error that loading `bytes` gives.
std::string refusal(std::string_view bytes) {
  try {
    static_cast<void>(Tokenizer::from_json(bytes, "x.json"));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadInput);
    EXPECT_THAT(error.what(), AllOf(StartsWith("x.json: "), Not(HasSubstr("\n"))));
    EXPECT_LT(std::string(error.what()).size(), 400U);
    return error.what();
  }
  return "(accepted)";
}

struct Spoilt {
  const char* name;
  std::function<void(json&)> spoil;
  const char* message;
};

void PrintTo(const Spoilt& spoilt, std::ostream* out) {
  *out << spoilt.name;
}

/// Gives the last piece, which no merge builds on, another spelling.
void respell_last_piece(json& tokenizer, const char* spelling) {
  json& vocab = tokenizer["model"]["vocab"];
  const size_t last = vocab.size() - 1;
  for (auto it = vocab.begin(); it != vocab.end(); ++it) {
    if (it.value() != last) continue;
    vocab.erase(it);
    break;
  }
  vocab[spelling] = last;
}

class SpoiltTokenizer : public ::testing::TestWithParam<Spoilt> {};

TEST_P(SpoiltTokenizer, IsRefusedWithOneClearLine) {
  json tokenizer = testing::tiny_tokenizer_json();
  GetParam().spoil(tokenizer);
  EXPECT_THAT(refusal(tokenizer.dump()), HasSubstr(GetParam().message));
}

const Spoilt kSpoilt[] = {
    {"DuplicateId", [](json& t) { t["model"]["vocab"]["new"] = 300; }, "id 300 is both"},
    {"IdAtVocabulary", [](json& t) { t["model"]["vocab"]["new"] = 877; }, "no token has id 876, though"},
    {"IdFarOut", [](json& t) { t["model"]["vocab"]["new"] = 2000; }, "outside a vocabulary"},
    {"HugeId", [](json& t) { t["model"]["vocab"]["new"] = 18446744073709551615U; }, "outside a vocabulary"},
    {"NegativeId", [](json& t) { t["model"]["vocab"]["new"] = -1; }, "id -1, outside a vocabulary"},
    {"FloatId", [](json& t) { t["model"]["vocab"]["new"] = 1.5; }, "is not an integer"},
    {"StringId", [](json& t) { t["model"]["vocab"]["new"] = "7"; }, "is not an integer"},
    {"NullId", [](json& t) { t["model"]["vocab"]["new"] = nullptr; }, "is not an integer"},
    {"ObjectId", [](json& t) { t["model"]["vocab"]["new"] = json::object(); }, "is not an integer"},
    {"Gap", [](json& t) { t["model"]["vocab"].erase("er"); }, "no token has id"},
    {"MergeToUnknown",
     [](json& t) {
       t["model"]["merges"].push_back({"q", "q"});
     },
     "\"qq\" is not in the vocabulary"},
    {"MergeOfUnknown",
     [](json& t) {
       t["model"]["merges"].push_back({"a", "no such"});
     },
     "\"no such\", which is not"},
    {"MergeOfOne", [](json& t) { t["model"]["merges"].push_back(json::array({"a"})); }, "has 1 pieces"},
    {"MergeOfThree",
     [](json& t) {
       t["model"]["merges"].push_back({"a", "b", "c"});
     },
     "has 3 pieces"},
    {"MergeOfNumbers",
     [](json& t) {
       t["model"]["merges"].push_back({1, 2});
     },
     "neither a string nor a pair"},
    {"MergeNumber", [](json& t) { t["model"]["merges"].push_back(1); }, "neither a string nor a pair"},
    {"MergeObject",
     [](json& t) {
       t["model"]["merges"].push_back({{"a", 1}});
     },
     "neither a string nor a pair"},
    {"MergeNested",
     [](json& t) {
       t["model"]["merges"].push_back(json::array({json::array({"a"}), "b"}));
     },
     "neither a string nor a pair"},
    {"MergeWithoutSpace", [](json& t) { t["model"]["merges"].push_back("ab"); }, "expected two pieces"},
    {"MergeWithTwoSpaces", [](json& t) { t["model"]["merges"].push_back("a b c"); }, "expected two pieces"},
    {"NoByteToken",
     [](json& t) {
       auto& v = t["model"]["vocab"];
       v["new"] = v["<0x41>"];
       v.erase("<0x41>");
     },
     "no byte token <0x41>"},
    {"MisspeltByteToken", [](json& t) { respell_last_piece(t, "<0xZZ>"); }, "byte token \"<0xZZ>\" (id"},
    {"LowerCaseByteToken", [](json& t) { respell_last_piece(t, "<0xab>"); },
     "is not one of <0x00> to <0xFF>"},
    {"ByteTokenAdded",
     [](json& t) {
       t["added_tokens"][0]["content"] = "<0x41>";
       t["added_tokens"][0]["id"] = t["model"]["vocab"]["<0x41>"];
     },
     "no byte token <0x41>"},
    {"NoModel", [](json& t) { t.erase("model"); }, "model is missing"},
    {"ModelArray", [](json& t) { t["model"] = json::array(); }, "model is missing or not an object"},
    {"NoVocab", [](json& t) { t["model"].erase("vocab"); }, "model.vocab is missing"},
    {"VocabArray",
     [](json& t) {
       t["model"]["vocab"] = json::array({json::array({"a", -1.5})});
     },
     "model.vocab is missing or not an object"},
    {"NoMerges", [](json& t) { t["model"].erase("merges"); }, "model.merges is missing"},
    {"MergesObject", [](json& t) { t["model"]["merges"] = json::object(); },
     "model.merges is missing or not an array"},
    {"EmptyVocab", [](json& t) { t["model"]["vocab"] = json::object(); }, "outside a vocabulary"},
    {"Unigram", [](json& t) { t["model"]["type"] = "Unigram"; }, "only \"BPE\""},
    {"TypeNumber", [](json& t) { t["model"]["type"] = 3; }, "model.type is not a string"},
    {"NoByteFallback", [](json& t) { t["model"]["byte_fallback"] = false; }, "byte_fallback"},
    {"ByteFallbackString", [](json& t) { t["model"]["byte_fallback"] = "yes"; }, "is not a boolean"},
    {"IgnoreMerges", [](json& t) { t["model"]["ignore_merges"] = true; }, "ignore_merges"},
    {"Dropout", [](json& t) { t["model"]["dropout"] = 0.1; }, "dropout"},
    {"SubwordPrefix", [](json& t) { t["model"]["continuing_subword_prefix"] = "##"; },
     "continuing_subword_prefix"},
    {"WordSuffix", [](json& t) { t["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
    {"UnknownUnknown", [](json& t) { t["model"]["unk_token"] = "<what>"; }, "unk_token \"<what>\""},
    {"AddedNotArray", [](json& t) { t["added_tokens"] = 5; }, "added_tokens is not an array"},
    {"AddedNotObject", [](json& t) { t["added_tokens"][0] = "x"; }, "added_tokens[0] is not an object"},
    {"AddedWithoutId", [](json& t) { t["added_tokens"][0].erase("id"); }, "added_tokens[0] lacks"},
    {"AddedIdFloat", [](json& t) { t["added_tokens"][0]["id"] = 0.5; }, "added_tokens[0] lacks"},
    {"AddedWithoutContent", [](json& t) { t["added_tokens"][0]["content"] = nullptr; },
     "added_tokens[0] lacks"},
    {"AddedTwice", [](json& t) { t["added_tokens"].push_back(t["added_tokens"][0]); }, "holds id 0 twice"},
    {"AddedOtherId", [](json& t) { t["added_tokens"][0]["id"] = 7; }, "id 7 is both"},
    {"AddedSecondId", [](json& t) { t["added_tokens"][17]["content"] = "<pad>"; }, "is both"},
    {"AddedPieceAgain", [](json& t) { t["added_tokens"].back()["content"] = "<pad>"; },
     "\"<pad>\" has two ids: 0 and 875"},
    {"AddedHugeId", [](json& t) { t["added_tokens"][0]["id"] = 18446744073709551615U; },
     "outside a vocabulary"},
    {"AddedNegativeId", [](json& t) { t["added_tokens"][0]["id"] = -5; }, "outside a vocabulary"},
    {"AddedGap",
     [](json& t) {
       t["added_tokens"].push_back(t["added_tokens"].back());
       t["added_tokens"].back()["id"] = 877;
       t["added_tokens"].back()["content"] = "new";
     },
     "no token has id 876, though"},
    {"AddedEmpty", [](json& t) { t["added_tokens"].back()["content"] = ""; }, "added token 875 is empty"},
    {"AddedLong", [](json& t) { t["added_tokens"].back()["content"] = std::string(257, 'a'); },
     "has 257 bytes"},
    {"SingleWord", [](json& t) { t["added_tokens"][1]["single_word"] = true; },
     "single_word is not supported"},
    {"Lstrip", [](json& t) { t["added_tokens"][1]["lstrip"] = true; }, "lstrip is not supported"},
    {"SpecialString", [](json& t) { t["added_tokens"][1]["special"] = "no"; }, "special is not a boolean"},
    {"OtherNormalizer",
     [](json& t) {
       t["normalizer"] = {{"type", "NFKC"}};
     },
     "unsupported normalizer"},
    {"NormalizerString", [](json& t) { t["normalizer"] = "NFKC"; }, "normalizer is not an object"},
    {"NormalizerListNumber",
     [](json& t) {
       t["normalizer"] = {{"type", "Sequence"}, {"normalizers", 1}};
     },
     "normalizer.normalizers is not an array"},
    {"NoNormalizer", [](json& t) { t["normalizer"] = nullptr; }, "decoder does not undo"},
    {"ByteLevel",
     [](json& t) {
       t["pre_tokenizer"] = {{"type", "ByteLevel"}};
     },
     "unsupported pre_tokenizer"},
    {"OtherRegex", [](json& t) { t["pre_tokenizer"]["pattern"]["Regex"] = "\\s+"; },
     "unsupported pre_tokenizer"},
    {"OtherBehavior", [](json& t) { t["pre_tokenizer"]["behavior"] = "Removed"; },
     "unsupported pre_tokenizer"},
    {"Inverted", [](json& t) { t["pre_tokenizer"]["invert"] = true; }, "unsupported pre_tokenizer"},
    {"OtherProcessor", [](json& t) { t["post_processor"]["type"] = "BertProcessing"; },
     "unsupported post_processor"},
    {"TemplateWithoutText", [](json& t) { t["post_processor"]["single"].erase(1); }, "lacks the text"},
    {"TemplateTextTwice",
     [](json& t) {
       auto& s = t["post_processor"]["single"];
       s.push_back(s[1]);
     },
     "the text twice"},
    {"TemplateNumber", [](json& t) { t["post_processor"]["single"][0] = 1; }, "not an object"},
    {"TemplateObject", [](json& t) { t["post_processor"]["single"][0] = json::object(); },
     "unsupported post_processor item"},
    {"TemplateUnknown", [](json& t) { t["post_processor"]["single"][0]["SpecialToken"]["id"] = "<x>"; },
     "no ids for"},
    {"TemplateBadId", [](json& t) { t["post_processor"]["special_tokens"]["<bos>"]["ids"] = {876}; },
     "outside the vocabulary"},
    {"TemplateNegativeId", [](json& t) { t["post_processor"]["special_tokens"]["<bos>"]["ids"] = {-1}; },
     "outside the vocabulary"},
    {"NoDecoder", [](json& t) { t["decoder"] = nullptr; }, "decoder does not undo"},
    {"OtherDecoder",
     [](json& t) {
       t["decoder"] = {{"type", "WordPiece"}};
     },
     "unsupported decoder"},
    {"LongUnsupported",
     [](json& t) {
       t["decoder"] = {{"type", std::string(1 << 20, 'x')}};
     },
     "unsupported decoder"},
};

INSTANTIATE_TEST_SUITE_P(Each, SpoiltTokenizer, ::testing::ValuesIn(kSpoilt),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(TokenizerJson, RefusesWhatIsNotAJsonObject) {
  EXPECT_THAT(refusal(""), HasSubstr("malformed JSON"));
  EXPECT_THAT(refusal("{"), HasSubstr("malformed JSON"));
  EXPECT_THAT(refusal("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(refusal("7"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(refusal("null"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(refusal("{} x"), HasSubstr("malformed JSON"));
  EXPECT_THAT(refusal("{}"), HasSubstr("model is missing"));
  EXPECT_THAT(refusal("{\"a\": \"\xFF\"}"), HasSubstr("malformed JSON"));
  EXPECT_THAT(refusal("{\"a\": \"\\ud800\"}"), HasSubstr("malformed JSON"));
  EXPECT_THAT(refusal("{\"a\": 1, \"a\": 2}"), HasSubstr("duplicate key \"a\""));
  EXPECT_THAT(refusal("{\"model\": {\"vocab\": {}, \"vocab\": {}}}"), HasSubstr("duplicate key \"vocab\""));
  EXPECT_THAT(refusal("{\"model\": {\"merges\": [], \"merges\": []}}"),
              HasSubstr("duplicate key \"merges\""));
}

TEST(TokenizerJson, RefusesDeepNesting) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep = "{\"x\":";
    for (int i = 0; i < 100'000; ++i) deep += open;
    EXPECT_THAT(refusal(deep), HasSubstr("nested deeper than 64"));
  }
  std::string merges = "{\"model\":{\"merges\":";
  merges.append(100'000, '[');
  EXPECT_THAT(refusal(merges), HasSubstr("neither a string nor a pair"));
}

TEST(TokenizerJson, RefusesTheSamePieceTwice) {
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"a":1},"merges":[]}})"),
              HasSubstr("\"a\" has two ids: 0 and 1"));
  EXPECT_THAT(refusal(R"({"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"a":0},"merges":[]}})"),
              HasSubstr("model.vocab holds id 0 twice"));
}

TEST(TokenizerJson, EveryTruncationIsRefused) {
  const std::string whole = testing::tiny_tokenizer_json().dump();
  for (size_t length = 0; length < whole.size(); length += 97)
    EXPECT_THAT(refusal(whole.substr(0, length)), HasSubstr("malformed JSON")) << length;
}

TEST(TokenizerJson, AcceptsMergesAsStringsAndTheModelInAnyOrder) {
  json tokenizer = testing::tiny_tokenizer_json();
  json merges = json::array();
  for (const auto& pair : tokenizer["model"]["merges"])
    merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
  tokenizer["model"]["merges"] = merges;
  // nlohmann::json sorts its keys, so that merges come before vocab.
  const Tokenizer other = Tokenizer::from_json(tokenizer.dump());
  const std::string text = "The river carried 12 boats\n\n\tpast  the mill";
  EXPECT_EQ(other.encode(text), testing::tiny_tokenizer().encode(text));
}

TEST(TokenizerJson, AcceptsTheWaysToSplitAtNewlineRuns) {
  const auto split = [](const char* kind, const char* pattern, const char* behavior) {
    return json{{"type", "Split"}, {"pattern", {{kind, pattern}}}, {"behavior", behavior}, {"invert", false}};
  };
  json tokenizer = testing::tiny_tokenizer_json();
  for (const json& step : {split("Regex", "\\n+", "Isolated"), split("Regex", "(\\n+)", "Isolated"),
                           split("Regex", "(\n+)", "Isolated"), split("Regex", "[^\\n]+|[\\n]+", "Isolated"),
                           split("String", "\n", "Contiguous")}) {
    tokenizer["pre_tokenizer"] = step;
    EXPECT_TRUE(read_tokenizer_json(tokenizer.dump(), "x").split_newlines) << step;
    tokenizer["pre_tokenizer"] = {{"type", "Sequence"},
                                  {"pretokenizers", {split("String", " ", "MergedWithPrevious"), step}}};
    EXPECT_TRUE(read_tokenizer_json(tokenizer.dump(), "x").split_newlines) << step;
  }
  tokenizer["pre_tokenizer"] = split("String", " ", "MergedWithPrevious");
  EXPECT_FALSE(read_tokenizer_json(tokenizer.dump(), "x").split_newlines);
  tokenizer["pre_tokenizer"] = nullptr;
  EXPECT_FALSE(read_tokenizer_json(tokenizer.dump(), "x").split_newlines);
}

}  // namespace
}  // namespace facet::text
