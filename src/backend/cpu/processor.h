// What the processor, and the system it runs under, let this process use.
#pragma once

#include <string>

namespace facet::cpu {

[[nodiscard]] bool has_avx2() noexcept;    ///< with FMA and F16C
[[nodiscard]] bool has_avx512() noexcept;  ///< F, BW, VL, DQ and VNNI
/// AVX-512 with AMX's matrix registers for 8-bit integers. Asks the system for the registers, which the whole
/// process may use from then on.
[[nodiscard]] bool has_amx() noexcept;

/// The processor's name as it reports it, or "unknown".
[[nodiscard]] std::string processor_name();

}  // namespace facet::cpu
