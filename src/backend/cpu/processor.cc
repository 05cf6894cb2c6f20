#include "backend/cpu/processor.h"

#include <fstream>

#if defined(FACET_X86)
#include <cpuid.h>
#endif
#if defined(FACET_X86) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace facet::cpu {

#if defined(FACET_X86)

bool has_avx2() noexcept {
  __builtin_cpu_init();
  // F16C is older than AVX2 and came with every processor that has it.
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}

bool has_avx512() noexcept {
  return has_avx2() && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
         __builtin_cpu_supports("avx512vnni") != 0;
}

bool has_amx() noexcept {
#if defined(__linux__)
  constexpr unsigned kMatrices = 1U << 22 | 3U << 24;  // CPUID leaf 7, EDX: bf16, the registers, int8
  constexpr long kRequestPermission = 0x1023;          // ARCH_REQ_XCOMP_PERM, of Linux 5.16
  constexpr long kTileData = 18;                       // the matrix registers in the saved state
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kMatrices) == kMatrices &&
         ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#else

bool has_avx2() noexcept {
  return false;
}
bool has_avx512() noexcept {
  return false;
}
bool has_amx() noexcept {
  return false;
}

#endif

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

}  // namespace facet::cpu
