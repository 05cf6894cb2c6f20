// facet run: completes a prompt.
#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "cli/terminal.h"
#include "engine/generate.h"
#include "text/stop_matcher.h"
#include "text/stream_decoder.h"

namespace facet::cli {
namespace {

constexpr int kDefaultTokens = 256;

class RunCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("run", "Complete a prompt");
    app->add_option("PROMPT", prompt_, "The text to go on from; - reads it from stdin");
    model_.declare_model(*app);
    app->add_option("-n,--tokens", max_tokens_, "Most tokens to generate; 0: until the context is full")
        ->check(CLI::Range(0, INT32_MAX));
    app->add_option("--ids", ids_, "Token ids instead of text, as 2,3,4; needs no tokenizer")
        ->delimiter(',')
        ->type_name("IDS")
        ->default_str("");
    app->add_flag("--json", json_, "One JSON object instead of streamed text");
    app->footer(
        "Examples:\n"
        "  facet run \"Once upon a time\"\n"
        "  facet run -m ./model -n 64 --json - < prompt.txt\n"
        "  facet run --ids 2,3,4 --greedy -n 16 -m ./model");
    sampling_.declare(*app);
    model_.declare_backend(*app);
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    if (prompt_.has_value() == !ids_.empty())
      throw Error(ErrorCode::kUsage, prompt_ ? "PROMPT and --ids exclude each other"
                                             : "a prompt is missing: give PROMPT, - for stdin, or --ids");
    const InterruptGuard guard;
    const LoadedModel loaded = load_model(model_, model_.engine_options());
    Engine& engine = *loaded.engine;
    std::optional<text::Tokenizer> tokenizer;
    if (prompt_ || engine.checkpoint().tokenizer_file) tokenizer = load_tokenizer(engine.checkpoint());
    const std::vector<int32_t> prompt = prompt_ids(tokenizer);

    std::string text;
    std::optional<text::StreamDecoder> decoder;
    if (tokenizer) decoder.emplace(*tokenizer);
    text::StopMatcher stops(sampling_.stop);
    const auto emit = [&](std::string_view piece) {
      text += piece;
      if (json_) return;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
    GenerateOptions options;
    options.sampling = sampling_.params(engine.checkpoint().generation);
    options.max_tokens = max_tokens_;
    if (!sampling_.ignore_eos) options.stop_ids = engine.spec().eos_ids;
    options.cancel = &InterruptGuard::requested();
    Progress bar("Reading the prompt");
    options.on_prompt = [&](int done, int total) { bar.update(done, total); };
    options.on_token = [&](int32_t id) {
      bar.clear();
      if (!decoder) {
        if (!json_) fmt::print("{} ", id);
        return std::ferror(stdout) == 0;
      }
      emit(stops.push(decoder->push(id)));
      return !stops.matched().has_value() && std::ferror(stdout) == 0;  // nobody reads on: no use in going on
    };
    const GenerateResult result = generate(engine, engine.cache().open(), prompt, options);
    bar.clear();
    if (decoder && !stops.matched()) {
      emit(stops.push(decoder->flush()));
      emit(stops.flush());
    }
    if (json_) {
      print_json(prompt, text, result, loaded.load_ms);
    } else {
      fmt::print("\n");
    }
    return result.stop_reason == StopReason::kCancelled ? static_cast<int>(ErrorCode::kInterrupted) : 0;
  }

 private:
  [[nodiscard]] std::vector<int32_t> prompt_ids(const std::optional<text::Tokenizer>& tokenizer) const {
    if (!prompt_) return ids_;
    if (*prompt_ != "-") return tokenizer->encode(*prompt_);
    const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
    return tokenizer->encode(text);
  }

  static void print_json(const std::vector<int32_t>& prompt, const std::string& text,
                         const GenerateResult& result, double load_ms) {
    const auto rate = [](double tokens, double ms) { return ms > 0 ? 1000 * tokens / ms : 0; };
    // The first token is drawn from the prompt's logits: its time is the prompt's.
    const double steps = result.ids.empty() ? 0 : static_cast<double>(result.ids.size()) - 1;
    const nlohmann::ordered_json out = {{"text", text},
                                        {"prompt_ids", prompt},
                                        {"ids", result.ids},
                                        {"stop_reason", stop_reason_name(result.stop_reason)},
                                        {"timings",
                                         {{"prompt_tokens", result.prompt_tokens},
                                          {"prompt_ms", result.prompt_ms},
                                          {"prompt_per_s", rate(result.prompt_tokens, result.prompt_ms)},
                                          {"generated_tokens", result.ids.size()},
                                          {"generated_ms", result.generated_ms},
                                          {"generated_per_s", rate(steps, result.generated_ms)},
                                          {"load_ms", load_ms}}}};
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  std::optional<std::string> prompt_;
  ModelOptions model_;
  SamplingOptions sampling_;
  int max_tokens_ = kDefaultTokens;
  std::vector<int32_t> ids_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_run_command() {
  return std::make_unique<RunCommand>();
}

}  // namespace facet::cli
