// facet quantize: a model with smaller weights, in MLX's layout or as GGUF.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_directory.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "engine/calibrate.h"
#include "engine/self_text.h"
#include "formats/gguf_model_writer.h"
#include "formats/mlx_writer.h"
#include "text/chat_tokens.h"

namespace facet::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kMostOwnTokens = 1 << 16;

class QuantizeCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("quantize", "Write a model with smaller weights");
    app_ = app;
    app->add_option("IN", model_.model, "A directory, a file, or org/name in the Hugging Face cache")
        ->required();
    app->add_option("OUT", out_, "A new directory for MLX's layout, or a new file NAME.gguf")->required();
    const auto bits = [&](const char* name, auto& value, const char* help) {
      return app->add_option(name, value, help)->check(CLI::IsMember({4, 8, 16}));
    };
    mlx_only_ = {
        bits("--bits", options_.bits, "Bits of a weight; 16: bf16, not quantized"),
        app->add_option("--group-size", options_.group_size, "Weights that share a scale and a bias")
            ->check(CLI::IsMember({32, 64, 128})),
        bits("--ple-bits", options_.ple_bits, "Bits of the per-layer table, projections and gates"),
        bits("--head-bits", head_bits_, "Bits of the token embedding, the head (default: as --bits)")
            ->default_str(""),
        app->add_option("--method", method_, "How scales are chosen: MLX's rule, or a search")
            ->check(CLI::IsMember({"rtn", "search"})),
        app->add_option("--calibration", calibration_,
                        "A text whose activations say which errors matter to the search (default: what "
                        "the model writes itself)")
            ->type_name("FILE"),
        app->add_option("--own-text", own_tokens_,
                        "Without a calibration text: tokens that the model writes for it; 0: none")
            ->check(CLI::Range(0, kMostOwnTokens))};
    type_option_ = app->add_option("--type", type_, "Weights of a GGUF file")
                       ->check(CLI::IsMember({"f16", "q8_0", "q4_0"}));
    app->add_option("--threads", model_.threads, "CPU threads (default: one a core that the process may use)")
        ->envname("FACET_THREADS")
        ->default_str("")
        ->check(CLI::Range(0, 1024));
    app->add_flag("--json", json_, "The result as JSON");
    app->footer(
        "Examples:\n"
        "  facet quantize ./model ./model-4bit                    MLX's layout, 4 bits\n"
        "  facet quantize ./model ./model-4bit --method search\n"
        "  facet quantize ./model model.gguf --type q4_0          a file that llama.cpp loads");
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    const bool gguf = fs::path(out_).extension() == ".gguf";
    check_options(gguf);
    const InterruptGuard guard;
    const auto start = std::chrono::steady_clock::now();
    const Checkpoint model = open_model(model_.model);
    Progress bar("Writing");
    const WriteProgress progress = [&](int64_t done, int64_t total) {
      if (InterruptGuard::requested()) throw Error(ErrorCode::kInterrupted, "interrupted");
      bar.update(done, total);
    };
    gguf ? write_gguf(model, out_, {file_type(), model_.threads, progress})
         : write_mlx_directory(model, progress);
    bar.clear();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report(model.bytes, open_checkpoint(out_), seconds);
    return 0;
  }

 private:
  void check_options(bool gguf) const {
    if (gguf) {
      for (const CLI::Option* option : mlx_only_)
        if (option->count() > 0)
          throw Error(ErrorCode::kUsage,
                      fmt::format("{} is for MLX's layout; a GGUF file takes --type", option->get_name()));
    } else if (type_option_->count() > 0) {
      throw Error(ErrorCode::kUsage, "--type is for GGUF: expected OUT to end in .gguf");
    }
    for (const char* name : {"--calibration", "--own-text"})
      if (app_->count(name) > 0 && method_ != "search")
        throw Error(ErrorCode::kUsage, fmt::format("{} goes with --method search", name));
    require_absent(out_);  // before the work
  }

  [[nodiscard]] GgufFileType file_type() const {
    if (type_ == "f16") return GgufFileType::kF16;
    return type_ == "q4_0" ? GgufFileType::kQ4_0 : GgufFileType::kQ8_0;
  }

  void write_mlx_directory(const Checkpoint& model, const WriteProgress& progress) {
    options_.head_bits = head_bits_ > 0 ? head_bits_ : options_.bits;
    options_.method = method_ == "search" ? AffineMethod::kSearch : AffineMethod::kNearest;
    options_.threads = model_.threads;
    options_.progress = progress;
    if (options_.method == AffineMethod::kSearch) {
      check_mlx_holds(model);  // before the work
      if (!calibration_.empty())
        options_.calibration = calibrate_on_text(load_tokenizer(model));
      else if (own_tokens_ > 0 && model.tokenizer_file)
        options_.calibration = calibrate_on_own_text(load_tokenizer(model));
    }
    write_mlx(model, out_, options_);
  }

  [[nodiscard]] Calibration calibrate_on_text(const text::Tokenizer& tokenizer) const {
    const MappedFile text{fs::path(calibration_)};
    return calibrate_on(tokenizer.encode(text.text(), {.add_bos = false, .parse_special = false}),
                        tokenizer.vocabulary().prefix, CalibrationOptions().context);
  }

  /// The model is run on what it would write: plain texts and, where it knows turns, what users ask it and
  /// what it answers, both of its own invention.
  [[nodiscard]] Calibration calibrate_on_own_text(const text::Tokenizer& tokenizer) const {
    const text::Vocabulary& vocabulary = tokenizer.vocabulary();
    SelfTextOptions options;
    options.prefix = vocabulary.prefix;
    if (options.prefix.empty()) return {};  // nothing to begin with
    options.starts = {{}};
    if (const auto chat = text::find_chat_tokens(tokenizer)) {
      std::vector<int32_t> user = {chat->turn_begin};
      const auto role = tokenizer.encode("user\n", {.add_bos = false, .parse_special = false});
      user.insert(user.end(), role.begin(), role.end());
      options.starts.push_back(std::move(user));
    }
    if (vocabulary.eos) options.never.push_back(*vocabulary.eos);
    options.texts = std::clamp(own_tokens_ / options.length, 1, options.texts);
    options.length = own_tokens_ / options.texts;
    options.threads = model_.threads;
    Progress bar("Writing a text");
    options.progress = [&](int64_t done, int64_t total) { bar.update(done, total); };
    options.cancel = &InterruptGuard::requested();
    const std::vector<int32_t> ids = write_own_texts(open_checkpoint(model_.model), options);
    bar.clear();
    const auto prefix = static_cast<int>(options.prefix.size());
    return calibrate_on(ids, options.prefix, prefix + static_cast<int>(ids.size()) / options.texts);
  }

  [[nodiscard]] Calibration calibrate_on(std::span<const int32_t> ids, const std::vector<int32_t>& prefix,
                                         int context) const {
    Progress bar("Calibrating");
    CalibrationOptions options;
    options.prefix = prefix;
    options.threads = model_.threads;
    options.context = context;
    options.progress = [&](int64_t done, int64_t total) { bar.update(done, total); };
    options.cancel = &InterruptGuard::requested();
    return calibrate(open_checkpoint(model_.model), ids, options);
  }

  void report(uint64_t before, const Checkpoint& written, double seconds) const {
    if (json_) {
      const nlohmann::ordered_json result = {{"out", out_},
                                             {"format", written.format},
                                             {"bytes_in", before},
                                             {"bytes_out", written.bytes},
                                             {"seconds", seconds}};
      fmt::print("{}\n", result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      fmt::print("{}: {}, {:.1f} MB (from {:.1f} MB) in {:.1f} s\n", printable(out_), written.format,
                 static_cast<double>(written.bytes) / 1e6, static_cast<double>(before) / 1e6, seconds);
    }
  }

  ModelOptions model_;
  std::string out_;
  MlxWriteOptions options_;
  int head_bits_ = 0;
  std::string method_ = "rtn";
  std::string calibration_;
  int own_tokens_ = 8192;
  std::string type_ = "q8_0";
  bool json_ = false;
  std::vector<const CLI::Option*> mlx_only_;
  const CLI::Option* type_option_ = nullptr;
  const CLI::App* app_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_quantize_command() {
  return std::make_unique<QuantizeCommand>();
}

}  // namespace facet::cli
