// facet chat: a conversation in the terminal.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "cli/terminal.h"
#include "engine/cached_sequence.h"
#include "text/chat_format.h"
#include "text/response_parser.h"
#include "text/stop_matcher.h"

namespace facet::cli {
namespace {

constexpr std::string_view kHelp =
    "  /help             this list\n"
    "  /new              start a new conversation\n"
    "  /retry            answer the last message again\n"
    "  /system [TEXT]    set the system message and start anew; without TEXT, drop it\n"
    "  /think on|off     let the model think before it answers\n"
    "  /stats on|off     show tokens and speed after each answer\n"
    "  /exit             leave (so does Ctrl-D)\n"
    "A line that ends in \\ goes on in the next one; a line of three quotes \"\"\" begins and ends a longer "
    "text.\n"
    "Ctrl-C stops an answer.\n";

/// Writes an answer as it comes: content to stdout, reasoning to stderr, each in its own style.
class AnswerPrinter {
 public:
  void content(std::string_view text) {
    end_reasoning();
    write(text, stdout);
    content_ends_line_ = text.ends_with('\n');
    any_content_ = true;
  }

  void reasoning(std::string_view text) {
    if (!in_reasoning_) write(fmt::format("{}thinking: ", style_code(Style::kDim, stderr)), stderr);
    in_reasoning_ = true;
    write(text, stderr);
  }

  void note(std::string_view text) {
    end_reasoning();
    write(styled(text, Style::kDim, stderr), stderr);
  }

  void finish() {
    end_reasoning();
    if (!any_content_ || !content_ends_line_) write("\n", stdout);
  }

 private:
  static void write(std::string_view text, std::FILE* stream) {
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
  }

  void end_reasoning() {
    if (!in_reasoning_) return;
    write(fmt::format("{}\n", style_code(Style::kPlain, stderr)), stderr);
    in_reasoning_ = false;
  }

  bool in_reasoning_ = false;
  bool any_content_ = false;
  bool content_ends_line_ = false;
};

/// Turns the tokens of one answer into a message and shows it on the way.
class AnswerReader {
 public:
  AnswerReader(const text::Tokenizer& tokenizer, const text::ChatTokens& tokens, bool in_thought,
               const std::vector<std::string>& stops)
      : parser_(tokenizer, tokens, in_thought), stops_(stops) {}

  /// False when a stop string has gone by.
  bool push(int32_t id) {
    for (const text::ChatEvent& event : parser_.push(id)) handle(event);
    return !stops_.matched().has_value();
  }

  text::Message finish() {
    for (const text::ChatEvent& event : parser_.finish()) handle(event);
    if (!stops_.matched()) show(stops_.flush());
    printer_.finish();
    return std::move(message_);
  }

 private:
  void handle(const text::ChatEvent& event) {
    using Kind = text::ChatEvent::Kind;
    switch (event.kind) {
      case Kind::kContent: show(stops_.push(event.text)); break;
      case Kind::kReasoning:
        printer_.reasoning(event.text);
        message_.reasoning += event.text;
        break;
      // Nothing declares tools here, but a model may still try one: shown, never run.
      case Kind::kToolCallBegin: printer_.note("[tool call: " + event.text + " "); break;
      case Kind::kToolCallArguments: printer_.note(event.text); break;
      case Kind::kToolCallEnd: printer_.note("]"); break;
      case Kind::kEndOfTurn: break;
    }
  }

  void show(std::string_view text) {
    if (text.empty()) return;
    printer_.content(text);
    message_.content += text;
  }

  text::ResponseParser parser_;
  text::StopMatcher stops_;
  AnswerPrinter printer_;
  text::Message message_{text::Role::kModel, "", "", {}, "", "", nullptr};
};

class ChatCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("chat", "Chat with a model in the terminal");
    model_.declare_model(*app);
    app->add_option("--system", system_, "System message: how the model should behave")->type_name("TEXT");
    app->add_flag("--think", thinking_, "Let the model think before it answers");
    app->footer(
        "Examples:\n"
        "  facet chat\n"
        "  facet chat -m google/gemma-4-E2B-it --system \"Answer in one sentence.\"\n"
        "\n"
        "In the chat, /help lists what can be typed. Ctrl-C stops an answer, Ctrl-D ends the chat.");
    app->add_option("-n,--tokens", max_tokens_, "Most tokens an answer; 0: until the context is full")
        ->check(CLI::Range(0, INT32_MAX));
    sampling_.declare(*app);
    model_.declare_backend(*app);
    return app;
  }

  int run() override {
    const LoadedModel loaded = load_model(model_, model_.engine_options());
    engine_ = loaded.engine.get();
    const text::Tokenizer tokenizer = load_tokenizer(engine_->checkpoint());
    // The larger Gemma 4 models, those without per-layer embeddings, expect an empty thought.
    const text::ChatFormat format(tokenizer, {.empty_thought = engine_->spec().ple_dim == 0});
    CachedSequence sequence(*engine_);
    tokenizer_ = &tokenizer;
    format_ = &format;
    sequence_ = &sequence;
    start_anew();

    LineReader reader(default_history_file());
    const InterruptGuard guard;
    if (reader.interactive())
      fmt::print(
          stderr, "{}\n",
          styled("/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves", Style::kDim, stderr));
    while (true) {
      InterruptGuard::reset();
      const InputLine input = read_message(reader);
      if (input.end == InputLine::End::kEndOfFile) break;
      if (input.end == InputLine::End::kInterrupted) {
        fmt::print("\n");
        continue;
      }
      if (input.text.find_first_not_of(" \t\n") == std::string::npos) continue;
      reader.remember(input.text);
      if (input.text.starts_with('/')) {
        if (!run_slash_command(input.text)) break;
        continue;
      }
      conversation_.messages.push_back({text::Role::kUser, input.text, "", {}, "", "", nullptr});
      answer();
    }
    if (reader.interactive()) fmt::print("\n");
    return 0;
  }

 private:
  void start_anew() {
    conversation_.messages.clear();
    conversation_.thinking = thinking_;
    if (!system_.empty())
      conversation_.messages.push_back({text::Role::kSystem, system_, "", {}, "", "", nullptr});
  }

  /// One message: a line, lines continued with a backslash, or a text between two lines of """.
  static InputLine read_message(LineReader& reader) {
    const std::string prompt = style_escape(Style::kPrompt) + "> " + style_escape(Style::kPlain);
    const std::string more = style_escape(Style::kDim) + ". " + style_escape(Style::kPlain);
    InputLine message = reader.read(prompt);
    if (message.end != InputLine::End::kLine) return message;
    const bool quoted = message.text == "\"\"\"";
    if (quoted) message.text.clear();
    for (bool first = true; quoted || message.text.ends_with('\\'); first = false) {
      if (!quoted) message.text.back() = '\n';
      InputLine line = reader.read(more);
      if (line.end == InputLine::End::kInterrupted) return line;
      if (line.end == InputLine::End::kEndOfFile || (quoted && line.text == "\"\"\"")) break;
      if (quoted && !first) message.text += '\n';
      message.text += line.text;
    }
    return message;
  }

  /// A style inside a prompt, between the marks that tell the line editor it takes no room.
  static std::string style_escape(Style style) {
    const std::string_view code = style_code(style, stdout);
    return code.empty() ? "" : fmt::format("\1{}\1", code);
  }

  /// False when the conversation is to end.
  bool run_slash_command(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
    const bool on = argument == "on";
    if (name == "/exit" || name == "/quit") return false;
    if (name == "/new" || name == "/clear") {
      start_anew();
    } else if (name == "/system") {
      system_ = argument;
      start_anew();
    } else if (name == "/retry") {
      retry();
    } else if (name == "/think" || name == "/stats") {
      if (!on && argument != "off") {
        fmt::print(stderr, "{}: expected on or off\n", name);
        return true;
      }
      (name == "/think" ? thinking_ : stats_) = on;
      conversation_.thinking = thinking_;
    } else {
      if (name != "/help") fmt::print(stderr, "unknown command: {}\n", printable(line));
      fmt::print(stderr, "{}", kHelp);
    }
    return true;
  }

  void retry() {
    auto& messages = conversation_.messages;
    while (!messages.empty() && messages.back().role == text::Role::kModel) messages.pop_back();
    if (messages.empty() || messages.back().role != text::Role::kUser) {
      fmt::print(stderr, "there is no message to answer yet\n");
      return;
    }
    answer();
  }

  /// Answers the last message. What cannot be answered is taken back, and the conversation goes on.
  void answer() {
    try {
      const text::ChatPrompt prompt = format_->render(conversation_);
      AnswerReader reader(*tokenizer_, format_->tokens(), prompt.in_thought, sampling_.stop);
      GenerateOptions options;
      options.sampling = sampling_.params(engine_->checkpoint().generation);
      options.max_tokens = max_tokens_;
      options.cancel = &InterruptGuard::requested();
      if (!sampling_.ignore_eos) {
        options.stop_ids = format_->tokens().stop_ids();
        const auto& eos = engine_->spec().eos_ids;
        options.stop_ids.insert(options.stop_ids.end(), eos.begin(), eos.end());
      }
      Progress bar("Reading");
      options.on_prompt = [&](int done, int total) { bar.update(done, total); };
      options.on_token = [&](int32_t id) {
        bar.clear();
        return reader.push(id);
      };
      const GenerateResult result = sequence_->complete(prompt.ids, options);
      bar.clear();
      conversation_.messages.push_back(reader.finish());
      report(result);
    } catch (const Error& error) {
      conversation_.messages.pop_back();
      fmt::print(stderr, "{} {}; the message is taken back (/new starts over)\n",
                 styled("facet: error:", Style::kError, stderr), printable(error.what()));
    }
  }

  void report(const GenerateResult& result) const {
    if (result.stop_reason == StopReason::kCancelled)
      fmt::print(stderr, "{}\n", styled("(stopped)", Style::kDim, stderr));
    if (result.stop_reason == StopReason::kLength)
      fmt::print(stderr, "{}\n",
                 styled("(cut off: the token limit or the context is reached)", Style::kDim, stderr));
    if (!stats_) return;
    const auto rate = [](double tokens, double ms) { return ms > 0 ? 1000 * tokens / ms : 0; };
    const double drawn = static_cast<double>(result.ids.size());
    fmt::print(stderr, "{}\n",
               styled(fmt::format("{} prompt tokens at {:.1f}/s, {} answer tokens at {:.1f}/s",
                                  result.prompt_tokens, rate(result.prompt_tokens, result.prompt_ms),
                                  result.ids.size(), rate(std::max(drawn - 1, 0.0), result.generated_ms)),
                      Style::kDim, stderr));
  }

  ModelOptions model_;
  SamplingOptions sampling_;
  std::string system_;
  bool thinking_ = false;
  bool stats_ = false;
  int max_tokens_ = 0;

  Engine* engine_ = nullptr;
  const text::Tokenizer* tokenizer_ = nullptr;
  const text::ChatFormat* format_ = nullptr;
  CachedSequence* sequence_ = nullptr;
  text::Conversation conversation_;
};

}  // namespace

std::unique_ptr<Command> make_chat_command() {
  return std::make_unique<ChatCommand>();
}

}  // namespace facet::cli
