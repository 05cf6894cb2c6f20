// The unit with the AMX kernels, its instructions emulated.
#include "backend/emulated/amx_intrinsics.h"
#include "backend/emulated/avx512_intrinsics.h"

#include "backend/cpu/isa_amx.cc"
