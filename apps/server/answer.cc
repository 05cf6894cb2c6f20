#include "server/answer.h"

#include <random>

namespace facet::server {
namespace {

class TextReader final : public AnswerReader {
 public:
  TextReader(const text::Tokenizer& tokenizer, std::vector<std::string> stops)
      : AnswerReader(std::move(stops)), decoder_(tokenizer, {.skip_special = true}) {}

  bool push(int32_t token, AnswerPiece& piece) override {
    piece.content += stops_.push(decoder_.push(token));
    return !stops_.matched();
  }

  void finish(AnswerPiece& piece) override {
    if (stops_.matched()) return;
    piece.content += stops_.push(decoder_.flush());
    if (!stops_.matched()) piece.content += stops_.flush();
  }

 private:
  text::StreamDecoder decoder_;
};

class ChatReader final : public AnswerReader {
 public:
  ChatReader(const text::Tokenizer& tokenizer, const text::ChatTokens& tokens, bool in_thought,
             std::vector<std::string> stops)
      : AnswerReader(std::move(stops)), parser_(tokenizer, tokens, in_thought) {}

  bool push(int32_t token, AnswerPiece& piece) override {
    for (const text::ChatEvent& event : parser_.push(token)) add(event, piece);
    return !stops_.matched();
  }

  void finish(AnswerPiece& piece) override {
    if (stops_.matched()) return;
    for (const text::ChatEvent& event : parser_.finish()) add(event, piece);
    if (!stops_.matched()) piece.content += stops_.flush();
  }

 private:
  void add(const text::ChatEvent& event, AnswerPiece& piece) {
    using Kind = text::ChatEvent::Kind;
    if (stops_.matched()) return;
    switch (event.kind) {
      case Kind::kContent: piece.content += stops_.push(event.text); break;
      case Kind::kReasoning: piece.reasoning += event.text; break;
      case Kind::kToolCallBegin:
        piece.calls.push_back({event.call, random_id("call_"), event.text, {}});
        break;
      case Kind::kToolCallArguments:
        if (piece.calls.empty() || piece.calls.back().index != event.call)
          piece.calls.push_back({event.call, {}, {}, {}});
        piece.calls.back().arguments += event.text;
        break;
      case Kind::kToolCallEnd:
      case Kind::kEndOfTurn: break;
    }
  }

  text::ResponseParser parser_;
};

}  // namespace

std::unique_ptr<AnswerReader> make_text_reader(const text::Tokenizer& tokenizer,
                                               std::vector<std::string> stops) {
  return std::make_unique<TextReader>(tokenizer, std::move(stops));
}

std::unique_ptr<AnswerReader> make_chat_reader(const text::Tokenizer& tokenizer,
                                               const text::ChatTokens& tokens, bool in_thought,
                                               std::vector<std::string> stops) {
  return std::make_unique<ChatReader>(tokenizer, tokens, in_thought, std::move(stops));
}

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::uniform_int_distribution<size_t> letter(0, kLetters.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kLetters[letter(random)];
  return id;
}

}  // namespace facet::server
