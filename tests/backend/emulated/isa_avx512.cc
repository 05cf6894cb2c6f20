// The unit with the AVX-512 kernels, its instructions emulated.
#include "backend/emulated/avx512_intrinsics.h"

#include "backend/cpu/isa_avx512.cc"
