// facet perplexity: how well a model predicts a text, and how far it is from another.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "engine/perplexity.h"

namespace facet::cli {
namespace {

constexpr int kDefaultContext = 2048;
constexpr int kLogitRows = 64;

class PerplexityCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand(
        "perplexity", "How well a model predicts a text, and how far it is from a reference");
    app->add_option("FILE", file_, "The text, UTF-8")->required();
    model_.declare_model(*app);
    app->add_option("--reference", reference_, "A model to compare with: mean KL divergence, same top token")
        ->type_name("MODEL");
    app->add_flag("--json", json_, "The result as JSON");
    app->footer(
        "Examples:\n"
        "  facet perplexity text.txt -m ./model\n"
        "  facet perplexity text.txt -m ./model-4bit --reference ./model");
    model_.declare_backend(*app);
    app->get_option("--ctx")->description(
        fmt::format("Tokens a window (default: the model's context, at most {})", kDefaultContext));
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    const InterruptGuard guard;
    const MappedFile text{std::filesystem::path(file_)};

    EngineOptions options = model_.engine_options();
    options.logit_rows = kLogitRows;
    options.most_context = kDefaultContext;
    const LoadedModel model = load_model(model_, options);
    options.context = model.engine->context();  // windows of one length for both
    LoadedModel reference;
    if (!reference_.empty()) {
      ModelOptions other = model_;
      other.model = reference_;
      reference = load_model(other, options);
    }
    const text::Tokenizer tokenizer = load_tokenizer(model.engine->checkpoint());
    const std::vector<int32_t> ids =
        tokenizer.encode(text.text(), {.add_bos = false, .parse_special = false});

    Progress bar("Reading");
    PerplexityOptions scoring;
    scoring.prefix = tokenizer.vocabulary().prefix;
    scoring.progress = [&](int64_t done, int64_t total) { bar.update(done, total); };
    scoring.cancel = &InterruptGuard::requested();
    const Perplexity result = score_text(*model.engine, reference.engine.get(), ids, scoring);
    bar.clear();
    // Tokens that begin a window without a prefix are not scored: then no figure for each byte.
    std::optional<double> bits;
    if (result.tokens == static_cast<int64_t>(ids.size()))
      bits = result.bits_per_byte(static_cast<int64_t>(text.text().size()));
    json_ ? print_json(result, bits, options.context) : print_text(result, bits, options.context);
    return 0;
  }

 private:
  static void print_json(const Perplexity& result, std::optional<double> bits, int context) {
    const auto or_null = [](std::optional<double> value) {
      return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
    };
    std::optional<double> reference;
    if (result.reference_nll)
      reference = std::exp(*result.reference_nll / static_cast<double>(result.tokens));
    const nlohmann::ordered_json out = {{"perplexity", result.perplexity()},
                                        {"tokens", result.tokens},
                                        {"mean_nll", result.mean_nll()},
                                        {"bits_per_byte", or_null(bits)},
                                        {"context", context},
                                        {"windows", result.windows},
                                        {"reference_perplexity", or_null(reference)},
                                        {"mean_kl", or_null(result.mean_kl)},
                                        {"same_top", or_null(result.same_top)}};
    fmt::print("{}\n", out.dump());
  }

  static void print_text(const Perplexity& result, std::optional<double> bits, int context) {
    fmt::print("perplexity     {:.4f}\n", result.perplexity());
    fmt::print("mean NLL       {:.5f} nats a token\n", result.mean_nll());
    if (bits) fmt::print("bits per byte  {:.4f}\n", *bits);
    fmt::print("tokens         {} in {} windows of {}\n", result.tokens, result.windows, context);
    if (!result.mean_kl) return;
    fmt::print("against the reference\n");
    fmt::print("  perplexity   {:.4f}\n",
               std::exp(*result.reference_nll / static_cast<double>(result.tokens)));
    fmt::print("  mean KL      {:.6f} nats\n", *result.mean_kl);
    fmt::print("  same top     {:.2f} %\n", 100 * *result.same_top);
  }

  std::string file_;
  ModelOptions model_;
  std::string reference_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_perplexity_command() {
  return std::make_unique<PerplexityCommand>();
}

}  // namespace facet::cli
