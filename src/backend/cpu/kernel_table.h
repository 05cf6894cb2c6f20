// The kernel table of an instruction set S. Included by isa_*.cc alone.
#pragma once

#include "backend/cpu/attention_kernels.h"
#include "backend/cpu/elementwise_kernels.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/peak_kernels.h"
#include "backend/cpu/product_kernels.h"

namespace facet::cpu {

template <class S>
constexpr KernelTable make_kernel_table(const char* name) {
  KernelTable t{};
  t.name = name;
  t.sweep_rows = Product<S>::kSweepRows;
  t.block_bytes = int64_t{1} << 20;
  t.product = Product<S>::run;
  t.outlier_limit = outlier_limit<S>;
  t.list_outliers = list_outliers<S>;
  t.quantize_row = quantize_row<S>;
  t.rms_norm_row = rms_norm_row<S>;
  t.rms_norm_add_row = rms_norm_add_row<S>;
  t.gelu_mul = gelu_mul<S>;
  t.add_scale = add_scale<S>;
  t.scale = scale<S>;
  t.mul = mul<S>;
  t.softmax_row = softmax_row<S>;
  t.softcap = softcap<S>;
  t.rope_row = rope_row<S>;
  t.attend_page = attend_page<S>;
  t.merge_attention = merge_attention<S>;
  t.scale_to = scale_to<S>;
  t.read = read<S>;
  t.int8_peak = int8_peak<S>;
  t.f32_peak = f32_peak<S>;
  return t;
}

}  // namespace facet::cpu
