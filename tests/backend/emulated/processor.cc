// A processor that has every instruction set: those that this machine's may lack are emulated.
#include "backend/cpu/processor.h"

namespace facet::cpu {

bool has_avx2() noexcept {
  return false;  // tested where it is
}
bool has_avx512() noexcept {
  return true;
}
bool has_amx() noexcept {
  return true;
}
std::string processor_name() {
  return "emulated";
}

}  // namespace facet::cpu
