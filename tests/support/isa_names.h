// The instruction sets that tests run on, and their ways of computing rows.
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

/// These and, where rows that are read have products of their own, the set's name with "_read" behind it.
inline std::vector<std::string> kernel_modes() {
  std::vector<std::string> modes = isa_names();
  for (const cpu::KernelTable* table : cpu::available_kernels())
    if (table->read_product != nullptr) modes.push_back(std::string(table->name) + "_read");
  return modes;
}
inline bool is_reading(const std::string& mode) {
  return mode.ends_with("_read");
}
inline std::string isa_of(const std::string& mode) {
  return mode.substr(0, mode.find('_'));
}

}  // namespace facet::testing
