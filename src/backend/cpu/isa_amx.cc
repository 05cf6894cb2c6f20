#include "backend/cpu/amx_attention.h"
#include "backend/cpu/amx_product.h"
#include "backend/cpu/amx_read_product.h"
#include "backend/cpu/kernels.h"

namespace facet::cpu {
namespace {

void product(const ProductArgs& args) {
  if (args.w->group == 0 || args.a->rows < AmxProduct::kFewestRows) return avx512_kernels().product(args);
  AmxProduct::run(args);
}

}  // namespace

const KernelTable& amx_kernels() {
  static const KernelTable kTable = [] {
    KernelTable t = avx512_kernels();
    t.name = "amx";
    t.product = product;
    t.read_product = AmxReadProduct::run;
    t.to_bf16_row = AmxReadProduct::to_bf16;
    t.attend_prompt = AmxAttention::run;
    t.block_bytes = int64_t{2} << 20;  // every processor with AMX has as much
    t.int8_peak = amx_int8_peak;
    return t;
  }();
  return kTable;
}

}  // namespace facet::cpu
