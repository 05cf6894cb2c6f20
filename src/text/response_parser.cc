#include "text/response_parser.h"

#include <algorithm>

#include "text/trim.h"

namespace facet::text {
namespace {

constexpr std::string_view kThoughtHead = "thought\n";
constexpr std::string_view kCallHead = "call:";
constexpr size_t kMaxCallHeadBytes = 256;

/// The function's name in the head of a call, "call:NAME"; "" when there is none.
std::string_view call_name(std::string_view head) {
  head = trim(head);
  if (!head.starts_with(kCallHead)) return {};
  const std::string_view name = trim(head.substr(kCallHead.size()));
  const bool broken = name.find_first_of(" \t\r\n\"'{}[](),<>") != std::string_view::npos;
  return broken ? std::string_view{} : name;
}

}  // namespace

ResponseParser::ResponseParser(const Tokenizer& tokenizer, const ChatTokens& tokens, bool in_thought)
    : tokens_(tokens),
      decoder_(tokenizer, {.skip_special = true}),
      state_(in_thought ? State::kThought : State::kContent) {}

std::span<const ChatEvent> ResponseParser::push(int32_t id) {
  event_count_ = 0;
  if (state_ == State::kEnded) return {};
  if (is_delimiter(id)) {
    text(decoder_.flush());
    delimiter(id);
  } else {
    text(decoder_.push(id));
  }
  return {events_.data(), event_count_};
}

std::span<const ChatEvent> ResponseParser::finish() {
  event_count_ = 0;
  if (state_ == State::kEnded) return {};
  text(decoder_.flush());
  leave_state();
  state_ = State::kEnded;
  return {events_.data(), event_count_};
}

bool ResponseParser::is_delimiter(int32_t id) const noexcept {
  if (id < 0) return false;  // kAbsent is no token
  const ChatTokens& t = tokens_;
  for (const int32_t each : {t.eos, t.turn_begin, t.turn_end, t.channel_begin, t.channel_end,
                             t.tool_call_begin, t.tool_call_end, t.tool_response_begin, t.quote})
    if (id == each) return true;
  return false;
}

void ResponseParser::delimiter(int32_t id) {
  if (id == tokens_.quote) {
    quote();
  } else if (id == tokens_.channel_begin) {
    leave_state();
    state_ = State::kThoughtHead;
  } else if (id == tokens_.channel_end) {
    if (state_ != State::kThought && state_ != State::kThoughtHead) return;
    // The newline before the delimiter belongs to the format, as does the head of an empty thought.
    if (held_ == "\n" || held_ == kThoughtHead.substr(0, kThoughtHead.size() - 1)) held_.clear();
    leave_state();
  } else if (id == tokens_.tool_call_begin) {
    leave_state();
    state_ = State::kCallHead;
  } else if (id == tokens_.tool_call_end) {
    if (state_ == State::kCallHead || state_ == State::kCallArguments) leave_state();
  } else {  // the end of the turn, of the text, the start of a tool's result or of another turn
    leave_state();
    state_ = State::kEnded;
    emit(ChatEvent::Kind::kEndOfTurn, {});
  }
}

void ResponseParser::text(std::string_view text) {
  if (text.empty()) return;
  switch (state_) {
    case State::kContent: emit(ChatEvent::Kind::kContent, text); break;
    case State::kThoughtHead: thought_head(text); break;
    case State::kThought: thought(text); break;
    case State::kCallHead: call_head(text); break;
    case State::kCallArguments: call_arguments(text); break;
    case State::kEnded: break;
  }
}

void ResponseParser::thought_head(std::string_view text) {
  held_ += text;
  const size_t compared = std::min(held_.size(), kThoughtHead.size());
  const bool agrees = held_.compare(0, compared, kThoughtHead, 0, compared) == 0;
  if (agrees && held_.size() < kThoughtHead.size()) return;
  const std::string body = held_.substr(agrees ? kThoughtHead.size() : 0);
  held_.clear();
  state_ = State::kThought;
  thought(body);
}

void ResponseParser::thought(std::string_view text) {
  if (text.empty()) return;
  // A newline waits here until it is known not to be the last one.
  if (!held_.empty()) emit(ChatEvent::Kind::kReasoning, held_);
  held_.clear();
  if (text.back() == '\n') {
    held_.assign(1, '\n');
    text.remove_suffix(1);
  }
  if (!text.empty()) emit(ChatEvent::Kind::kReasoning, text);
}

void ResponseParser::call_head(std::string_view text) {
  const size_t brace = text.find('{');
  held_ += text.substr(0, brace);
  if (held_.size() > kMaxCallHeadBytes || (brace != std::string_view::npos && call_name(held_).empty())) {
    if (brace != std::string_view::npos) held_ += text.substr(brace);
    abandon_call();
  } else if (brace != std::string_view::npos) {
    begin_call();
    call_arguments(text.substr(brace));
  }
}

void ResponseParser::begin_call() {
  emit(ChatEvent::Kind::kToolCallBegin, call_name(held_));
  held_.clear();
  arguments_ = NotationReader();
  state_ = State::kCallArguments;
}

/// What looked like a call was none: its text is content.
void ResponseParser::abandon_call() {
  emit(ChatEvent::Kind::kContent, held_);
  held_.clear();
  state_ = State::kContent;
}

void ResponseParser::call_arguments(std::string_view text) {
  json_.clear();
  arguments_.text(text, json_);
  emit(ChatEvent::Kind::kToolCallArguments, json_);
}

void ResponseParser::quote() {
  if (state_ == State::kCallArguments) {
    json_.clear();
    arguments_.quote(json_);
    emit(ChatEvent::Kind::kToolCallArguments, json_);
  } else if (state_ == State::kCallHead) {
    abandon_call();  // no call has a string there
  }
}

/// Ends what the current state has begun and goes back to content.
void ResponseParser::leave_state() {
  if (state_ == State::kCallHead) {
    if (call_name(held_).empty())
      abandon_call();
    else
      begin_call();  // a call that ends before its arguments
  }
  switch (state_) {
    case State::kThoughtHead:
    case State::kThought: emit(ChatEvent::Kind::kReasoning, held_); break;
    case State::kCallArguments: {
      json_.clear();
      const bool well_formed = arguments_.finish(json_);
      emit(ChatEvent::Kind::kToolCallArguments, json_);
      emit(ChatEvent::Kind::kToolCallEnd, {});
      events_[event_count_ - 1].well_formed = well_formed;
      ++calls_;
      break;
    }
    case State::kContent:
    case State::kCallHead:
    case State::kEnded: break;
  }
  held_.clear();
  state_ = State::kContent;
}

void ResponseParser::emit(ChatEvent::Kind kind, std::string_view text) {
  if (text.empty() && kind != ChatEvent::Kind::kToolCallEnd && kind != ChatEvent::Kind::kEndOfTurn) return;
  if (event_count_ == events_.size()) events_.emplace_back();
  ChatEvent& event = events_[event_count_++];
  event.kind = kind;
  event.text.assign(text);
  event.call = calls_;
  event.well_formed = true;
}

}  // namespace facet::text
