// facet bench: how fast a model runs here, and how far that is from what the machine can do.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/machine_limits.h"
#include "backend/cpu/processor.h"
#include "base/build_id.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/terminal.h"
#include "engine/benchmark.h"
#include "engine/synthetic.h"

namespace facet::cli {
namespace {

using OrderedJson = nlohmann::ordered_json;

/// What the machine can do, measured around the tests: these machines are shared, so the bound moves.
struct Bounds {
  double read_gbs = 0;
  double int8_gops = 0;
  double f32_gflops = 0;
};

class BenchCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app =
        program.add_subcommand("bench", "Measure prompt and decode speed against the machine's bounds");
    model_.declare_model(*app);
    app->add_option("--synthetic", synthetic_, "Full-size random weights instead of a model")
        ->check(CLI::IsMember({"e2b", "e4b"}));
    app->add_option("--quant", quant_, "Weights of the synthetic model")
        ->check(CLI::IsMember({"4", "8", "bf16"}));
    const auto list = [&](const char* names, std::vector<int>& values, int low, const char* help) {
      app->add_option(names, values, help)
          ->delimiter(',')
          ->check(CLI::Range(low, 1 << 20))
          ->type_name("N,...");
    };
    list("-p,--prompt", prompts_, 0, "Prompt tokens of the pp tests; 0: none");
    list("-n,--tokens", decodes_, 0, "Tokens of the tg tests; 0: none");
    list("-d,--depth", depths_, 0, "Tokens in the cache before each test");
    list("-b,--batch", batches_, 1, "Sequences decoded together in the tg tests");
    app->add_option("-r,--repeat", repetitions_, "Repetitions")->check(CLI::Range(1, 1000));
    app->add_option("--chunk", chunk_, "Most tokens of one step; 0: the backend's choice")
        ->check(CLI::Range(0, 8192));
    app->add_flag("--profile", profile_wanted_,
                  "Time by operation, or by kernel on a GPU (needs CUPTI), as well");
    app->footer(
        "Examples:\n"
        "  facet bench -m ./model\n"
        "  facet bench --synthetic e2b --quant 4 -p 512 -n 128 -b 1,4    no model needed; 2 GB of memory\n"
        "\n"
        "ppN reads a prompt of N tokens, tgN generates N; @dD after D tokens.");
    auto* json = app->add_flag("--json", json_, "One JSON object");
    auto* csv = app->add_flag("--csv", csv_, "Comma-separated values");
    auto* markdown = app->add_flag("--md", markdown_, "A Markdown table");
    csv->excludes(json);
    markdown->excludes(json)->excludes(csv);
    model_.declare_backend(*app);
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    if (synthetic_ && !model_.model.empty())
      throw Error(ErrorCode::kUsage, "--model and --synthetic exclude each other");
    const std::vector<BenchmarkTest> tests = list_tests();
    EngineOptions options = model_.engine_options();
    options.chunk = chunk_;
    options.sequences = *std::max_element(batches_.begin(), batches_.end());
    options.context = std::max(options.context, needed_context(tests));
    if (profile_wanted_) options.profile = &profile_;
    const auto start = std::chrono::steady_clock::now();
    Engine engine(synthetic_ ? make_synthetic(*synthetic_, quant()) : open_model(model_.model), options);
    load_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    loaded_rss_ = peak_resident_bytes();

    // The CPU's bounds come from its backend's threads and kernels, a device's from itself.
    std::optional<CpuBackend> meter;
    std::optional<cpu::ReadBandwidth> bandwidth;
    if (engine.backend().name() == "cpu") {
      meter.emplace(CpuOptions{model_.threads, model_.isa});
      bandwidth.emplace(meter->kernels(), meter->pool());
      bounds_.int8_gops = cpu::peak_rate(meter->kernels().int8_peak, meter->pool());
      bounds_.f32_gflops = cpu::peak_rate(meter->kernels().f32_peak, meter->pool());
      isa_ = meter->isa();
      threads_ = meter->threads();
    }
    backend_ = engine.backend().name();
    device_ = engine.backend().device_name();
    const auto read_gbs = [&] {
      return bandwidth ? bandwidth->measure(kPasses) : engine.backend().read_bandwidth();
    };
    Progress bar("Measuring");
    for (size_t i = 0; i < tests.size(); ++i) {
      bar.update(static_cast<int64_t>(i), static_cast<int64_t>(tests.size()));
      const double before = read_gbs();
      Line line{run_benchmark(engine, tests[i], repetitions_, &profile_), 0, profile_};
      line.read_gbs = std::max(before, read_gbs());
      bounds_.read_gbs = std::max(bounds_.read_gbs, line.read_gbs);
      lines_.push_back(std::move(line));
    }
    bar.clear();
    print(engine);
    return 0;
  }

 private:
  static constexpr int kPasses = 8;  // over the bandwidth's memory, before and after each test

  struct Line {
    BenchmarkResult result;
    double read_gbs = 0;  // measured around it
    Profile profile;

    [[nodiscard]] double steps_per_s() const {
      return result.tokens_per_s.mean() /
             (result.test.kind == BenchmarkTest::Kind::kDecode ? result.test.batch : 1);
    }
    /// Of the bandwidth: 0 when there is none to compare with or the test is not bound by it.
    [[nodiscard]] double bandwidth_fraction() const {
      return read_gbs > 0 ? result.bytes_per_step * steps_per_s() / (read_gbs * 1e9) : 0;
    }
    [[nodiscard]] double gops() const { return result.ops_per_token * result.tokens_per_s.mean() / 1e9; }
  };

  [[nodiscard]] SyntheticQuant quant() const {
    return quant_ == "4"   ? SyntheticQuant::k4Bit
           : quant_ == "8" ? SyntheticQuant::k8Bit
                           : SyntheticQuant::kBF16;
  }

  [[nodiscard]] std::vector<BenchmarkTest> list_tests() const {
    std::vector<BenchmarkTest> tests;
    for (const int depth : depths_) {
      for (const int tokens : prompts_)
        if (tokens > 0) tests.push_back({BenchmarkTest::Kind::kPrompt, tokens, depth, 1});
      for (const int tokens : decodes_)
        for (const int batch : batches_)
          if (tokens > 0) tests.push_back({BenchmarkTest::Kind::kDecode, tokens, depth, batch});
    }
    if (tests.empty()) throw Error(ErrorCode::kUsage, "nothing to measure: -p and -n are both 0");
    return tests;
  }

  static int needed_context(const std::vector<BenchmarkTest>& tests) {
    int most = 0;
    for (const BenchmarkTest& t : tests) most = std::max(most, t.depth + t.tokens);
    return most;
  }

  void print(const Engine& engine) const {
    if (json_) return print_json(engine);
    if (csv_) return print_csv();
    print_table(engine);
  }

  /// Null where it was not.
  static OrderedJson measured(double value) { return value > 0 ? OrderedJson(value) : OrderedJson(nullptr); }

  [[nodiscard]] std::string model_name(const Engine& engine) const {
    if (synthetic_) return fmt::format("synthetic {}", *synthetic_);
    return model_.model.empty() ? "demo model" : engine.checkpoint().format;
  }

  void print_json(const Engine& engine) const {
    OrderedJson out = {{"build", build_id()},
                       {"cpu", cpu::processor_name()},
                       {"gpu", device_.empty() ? OrderedJson(nullptr) : OrderedJson(device_)},
                       {"backend", backend_},
                       {"isa", isa_},
                       {"threads", threads_},
                       {"model", synthetic_ ? *synthetic_ : model_.model},
                       {"synthetic", synthetic_.has_value()},
                       {"quant", engine.checkpoint().format},
                       {"bandwidth_gbs", measured(bounds_.read_gbs)},
                       {"int8_gops", bounds_.int8_gops},
                       {"f32_gflops", bounds_.f32_gflops},
                       {"load_ms", load_ms_},
                       {"peak_rss_loaded_bytes", loaded_rss_},
                       {"results", OrderedJson::array()}};
    for (const Line& line : lines_) {
      const BenchmarkResult& r = line.result;
      OrderedJson entry = {{"test", r.test.name()},
                           {"tokens_per_s",
                            {{"mean", r.tokens_per_s.mean()},
                             {"stddev", r.tokens_per_s.stddev()},
                             {"samples", r.tokens_per_s.values}}},
                           {"batch", r.test.batch},
                           {"bytes_per_token", r.bytes_per_token},
                           {"bandwidth_gbs", measured(line.read_gbs)},
                           {"bandwidth_fraction", line.read_gbs > 0 ? OrderedJson(line.bandwidth_fraction())
                                                                    : OrderedJson(nullptr)},
                           {"ops_per_token", r.ops_per_token},
                           {"gops", line.gops()}};
      if (profile_wanted_) {
        entry["profile"] = OrderedJson::object();
        for (const auto& [name, time] : line.profile)
          if (time.calls > 0) entry["profile"][name] = {{"calls", time.calls}, {"seconds", time.seconds}};
      }
      out["results"].push_back(std::move(entry));
    }
    fmt::print("{}\n", out.dump());
  }

  void print_csv() const {
    fmt::print("test,tokens_per_s,stddev,bytes_per_token,bandwidth_gbs,bandwidth_fraction,gops\n");
    for (const Line& line : lines_)
      fmt::print("{},{:.3f},{:.3f},{:.0f},{:.3f},{:.4f},{:.2f}\n", line.result.test.name(),
                 line.result.tokens_per_s.mean(), line.result.tokens_per_s.stddev(),
                 line.result.bytes_per_token, line.read_gbs, line.bandwidth_fraction(), line.gops());
  }

  void print_table(const Engine& engine) const {
    fmt::print("facet {}  {}, {}\n", build_id(), model_name(engine), engine.checkpoint().format);
    if (threads_ > 0)
      fmt::print("{}, {} thread{}, {}: read {:.1f} GB/s, int8 {:.0f} GOP/s, f32 {:.0f} GFLOP/s\n",
                 cpu::processor_name(), threads_, threads_ == 1 ? "" : "s", isa_, bounds_.read_gbs,
                 bounds_.int8_gops, bounds_.f32_gflops);
    else if (!device_.empty())
      fmt::print("{}: {}\n", device_,
                 bounds_.read_gbs > 0 ? fmt::format("read {:.1f} GB/s", bounds_.read_gbs)
                                      : "bandwidth not measured, too little of its memory is free");
    fmt::print("load {:.0f} ms, at most {:.2f} GB resident by then\n\n", load_ms_,
               static_cast<double>(loaded_rss_) / 1e9);
    fmt::print(
        "| test | tokens/s | ± | MB/token | of the bandwidth | GOP/s |\n|---|---:|---:|---:|---:|---:|\n");
    for (const Line& line : lines_) {
      const bool decode = line.result.test.kind == BenchmarkTest::Kind::kDecode;
      fmt::print("| {} | {:.2f} | {:.2f} | {:.1f} | {} | {:.1f} |\n", line.result.test.name(),
                 line.result.tokens_per_s.mean(), line.result.tokens_per_s.stddev(),
                 line.result.bytes_per_token / 1e6,
                 decode && line.read_gbs > 0
                     ? fmt::format("{:.1f} % of {:.1f} GB/s", 100 * line.bandwidth_fraction(), line.read_gbs)
                     : "",
                 line.gops());
    }
    if (!profile_wanted_) return;
    for (const Line& line : lines_) print_profile(line);
    fmt::print(
        "\nAll repetitions, {}. Timing slows a run: compare shares, and take tokens/s from "
        "one without --profile.\n",
        device_.empty() ? "by operation" : "by kernel, on the device");
  }

  /// Where the time of all repetitions went.
  static void print_profile(const Line& line) {
    double total = 0;
    std::vector<std::pair<std::string, OperationTime>> rows;
    for (const auto& [name, time] : line.profile) {
      if (time.calls == 0) continue;
      total += time.seconds;
      rows.emplace_back(name, time);
    }
    std::sort(rows.begin(), rows.end(),
              [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    fmt::print("\n| {} | share | calls | µs a call |\n|---|---:|---:|---:|\n", line.result.test.name());
    for (const auto& [name, time] : rows)
      fmt::print("| {} | {:.1f} % | {} | {:.1f} |\n", name, 100 * time.seconds / total, time.calls,
                 1e6 * time.seconds / static_cast<double>(time.calls));
  }

  ModelOptions model_;
  std::optional<std::string> synthetic_;
  std::string quant_ = "4";
  std::vector<int> prompts_ = {512};
  std::vector<int> decodes_ = {128};
  std::vector<int> depths_ = {0};
  std::vector<int> batches_ = {1};
  int repetitions_ = 5;
  int chunk_ = 0;
  bool profile_wanted_ = false;
  bool json_ = false;
  bool csv_ = false;
  bool markdown_ = false;

  Profile profile_;
  Bounds bounds_;
  std::string isa_;
  std::string backend_;
  std::string device_;  // empty: the CPU
  int threads_ = 0;
  double load_ms_ = 0;
  int64_t loaded_rss_ = 0;
  std::vector<Line> lines_;
};

}  // namespace

std::unique_ptr<Command> make_bench_command() {
  return std::make_unique<BenchCommand>();
}

}  // namespace facet::cli
