// Writes the synthetic model of `facet bench --synthetic` as a GGUF file, so that other engines can be timed
// on the same weights: Q4_0 where that has 4 bits, Q8_0 where it has 8. No vocabulary. usage: synthetic_gguf
// e2b|e4b FILE
#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "engine/synthetic.h"
#include "formats/gguf_model_writer.h"

int main(int count, char** arguments) {
  if (count != 3) {
    fmt::print(stderr, "usage: synthetic_gguf e2b|e4b FILE\n");
    return 2;
  }
  try {
    const facet::Checkpoint model = facet::make_synthetic(arguments[1], facet::SyntheticQuant::k4Bit);
    facet::write_gguf(model, arguments[2], {facet::GgufFileType::kQ4_0, 0, {}, /*four_bit_embedding=*/true});
  } catch (const std::exception& error) {
    fmt::print(stderr, "synthetic_gguf: error: {}\n", error.what());
    return 1;
  }
  return 0;
}
