// facet tokenize: text to ids and back.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "formats/json.h"
#include "text/tokenizer.h"

namespace facet::cli {
namespace {

constexpr size_t kMaxLineBytes = size_t{16} << 20;

class TokenizeCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
    app->add_option("TEXT", text_, "The text; - or nothing reads it from stdin");
    app->add_option("-m,--model", model_, "A model, or a tokenizer.json")
        ->envname("FACET_MODEL")
        ->type_name("MODEL");
    app->add_flag("--no-bos", no_bos_, "Do not put <bos> first");
    app->add_option("--ids", ids_, "Decode these ids instead, as 2,3,4")
        ->delimiter(',')
        ->type_name("IDS")
        ->default_str("");
    app->add_flag("--jsonl", jsonl_, "Read {\"text\"} lines on stdin, write {\"ids\"} lines");
    app->add_flag("--json", json_, "{\"ids\", \"tokens\"} instead of a table");
    app->footer(
        "Examples:\n"
        "  facet tokenize \"Once upon a time\"\n"
        "  facet tokenize --ids 2,3,4 -m ./tokenizer.json");
    return app;
  }

  [[nodiscard]] bool json() const override { return json_ || jsonl_; }

  int run() override {
    const text::Tokenizer tokenizer = open_tokenizer();
    if (!ids_.empty()) return decode(tokenizer);
    if (jsonl_) return encode_lines(tokenizer);
    std::string input;
    if (!text_ || *text_ == "-") {
      input.assign(std::istreambuf_iterator<char>(std::cin), {});
    } else {
      input = *text_;
    }
    print_tokens(tokenizer, tokenizer.encode(input, options()));
    return 0;
  }

 private:
  [[nodiscard]] text::EncodeOptions options() const {
    text::EncodeOptions options;
    options.add_bos = !no_bos_;
    return options;
  }

  /// A file that is a tokenizer.json, or whatever tokenizer the model has.
  [[nodiscard]] text::Tokenizer open_tokenizer() const {
    if (std::filesystem::path(model_).extension() == ".json") return text::Tokenizer::load(model_);
    return load_tokenizer(open_model(model_));
  }

  int decode(const text::Tokenizer& tokenizer) const {
    for (const int32_t id : ids_)
      if (!tokenizer.contains(id))
        throw bad_input(fmt::format("token id {}: expected 0 to {}", id, tokenizer.vocab_size() - 1));
    if (json_) {
      print_tokens(tokenizer, ids_);
    } else {
      fmt::print("{}\n", tokenizer.decode(ids_));
    }
    return 0;
  }

  int encode_lines(const text::Tokenizer& tokenizer) const {
    std::string line;
    for (size_t number = 1; std::getline(std::cin, line); ++number) {
      if (line.empty()) continue;
      JsonLimits limits;
      limits.max_bytes = kMaxLineBytes;
      const Json json = parse_json(line, fmt::format("stdin line {}", number), limits);
      const JsonView view(json, fmt::format("stdin line {}", number));
      const nlohmann::json out = {{"ids", tokenizer.encode(view.at("text").string(), options())}};
      fmt::print("{}\n", out.dump());
    }
    return 0;
  }

  void print_tokens(const text::Tokenizer& tokenizer, const std::vector<int32_t>& ids) const {
    if (json_) {
      nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
      for (const int32_t id : ids) tokens.push_back(tokenizer.token(id));
      const nlohmann::ordered_json out = {{"ids", ids}, {"tokens", tokens}};
      fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      return;
    }
    for (const int32_t id : ids) fmt::print("{:>8}  {}\n", id, printable(tokenizer.token(id)));
  }

  std::optional<std::string> text_;
  std::string model_;
  bool no_bos_ = false;
  std::vector<int32_t> ids_;
  bool jsonl_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() {
  return std::make_unique<TokenizeCommand>();
}

}  // namespace facet::cli
