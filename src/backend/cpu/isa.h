// Which instruction set the CPU backend runs on.
#pragma once

#include <span>
#include <string_view>

#include "backend/cpu/kernels.h"

namespace facet::cpu {

/// The kernel tables that this machine can run, best first; portable is always the last.
[[nodiscard]] std::span<const KernelTable* const> available_kernels();

/// The table called `name` ("amx", "avx512", "avx2", "portable"), the best one when it is empty. Throws
/// Error{kUsage} for an unknown name and Error{kDevice} for a set that this machine does not have.
[[nodiscard]] const KernelTable& choose_kernels(std::string_view name);

}  // namespace facet::cpu
