// facet doctor: what this machine offers and what Facet would pick.
#include <fmt/format.h>
#include <sched.h>
#include <sys/sysinfo.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/build_id.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "engine/engine.h"

namespace facet::cli {
namespace {

struct Machine {
  std::string processor = "unknown";
  std::vector<std::string> instruction_sets;
  int cores = 0;         ///< that this process may use
  int64_t memory = 0;    ///< bytes
  int64_t free_memory = 0;
};

/// The value of `key` in a "key : value" file of /proc, or nothing.
std::string proc_value(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> sets;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto add = [&](bool has, const char* name) {
    if (has) sets.emplace_back(name);
  };
  add(__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0, "avx2");
  add(__builtin_cpu_supports("avx512f") != 0, "avx512f");
  add(__builtin_cpu_supports("avx512vnni") != 0, "avx512vnni");
  add(__builtin_cpu_supports("avx512bf16") != 0, "avx512bf16");
#endif
  return sets;
}

Machine look_around() {
  Machine machine;
  if (std::string name = proc_value("/proc/cpuinfo", "model name"); !name.empty()) machine.processor = std::move(name);
  machine.instruction_sets = instruction_sets();
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) == 0) machine.cores = CPU_COUNT(&allowed);
  const auto kilobytes = [](const std::string& text) { return std::atoll(text.c_str()) * 1024; };
  machine.memory = kilobytes(proc_value("/proc/meminfo", "MemTotal"));
  machine.free_memory = kilobytes(proc_value("/proc/meminfo", "MemAvailable"));
  return machine;
}

class DoctorCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app = program.add_subcommand("doctor", "Show what this machine offers and what Facet would pick");
    app->add_flag("--json", json_, "As JSON");
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    const Machine machine = look_around();
    const std::string backend(make_backend({})->name());
    const auto demo = demo_model();
    if (json_) {
      const nlohmann::ordered_json out = {
          {"build", build_id()},
          {"cpu",
           {{"name", machine.processor},
            {"instruction_sets", machine.instruction_sets},
            {"cores", machine.cores}}},
          {"memory_bytes", machine.memory},
          {"available_memory_bytes", machine.free_memory},
          {"gpus", nlohmann::ordered_json::array()},
          {"demo_model", demo ? nlohmann::ordered_json(*demo) : nlohmann::ordered_json()},
          {"pick", {{"backend", backend}}}};
      fmt::print("{}\n", out.dump());
      return 0;
    }
    const auto line = [](const char* name, const std::string& value) { fmt::print("{:<12}{}\n", name, value); };
    constexpr double kGiB = 1 << 30;
    line("facet", std::string(build_id()));
    line("processor", fmt::format("{}, {} core{} to use", machine.processor, machine.cores,
                                  machine.cores == 1 ? "" : "s"));
    line("sets", machine.instruction_sets.empty() ? "none that matter" : fmt::format("{}", fmt::join(machine.instruction_sets, ", ")));
    line("memory", fmt::format("{:.1f} GiB, {:.1f} GiB available", static_cast<double>(machine.memory) / kGiB,
                               static_cast<double>(machine.free_memory) / kGiB));
    line("gpu", "none: this build has no CUDA backend");
    line("demo model", demo.value_or("not installed"));
    line("would use", fmt::format("the {} backend", backend));
    return 0;
  }

 private:
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_doctor_command() { return std::make_unique<DoctorCommand>(); }

}  // namespace facet::cli
