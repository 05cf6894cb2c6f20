#include "formats/gguf_writer.h"

#include <fmt/format.h>

#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"

namespace facet {
namespace {

constexpr uint64_t kAlignment = GgufFile::kDefaultAlignment;

template <typename T>
void put(std::string& out, T value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  out.append(reinterpret_cast<const char*>(raw.data()), raw.size());
}

void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

Error cannot_write(std::string_view name, std::string_view message) {
  return Error(ErrorCode::kFailed, fmt::format("writing tensor {}: {}", name, message));
}

uint64_t declared_bytes(const GgufDeclaration& tensor) {
  const auto impossible = [&] {
    return cannot_write(tensor.name, fmt::format("impossible shape {} of {}", shape_text(tensor.shape),
                                                 encoding_name(tensor.encoding)));
  };
  if (!ggml_type(tensor.encoding) || tensor.shape.empty() || tensor.shape.size() > 4 ||
      tensor.shape.back() % encoding_block(tensor.encoding) != 0)
    throw impossible();
  std::optional<uint64_t> bytes = static_cast<uint64_t>(encoding_block_bytes(tensor.encoding));
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    int64_t dim = tensor.shape[i];
    if (i + 1 == tensor.shape.size()) dim /= encoding_block(tensor.encoding);
    if (bytes) bytes = dim < 1 ? std::nullopt : checked_mul(*bytes, static_cast<uint64_t>(dim));
  }
  if (!bytes) throw impossible();
  return *bytes;
}

}  // namespace

void GgufPairs::key(std::string_view key, GgufType type) {
  put_text(bytes_, key);
  put(bytes_, static_cast<uint32_t>(type));
  ++count_;
}

template <typename T>
void GgufPairs::array(std::string_view name, GgufType type, std::span<const T> values) {
  key(name, GgufType::kArray);
  put(bytes_, static_cast<uint32_t>(type));
  put<uint64_t>(bytes_, values.size());
  for (const T value : values) put(bytes_, value);
}

void GgufPairs::add(std::string_view name, std::string_view text) {
  key(name, GgufType::kString);
  put_text(bytes_, text);
}

void GgufPairs::add(std::string_view name, uint32_t value) {
  key(name, GgufType::kU32);
  put(bytes_, value);
}

void GgufPairs::add(std::string_view name, float value) {
  key(name, GgufType::kF32);
  put(bytes_, value);
}

void GgufPairs::add(std::string_view name, bool value) {
  key(name, GgufType::kBool);
  put<uint8_t>(bytes_, value ? 1 : 0);
}

void GgufPairs::add(std::string_view name, std::span<const std::string> texts) {
  key(name, GgufType::kArray);
  put(bytes_, static_cast<uint32_t>(GgufType::kString));
  put<uint64_t>(bytes_, texts.size());
  for (const std::string& text : texts) put_text(bytes_, text);
}

void GgufPairs::add(std::string_view name, std::span<const int32_t> values) {
  array(name, GgufType::kI32, values);
}
void GgufPairs::add(std::string_view name, std::span<const uint32_t> values) {
  array(name, GgufType::kU32, values);
}
void GgufPairs::add(std::string_view name, std::span<const float> values) {
  array(name, GgufType::kF32, values);
}

void GgufPairs::add(std::string_view name, const std::vector<bool>& values) {
  const std::vector<uint8_t> bytes(values.begin(), values.end());
  array<uint8_t>(name, GgufType::kBool, bytes);
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufPairs& pairs,
                       std::vector<GgufDeclaration> tensors)
    : file_(path), tensors_(std::move(tensors)) {
  std::string head = "GGUF";
  put<uint32_t>(head, 3);
  put<uint64_t>(head, tensors_.size());
  put<uint64_t>(head, pairs.count());
  head += pairs.bytes();
  std::optional<uint64_t> offset = 0;
  for (const GgufDeclaration& tensor : tensors_) {
    sizes_.push_back(declared_bytes(tensor));
    put_text(head, tensor.name);
    put<uint32_t>(head, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;)
      put<uint64_t>(head, static_cast<uint64_t>(tensor.shape[i]));
    put<uint32_t>(head, *ggml_type(tensor.encoding));
    put<uint64_t>(head, *offset);
    offset = checked_add(*offset, sizes_.back());
    if (offset) offset = checked_align(*offset, kAlignment);
    if (!offset) throw cannot_write(tensor.name, "the file would pass 2^64 bytes");
  }
  file_.write(head);
  position_ = head.size();
  pad();
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (current_ == tensors_.size()) throw cannot_write(name, "every declared tensor is complete");
  if (tensors_[current_].name != name)
    throw cannot_write(name, "it is the turn of " + tensors_[current_].name);
  if (bytes.size() > sizes_[current_] - written_)
    throw cannot_write(
        name, fmt::format("expected {} more bytes, got {}", sizes_[current_] - written_, bytes.size()));
  file_.write(bytes);
  written_ += bytes.size();
  position_ += bytes.size();
  if (written_ < sizes_[current_]) return;
  pad();
  ++current_;
  written_ = 0;
}

void GgufWriter::finish() {
  if (current_ != tensors_.size())
    throw cannot_write(tensors_[current_].name,
                       fmt::format("expected {} bytes, got {}", sizes_[current_], written_));
  file_.commit();
}

void GgufWriter::pad() {
  const uint64_t aligned = (position_ + kAlignment - 1) / kAlignment * kAlignment;
  file_.write(std::string(aligned - position_, '\0'));
  position_ = aligned;
}

}  // namespace facet
