// facet doctor: what this machine offers and what Facet would pick.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/machine_limits.h"
#include "backend/cpu/processor.h"
#include "base/build_id.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "engine/gpu.h"

namespace facet::cli {
namespace {

struct Machine {
  std::string processor;
  std::vector<std::string> instruction_sets;
  int cores = 0;       ///< that this process may use
  int64_t memory = 0;  ///< bytes
  int64_t free_memory = 0;
  double read_gbs = 0;  ///< 10⁹ bytes a second, all threads; 0 where there is too little memory to measure it
  GpuSearch search;
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

double read_bandwidth() {
  constexpr int kPasses = 4;
  try {
    CpuBackend backend(CpuOptions{});
    return cpu::ReadBandwidth(backend.kernels(), backend.pool()).measure(kPasses);
  } catch (const Error&) {
    return 0;
  }
}

Machine look_around() {
  Machine machine;
  machine.processor = cpu::processor_name();
  machine.instruction_sets = instruction_sets();
  machine.cores = usable_cores();
  const auto kilobytes = [](const std::string& text) { return std::atoll(text.c_str()) * 1024; };
  machine.memory = kilobytes(proc_value("/proc/meminfo", "MemTotal"));
  machine.free_memory = kilobytes(proc_value("/proc/meminfo", "MemAvailable"));
  machine.read_gbs = read_bandwidth();
  machine.search = find_gpu();
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
    const auto& gpu = machine.search.gpu;
    const std::string backend = gpu ? "cuda" : "cpu";
    const std::string& isa = machine.instruction_sets.front();
    const auto demo = demo_model();
    if (json_) {
      auto gpus = nlohmann::ordered_json::array();
      if (gpu)
        gpus.push_back({{"name", gpu->name},
                        {"compute_capability", gpu->compute_capability},
                        {"memory_bytes", gpu->memory},
                        {"available_memory_bytes", gpu->free_memory}});
      const nlohmann::ordered_json out = {
          {"build", build_id()},
          {"cpu",
           {{"name", machine.processor},
            {"instruction_sets", machine.instruction_sets},
            {"cores", machine.cores}}},
          {"memory_bytes", machine.memory},
          {"available_memory_bytes", machine.free_memory},
          {"bandwidth_gbs", machine.read_gbs},
          {"gpus", gpus},
          {"no_gpu", gpu ? nlohmann::ordered_json() : nlohmann::ordered_json(machine.search.problem)},
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
    line("bandwidth", machine.read_gbs > 0 ? fmt::format("{:.1f} GB/s read from memory", machine.read_gbs)
                                           : "not measured: too little memory");
    if (gpu)
      line("gpu", fmt::format("{}, compute capability {}, {:.1f} GiB, {:.1f} GiB available (--backend cuda)",
                              gpu->name, gpu->compute_capability, static_cast<double>(gpu->memory) / kGiB,
                              static_cast<double>(gpu->free_memory) / kGiB));
    else
      line("gpu", (machine.search.present ? "cannot be used: " : "none: ") + machine.search.problem);
    line("demo model", demo.value_or("not installed"));
    const std::string on_cpu = fmt::format("the cpu backend, {} kernels, {} thread{}", isa, machine.cores,
                                           machine.cores == 1 ? "" : "s");
    line("would use", gpu ? "the cuda backend; for models that do not fit the GPU, " + on_cpu : on_cpu);
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
