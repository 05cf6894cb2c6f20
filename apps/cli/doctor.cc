// facet doctor: what this machine offers and what Facet would pick.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/cpu/isa.h"
#include "base/build_id.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "engine/engine.h"

namespace facet::cli {
namespace {

struct Machine {
  std::string processor;
  std::vector<std::string> instruction_sets;
  int cores = 0;       ///< that this process may use
  int64_t memory = 0;  ///< bytes
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

/// The CPU backend's kernel families that this machine can run, best first.
std::vector<std::string> instruction_sets() {
  std::vector<std::string> sets;
  for (const cpu::KernelTable* table : cpu::available_kernels()) sets.emplace_back(table->name);
  return sets;
}

Machine look_around() {
  Machine machine;
  machine.processor = cpu::processor_name();
  machine.instruction_sets = instruction_sets();
  machine.cores = usable_cores();
  const auto kilobytes = [](const std::string& text) { return std::atoll(text.c_str()) * 1024; };
  machine.memory = kilobytes(proc_value("/proc/meminfo", "MemTotal"));
  machine.free_memory = kilobytes(proc_value("/proc/meminfo", "MemAvailable"));
  return machine;
}

class DoctorCommand final : public Command {
 public:
  CLI::App* declare(CLI::App& program) override {
    CLI::App* app =
        program.add_subcommand("doctor", "Show what this machine offers and what Facet would pick");
    app->add_flag("--json", json_, "As JSON");
    app->footer("Example:\n  facet doctor");
    return app;
  }

  [[nodiscard]] bool json() const override { return json_; }

  int run() override {
    const Machine machine = look_around();
    const std::string backend(make_backend({})->name());
    const std::string& isa = machine.instruction_sets.front();
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
          {"pick", {{"backend", backend}, {"isa", isa}, {"threads", machine.cores}}}};
      fmt::print("{}\n", out.dump());
      return 0;
    }
    const auto line = [](const char* name, const std::string& value) {
      fmt::print("{:<12}{}\n", name, value);
    };
    constexpr double kGiB = 1 << 30;
    line("facet", std::string(build_id()));
    line("processor", fmt::format("{}, {} core{} to use", machine.processor, machine.cores,
                                  machine.cores == 1 ? "" : "s"));
    line("kernels", fmt::format("{}", fmt::join(machine.instruction_sets, ", ")));
    line("memory", fmt::format("{:.1f} GiB, {:.1f} GiB available", static_cast<double>(machine.memory) / kGiB,
                               static_cast<double>(machine.free_memory) / kGiB));
    line("gpu", "none: this build has no CUDA backend");
    line("demo model", demo.value_or("not installed"));
    line("would use", fmt::format("the {} backend, {} kernels, {} thread{}", backend, isa, machine.cores,
                                  machine.cores == 1 ? "" : "s"));
    return 0;
  }

 private:
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_doctor_command() {
  return std::make_unique<DoctorCommand>();
}

}  // namespace facet::cli
