// The instruction sets that tests run on.
#pragma once

#include <string>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"

namespace facet::testing {

/// Those that this machine has.
inline std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const cpu::KernelTable* table : cpu::available_kernels()) names.emplace_back(table->name);
  return names;
}

}  // namespace facet::testing
