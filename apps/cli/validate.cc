// facet validate: every activation of a trace, compared.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "engine/trace.h"
#include "engine/validate.h"

namespace facet::cli {
namespace {

class ValidateCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand(
        "validate", "Run a trace's tokens and compare every activation with the reference's");
    app->add_option("MODEL", model_.model, "The model the trace was made of")->required();
    app->add_option("TRACE", trace_, "A safetensors file of activations (Facet's or lalamo's names)")
        ->required();
    app->add_option("--chunk", chunk_, "Most tokens a step")->check(CLI::Range(1, 1 << 16));
    app->add_flag("--json", json_, "The result as JSON");
    app->footer(
        "Example:\n"
        "  facet validate ./model trace.safetensors --backend reference\n"
        "\n"
        "tools/generate_traces.py makes a trace of a checkpoint with transformers.");
    model_.declare_backend(*app);
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    const Trace trace = read_trace(std::filesystem::path(trace_));
    EngineOptions options = model_.engine_options();
    options.context = std::max(options.context, static_cast<int>(trace.input_ids.size()));
    options.chunk = chunk_;
    const LoadedModel loaded = load_model(model_, options);
    const ValidationResult result = validate_trace(*loaded.engine, trace);
    json_ ? print_json(result) : print_text(result);
    return result.pass ? 0 : static_cast<int>(ErrorCode::kFailed);
  }

 private:
  static void print_json(const ValidationResult& result) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const TensorResult& t : result.tensors)
      tensors.push_back({{"name", t.name}, {"rel_rms", t.rel_rms}, {"max_abs", t.max_abs}, {"pass", t.pass}});
    const nlohmann::ordered_json out = {{"pass", result.pass},
                                        {"backend", result.backend},
                                        {"tensors", tensors},
                                        {"missing", result.missing},
                                        {"not_compared", result.not_compared},
                                        {"token_mismatches", result.token_mismatches},
                                        {"fast_prefill_match", result.fast_prefill_match},
                                        {"free_run_logits_rel_rms", result.free_logits_rel_rms}};
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  static void print_text(const ValidationResult& result) {
    const auto verdict = [](bool pass) {
      return pass ? std::string("ok  ") : styled("FAIL", Style::kError, stdout);
    };
    fmt::print("      relative RMS  max |error|  tolerance  tensor\n");
    for (const TensorResult& t : result.tensors)
      fmt::print("{}  {:12.3e}  {:11.3e}  {:9.1e}  {}\n", verdict(t.pass), t.rel_rms, t.max_abs, t.tolerance,
                 printable(t.name));
    for (const std::string& name : result.missing)
      fmt::print("{}  missing: {}\n", verdict(false), printable(name));
    for (const std::string& name : result.not_compared)
      fmt::print("not compared (inside a fused kernel): {}\n", printable(name));
    fmt::print("each layer above started from the reference's input; a free run's logits differ by {:.2e}\n",
               result.free_logits_rel_rms);
    fmt::print("{}  token mismatches: {}\n", verdict(result.token_mismatches == 0), result.token_mismatches);
    fmt::print("{}  shortened prefill gives the full path's logits\n", verdict(result.fast_prefill_match));
    const auto worst = std::max_element(result.tensors.begin(), result.tensors.end(),
                                        [](const auto& a, const auto& b) { return a.rel_rms < b.rel_rms; });
    fmt::print("{}: {} tensors on the {} backend{}\n", result.pass ? "passed" : "FAILED",
               result.tensors.size(), result.backend,
               worst == result.tensors.end()
                   ? ""
                   : fmt::format(", worst {:.2e} in {}", worst->rel_rms, worst->name));
  }

  ModelOptions model_;
  std::string trace_;
  int chunk_ = 512;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_validate_command() {
  return std::make_unique<ValidateCommand>();
}

}  // namespace facet::cli
