// Trace files: whatever the bytes, a trace or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "engine/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const facet::SafetensorsFile file(std::as_bytes(std::span(data, size)), "fuzz");
    (void)facet::read_trace(file);
  } catch (const facet::Error&) {
  }
  return 0;
}
