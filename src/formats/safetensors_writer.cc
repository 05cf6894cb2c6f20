#include "formats/safetensors_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/checked.h"
#include "base/error.h"
#include "formats/safetensors.h"

namespace facet {
namespace {

constexpr std::string_view dtype_code(DType t) noexcept {
  switch (t) {
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
    case DType::kF64: return "F64";
    case DType::kI64: return "I64";
    case DType::kI32: return "I32";
    case DType::kI16: return "I16";
    case DType::kI8: return "I8";
    case DType::kU64: return "U64";
    case DType::kU32: return "U32";
    case DType::kU16: return "U16";
    case DType::kU8: return "U8";
    case DType::kBool: return "BOOL";
  }
  return "?";
}

Error cannot_write(std::string_view name, std::string_view message) {
  return Error(ErrorCode::kFailed, fmt::format("writing tensor {}: {}", name, message));
}

uint64_t declared_bytes(const TensorDeclaration& tensor) {
  std::optional<uint64_t> bytes = dtype_size(tensor.dtype);
  for (const int64_t dim : tensor.shape)
    if (bytes) bytes = dim < 0 ? std::nullopt : checked_mul(*bytes, static_cast<uint64_t>(dim));
  if (!bytes) throw cannot_write(tensor.name, fmt::format("impossible shape {}", shape_text(tensor.shape)));
  return *bytes;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorDeclaration> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path), tensors_(std::move(tensors)) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorDeclaration& tensor : tensors_) {
    const uint64_t bytes = declared_bytes(tensor);
    const auto end = checked_add(offset, bytes);
    if (!end) throw cannot_write(tensor.name, "the file would pass 2^64 bytes");
    if (header.contains(tensor.name)) throw cannot_write(tensor.name, "declared twice");
    header[tensor.name] = {
        {"dtype", dtype_code(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, *end}}};
    sizes_.push_back(bytes);
    offset = *end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) & ~size_t{7}, ' ');  // so that the data starts aligned
  const uint64_t length = text.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(text);
  skip_complete();
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;  // an empty tensor has had its turn already
  if (current_ == tensors_.size()) throw cannot_write(name, "every declared tensor is complete");
  if (tensors_[current_].name != name)
    throw cannot_write(name, "it is the turn of " + tensors_[current_].name);
  if (bytes.size() > sizes_[current_] - written_)
    throw cannot_write(
        name, fmt::format("expected {} more bytes, got {}", sizes_[current_] - written_, bytes.size()));
  file_.write(bytes);
  written_ += bytes.size();
  skip_complete();
}

void SafetensorsWriter::finish() {
  if (current_ != tensors_.size())
    throw cannot_write(tensors_[current_].name,
                       fmt::format("expected {} bytes, got {}", sizes_[current_], written_));
  file_.commit();
}

void SafetensorsWriter::skip_complete() {
  while (current_ < tensors_.size() && written_ == sizes_[current_]) {
    ++current_;
    written_ = 0;
  }
}

}  // namespace facet
