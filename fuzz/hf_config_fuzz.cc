// config.json and generation_config.json of the Hugging Face layout: whatever the text, a valid spec or an
// Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "formats/generation_config.h"
#include "formats/hf_config.h"
#include "formats/mlx_quantization.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const facet::Json json = facet::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const facet::JsonView config(json, "fuzz");
    static_cast<void>(facet::MlxQuantization::read(config));
    static_cast<void>(facet::read_generation_config(config));
    static_cast<void>(facet::hf_model_spec(config));
  } catch (const facet::Error&) {
  }
  return 0;
}
