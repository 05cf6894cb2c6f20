#include "base/build_id.h"

namespace facet {

std::string_view build_id() noexcept {
  return FACET_BUILD_ID;
}

}  // namespace facet
