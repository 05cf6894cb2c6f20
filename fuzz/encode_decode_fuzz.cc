// Any bytes encode; what was UTF-8 comes back; no text becomes a control token against the caller's will.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "small_tokenizer.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace facet::text;
  static const std::array<Tokenizer, 4> tokenizers = {
      small_tokenizer(false, false), small_tokenizer(false, true), small_tokenizer(true, false),
      small_tokenizer(true, true)};
  if (size == 0) return 0;
  const Tokenizer& tokenizer = tokenizers[data[0] % 4];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto ids = tokenizer.encode(text, {.add_bos = false, .parse_special = false});
  for (const int32_t id : ids)
    if (!tokenizer.contains(id) || tokenizer.is_special(id)) __builtin_trap();
  const std::string back = tokenizer.decode(ids);
  if (!is_utf8(back)) __builtin_trap();
  // "▁" stands for a space and decodes to one.
  if (is_utf8(text) && text.find("▁") == std::string_view::npos && back != text) __builtin_trap();
  (void)tokenizer.encode(text);
  return 0;
}
