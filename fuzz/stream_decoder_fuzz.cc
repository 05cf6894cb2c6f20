// Tokens stream to the text that they decode to at once, in well-formed pieces; stop strings are found
// wherever the text is cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "small_tokenizer.h"
#include "text/stop_matcher.h"
#include "text/stream_decoder.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace facet::text;
  static const Tokenizer tokenizer = small_tokenizer(false, true);
  if (size == 0) return 0;
  // The first byte chooses; then two bytes an id, so that all ids and some beyond occur.
  const DecodeOptions options{.skip_special = (data[0] & 1U) != 0};
  std::vector<int32_t> ids;
  for (size_t i = 1; i + 1 < size; i += 2) ids.push_back((data[i] << 8 | data[i + 1]) % 512 - 4);

  const std::vector<std::string> stops = {"aa", "é", "call:", "a\n"};
  StreamDecoder decoder(tokenizer, options);
  StopMatcher pieces(stops);
  std::string text;
  std::string shown;
  const auto take = [&](std::string_view piece) {
    if (!is_utf8(piece)) __builtin_trap();
    text += piece;
    const std::string_view passed = pieces.push(piece);
    if (!is_utf8(passed)) __builtin_trap();
    shown += passed;
  };
  for (const int32_t id : ids) take(decoder.push(id));
  take(decoder.flush());
  shown += pieces.flush();
  if (text != tokenizer.decode(ids, options)) __builtin_trap();

  StopMatcher whole(stops);
  std::string expected(whole.push(text));
  expected += whole.flush();
  if (shown != expected || pieces.matched() != whole.matched()) __builtin_trap();
  size_t first = text.size();
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  if (whole.matched().has_value() != (first < text.size())) __builtin_trap();
  return 0;
}
