#include "backend/cpu/isa.h"

#include <fmt/format.h>

#include <fstream>
#include <vector>

#include "base/error.h"

namespace facet::cpu {
namespace {

#if defined(FACET_X86)
bool has_avx2() noexcept {
  // F16C is older than AVX2 and came with every processor that has it.
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}
bool has_avx512() noexcept {
  return has_avx2() && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
         __builtin_cpu_supports("avx512vnni") != 0;
}
#endif

std::vector<const KernelTable*> find_kernels() {
  std::vector<const KernelTable*> found;
#if defined(FACET_X86)
  __builtin_cpu_init();
  if (has_avx512()) found.push_back(&avx512_kernels());
  if (has_avx2()) found.push_back(&avx2_kernels());
#endif
  found.push_back(&portable_kernels());
  return found;
}

}  // namespace

std::span<const KernelTable* const> available_kernels() {
  static const std::vector<const KernelTable*> kFound = find_kernels();
  return kFound;
}

const KernelTable& choose_kernels(std::string_view name) {
  if (name.empty()) return *available_kernels().front();
  for (const KernelTable* table : available_kernels())
    if (table->name == name) return *table;
  if (name == "avx512" || name == "avx2")
    throw Error(ErrorCode::kDevice, fmt::format("instruction set {}: this machine does not have it", name));
  throw Error(ErrorCode::kUsage, fmt::format("isa: expected avx512, avx2 or portable, got '{}'", name));
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace facet::cpu
