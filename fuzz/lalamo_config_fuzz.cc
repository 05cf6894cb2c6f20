// lalamo's config.json: whatever the text, a spec that validates or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/lalamo_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const facet::Json json = facet::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const facet::JsonView config(json, "fuzz");
    if (facet::is_lalamo(config)) facet::validate(facet::read_lalamo_config(config).spec);
  } catch (const facet::Error&) {
  }
  return 0;
}
