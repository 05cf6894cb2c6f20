#include "backend/cpu/kernel_table.h"
#include "backend/cpu/simd_portable.h"

namespace facet::cpu {

const KernelTable& portable_kernels() {
  static constexpr KernelTable kTable = make_kernel_table<Portable>("portable");
  return kTable;
}

}  // namespace facet::cpu
