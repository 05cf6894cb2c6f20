#include "backend/cpu/kernel_table.h"
#include "backend/cpu/simd_avx512.h"

namespace facet::cpu {

const KernelTable& avx512_kernels() {
  static constexpr KernelTable kTable = make_kernel_table<Avx512>("avx512");
  return kTable;
}

}  // namespace facet::cpu
