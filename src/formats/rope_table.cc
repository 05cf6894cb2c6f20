#include "formats/rope_table.h"

#include <algorithm>
#include <utility>

namespace facet {

int rope_index(ModelSpec& spec, RopeSpec rope) {
  const auto same = std::ranges::find(spec.ropes, rope.inv_freq, &RopeSpec::inv_freq);
  const auto index = static_cast<int>(same - spec.ropes.begin());
  if (same == spec.ropes.end()) spec.ropes.push_back(std::move(rope));
  return index;
}

}  // namespace facet
