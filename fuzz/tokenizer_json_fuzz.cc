// tokenizer.json: whatever the bytes, a tokenizer that works or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto tokenizer =
        facet::text::Tokenizer::from_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    const auto ids = tokenizer.encode("a text\n\nwith <bos> and \xC3\xA9\xFF");
    for (const int32_t id : ids)
      if (!tokenizer.contains(id)) __builtin_trap();
    (void)tokenizer.decode(ids);
  } catch (const facet::Error&) {
  }
  return 0;
}
