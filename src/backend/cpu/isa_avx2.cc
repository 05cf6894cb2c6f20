#include "backend/cpu/kernel_table.h"
#include "backend/cpu/simd_avx2.h"

namespace facet::cpu {

const KernelTable& avx2_kernels() {
  static constexpr KernelTable kTable = make_kernel_table<Avx2>("avx2");
  return kTable;
}

}  // namespace facet::cpu
