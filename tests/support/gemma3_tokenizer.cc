#include "support/gemma3_tokenizer.h"

#include "support/paths.h"
#include "support/xz.h"

namespace facet::testing {

const std::string& gemma3_tokenizer_json() {
  static const std::string json = read_xz(shared_dir() / "tokenizer/gemma3-tokenizer.json.xz");
  return json;
}

const text::Tokenizer& gemma3_tokenizer() {
  static const text::Tokenizer tokenizer =
      text::Tokenizer::from_json(gemma3_tokenizer_json(), "gemma3-tokenizer.json");
  return tokenizer;
}

}  // namespace facet::testing
