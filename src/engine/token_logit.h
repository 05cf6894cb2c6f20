// A token and its logit.
#pragma once

#include <cstdint>

namespace facet {

struct TokenLogit {
  float logit = 0;
  int32_t id = 0;
};

}  // namespace facet
