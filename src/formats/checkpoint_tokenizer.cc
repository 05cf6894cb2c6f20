#include "formats/checkpoint_tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "formats/gguf.h"
#include "formats/gguf_vocabulary.h"

namespace facet {

text::Tokenizer open_tokenizer_file(const std::filesystem::path& path) {
  MappedFile file(path);
  if (!GgufFile::is_gguf(file.bytes())) return text::Tokenizer::load(path);
  auto vocabulary = gguf_vocabulary(GgufFile(std::move(file)));
  if (!vocabulary)
    throw bad_input(fmt::format("{}: expected a tokenizer, got a file without one", path.string()));
  return text::Tokenizer(*std::move(vocabulary));
}

std::optional<text::Tokenizer> open_tokenizer(const Checkpoint& checkpoint) {
  if (!checkpoint.tokenizer_file) return std::nullopt;
  return open_tokenizer_file(*checkpoint.tokenizer_file);
}

}  // namespace facet
