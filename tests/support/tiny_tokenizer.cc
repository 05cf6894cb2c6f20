#include "support/tiny_tokenizer.h"

#include <filesystem>
#include <fstream>

#include "support/paths.h"

namespace facet::testing {
namespace {
std::filesystem::path path() {
  return data_dir() / "text/tiny-tokenizer.json";
}
}  // namespace

nlohmann::json tiny_tokenizer_json() {
  std::ifstream file(path());
  return nlohmann::json::parse(file);
}

const text::Tokenizer& tiny_tokenizer() {
  static const text::Tokenizer tokenizer = text::Tokenizer::load(path());
  return tokenizer;
}

}  // namespace facet::testing
