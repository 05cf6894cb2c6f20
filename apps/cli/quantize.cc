// facet quantize: a model with smaller weights, in MLX's layout or as GGUF.
#include <fmt/format.h>

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
#include "formats/gguf_model_writer.h"
#include "formats/mlx_writer.h"

namespace facet::cli {
namespace {

namespace fs = std::filesystem;

class QuantizeCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("quantize", "Write a model with smaller weights");
    app->add_option("IN", model_.model, "A directory, a file, or org/name in the Hugging Face cache")
        ->required();
    app->add_option("OUT", out_, "A new directory for MLX's layout, or a new file NAME.gguf")->required();
    const auto bits = [&](const char* name, auto& value, const char* help) {
      return app->add_option(name, value, help)->check(CLI::IsMember({4, 8, 16}));
    };
    mlx_only_ = {bits("--bits", options_.bits, "Bits of a weight; 16: bf16, not quantized"),
                 app->add_option("--group-size", options_.group_size, "Weights that share a scale and a bias")
                     ->check(CLI::IsMember({32, 64, 128})),
                 bits("--ple-bits", options_.ple_bits, "Bits of the per-layer table, projections and gates"),
                 bits("--head-bits", head_bits_, "Bits of the token embedding, the head (default: as --bits)")
                     ->default_str(""),
                 app->add_option("--method", method_, "How scales are chosen: MLX's rule, or a search")
                     ->check(CLI::IsMember({"rtn", "search"})),
                 app->add_option("--calibration", calibration_,
                                 "A text whose activations say which errors matter to the search")
                     ->type_name("FILE")};
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
        "  facet quantize ./model ./model-4bit --method search --calibration text.txt\n"
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
    if (!calibration_.empty() && method_ != "search")
      throw Error(ErrorCode::kUsage, "--calibration goes with --method search");
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
    if (!calibration_.empty()) options_.calibration = calibrate_on_text();
    write_mlx(model, out_, options_);
  }

  [[nodiscard]] Calibration calibrate_on_text() const {
    const MappedFile text{fs::path(calibration_)};
    Checkpoint model = open_checkpoint(model_.model);
    const text::Tokenizer tokenizer = load_tokenizer(model);
    const std::vector<int32_t> ids =
        tokenizer.encode(text.text(), {.add_bos = false, .parse_special = false});
    Progress bar("Calibrating");
    CalibrationOptions options;
    options.prefix = tokenizer.vocabulary().prefix;
    options.threads = model_.threads;
    options.progress = [&](int64_t done, int64_t total) { bar.update(done, total); };
    options.cancel = &InterruptGuard::requested();
    return calibrate(std::move(model), ids, options);
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
  std::string type_ = "q8_0";
  bool json_ = false;
  std::vector<const CLI::Option*> mlx_only_;
  const CLI::Option* type_option_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_quantize_command() {
  return std::make_unique<QuantizeCommand>();
}

}  // namespace facet::cli
