#include "backend/cpu/isa.h"

#include <fmt/format.h>

#include <vector>

#include "backend/cpu/processor.h"
#include "base/error.h"

namespace facet::cpu {
namespace {

std::vector<const KernelTable*> find_kernels() {
  std::vector<const KernelTable*> found;
#if defined(FACET_X86)
  if (has_amx()) found.push_back(&amx_kernels());
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
  if (name == "amx" || name == "avx512" || name == "avx2")
    throw Error(ErrorCode::kDevice, fmt::format("instruction set {}: this machine does not have it", name));
  throw Error(ErrorCode::kUsage, fmt::format("isa: expected amx, avx512, avx2 or portable, got '{}'", name));
}

}  // namespace facet::cpu
