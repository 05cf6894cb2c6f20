#include "formats/checkpoint_tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/mapped_file.h"
#include "formats/gguf.h"
#include "formats/gguf_vocabulary.h"
#include "text/tokenizer_json.h"

namespace facet {
namespace {

text::Vocabulary read_vocabulary(const std::filesystem::path& path) {
  MappedFile file(path);
  if (!GgufFile::is_gguf(file.bytes())) return text::read_tokenizer_json(file.text(), path.string());
  auto vocabulary = gguf_vocabulary(GgufFile(std::move(file)));
  if (!vocabulary)
    throw bad_input(fmt::format("{}: expected a tokenizer, got a file without one", path.string()));
  return *std::move(vocabulary);
}

}  // namespace

text::Tokenizer open_tokenizer_file(const std::filesystem::path& path) {
  return text::Tokenizer(read_vocabulary(path));
}

std::optional<text::Vocabulary> open_vocabulary(const Checkpoint& checkpoint) {
  if (!checkpoint.tokenizer_file) return std::nullopt;
  return read_vocabulary(*checkpoint.tokenizer_file);
}

std::optional<std::string> chat_template(const Checkpoint& checkpoint) {
  if (!checkpoint.tokenizer_file) return std::nullopt;
  const std::filesystem::path& path = *checkpoint.tokenizer_file;
  MappedFile file(path);
  if (GgufFile::is_gguf(file.bytes())) {
    const GgufFile gguf(std::move(file));
    const auto found = gguf.metadata().string("tokenizer.chat_template");
    return found ? std::optional<std::string>(*found) : std::nullopt;
  }
  const std::filesystem::path beside = path.parent_path() / "chat_template.jinja";
  std::error_code error;
  if (!std::filesystem::is_regular_file(beside, error)) return std::nullopt;
  return std::string(MappedFile(beside).text());
}

std::optional<text::Tokenizer> open_tokenizer(const Checkpoint& checkpoint) {
  if (!checkpoint.tokenizer_file) return std::nullopt;
  return open_tokenizer_file(*checkpoint.tokenizer_file);
}

}  // namespace facet
