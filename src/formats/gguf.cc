#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/quote.h"
#include "formats/safetensors.h"

namespace facet {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr uint64_t kMaxPairs = 65536;
constexpr uint64_t kMaxTensors = 65536;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxNameBytes = 256;
constexpr uint32_t kMaxDims = 4;
// The least that one takes in the file: what bounds their number by the bytes that remain.
constexpr uint64_t kLeastPairBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;

struct TypeNumber {
  uint32_t number;
  Encoding encoding;
};

constexpr std::array<TypeNumber, 15> kTypes = {{
    {0, Encoding::kF32},
    {1, Encoding::kF16},
    {2, Encoding::kQ4_0},
    {3, Encoding::kQ4_1},
    {6, Encoding::kQ5_0},
    {7, Encoding::kQ5_1},
    {8, Encoding::kQ8_0},
    {10, Encoding::kQ2_K},
    {11, Encoding::kQ3_K},
    {12, Encoding::kQ4_K},
    {13, Encoding::kQ5_K},
    {14, Encoding::kQ6_K},
    {20, Encoding::kIQ4_NL},
    {23, Encoding::kIQ4_XS},
    {30, Encoding::kBF16},
}};

/// Reads forward through the file and never past its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string_view label) : bytes_(bytes), label_(label) {}

  /// What errors say is being read: "key 3 of 20".
  void enter(std::string part) { part_ = std::move(part); }

  template <typename T>
  T read(std::string_view field) {
    const std::span<const std::byte> raw = take(sizeof(T), field);
    T value{};
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> take(uint64_t count, std::string_view field) {
    if (count > remaining())
      throw fail(
          fmt::format("{}: expected {} bytes, got the {} to the end of the file", field, count, remaining()));
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }

  std::string_view text(std::string_view field, uint64_t limit) {
    const auto length = read<uint64_t>(field);
    if (length > limit)
      throw fail(fmt::format("{}: expected at most {} bytes, got {}", field, limit, length));
    const auto raw = take(length, field);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

  [[nodiscard]] uint64_t position() const noexcept { return at_; }
  [[nodiscard]] uint64_t remaining() const noexcept { return bytes_.size() - at_; }
  [[nodiscard]] std::span<const std::byte> since(uint64_t begin) const {
    return bytes_.subspan(begin, at_ - begin);
  }
  [[nodiscard]] Error fail(std::string_view message) const {
    return bad_input(fmt::format("{}: {}: {}", label_, part_, message));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view label_;
  std::string part_ = "header";
  uint64_t at_ = 0;
};

GgufType read_type(Cursor& cursor) {
  const auto number = cursor.read<uint32_t>("type");
  if (number > static_cast<uint32_t>(GgufType::kF64))
    throw cursor.fail(fmt::format("type: expected 0 to 12, got {}", number));
  return static_cast<GgufType>(number);
}

/// Skips `count` elements of `type`.
void skip_elements(Cursor& cursor, GgufType type, uint64_t count) {
  if (type == GgufType::kString) {
    for (uint64_t i = 0; i < count; ++i) cursor.text("string", cursor.remaining());
    return;
  }
  const auto bytes = checked_mul(count, gguf_type_size(type));
  cursor.take(bytes.value_or(UINT64_MAX), "value");
}

GgufValue read_value(Cursor& cursor) {
  GgufValue value;
  value.type = read_type(cursor);
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    value.type = read_type(cursor);
    if (value.type == GgufType::kArray)
      throw cursor.fail("type: expected an array of scalars or strings, got one of arrays");
    value.count = cursor.read<uint64_t>("array length");
    // A string takes at least its length's 8 bytes.
    const uint64_t least = value.type == GgufType::kString ? 8 : gguf_type_size(value.type);
    if (value.count > cursor.remaining() / least)
      throw cursor.fail(fmt::format("array length: expected at most {} elements in the bytes left, got {}",
                                    cursor.remaining() / least, value.count));
  }
  const uint64_t begin = cursor.position();
  skip_elements(cursor, value.type, value.count);
  value.bytes = cursor.since(begin);
  return value;
}

uint64_t bounded_count(Cursor& cursor, std::string_view field, uint64_t most, uint64_t least_bytes) {
  const auto count = cursor.read<uint64_t>(field);
  const uint64_t limit = std::min(most, cursor.remaining() / least_bytes);
  if (count > limit) throw cursor.fail(fmt::format("{}: expected at most {}, got {}", field, limit, count));
  return count;
}

/// A tensor's description before its data is found.
struct Description {
  GgufTensor tensor;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

Encoding read_encoding(Cursor& cursor) {
  const auto number = cursor.read<uint32_t>("type");
  const auto known = std::ranges::find(kTypes, number, &TypeNumber::number);
  if (known == kTypes.end())
    throw cursor.fail(
        fmt::format("type: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL or "
                    "IQ4_XS, got number {}",
                    number));
  return known->encoding;
}

Description read_description(Cursor& cursor) {
  Description d;
  const std::string_view name = cursor.text("name", kMaxNameBytes);
  if (name.empty()) throw cursor.fail("name: expected one, got nothing");
  d.tensor.name = name;
  cursor.enter(fmt::format("tensor {}", quote(name)));
  const auto dims = cursor.read<uint32_t>("dimensions");
  if (dims < 1 || dims > kMaxDims)
    throw cursor.fail(fmt::format("dimensions: expected 1 to {}, got {}", kMaxDims, dims));
  std::optional<uint64_t> elements = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    const auto dim = cursor.read<uint64_t>("shape");
    if (dim < 1 || dim > static_cast<uint64_t>(INT64_MAX))
      throw cursor.fail(fmt::format("shape: expected dimensions from 1 to 2^63 - 1, got {}", dim));
    if (elements) elements = checked_mul(*elements, dim);
    d.tensor.shape.insert(d.tensor.shape.begin(), static_cast<int64_t>(dim));
  }
  d.tensor.encoding = read_encoding(cursor);
  d.offset = cursor.read<uint64_t>("offset");
  const auto block = static_cast<uint64_t>(encoding_block(d.tensor.encoding));
  if (static_cast<uint64_t>(d.tensor.shape.back()) % block != 0)
    throw cursor.fail(fmt::format("shape: expected rows of a multiple of {} elements for {}, got {}", block,
                                  encoding_name(d.tensor.encoding), d.tensor.shape.back()));
  if (elements)
    elements = checked_mul(*elements / block, static_cast<uint64_t>(encoding_block_bytes(d.tensor.encoding)));
  if (!elements)
    throw cursor.fail(fmt::format("shape: {} has more bytes than 2^64", shape_text(d.tensor.shape)));
  d.bytes = *elements;
  return d;
}

uint64_t read_alignment(const GgufMetadata& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  const auto alignment = metadata.integer(kKey, 0, INT32_MAX);
  if (!alignment) return GgufFile::kDefaultAlignment;
  const auto value = static_cast<uint64_t>(*alignment);
  if (!std::has_single_bit(value) || value > kMaxAlignment)
    throw metadata.unexpected(kKey, fmt::format("a power of two of at most {}", kMaxAlignment),
                              std::to_string(value));
  return value;
}

/// Finds each tensor's bytes in the data section and refuses two that share any.
void place(std::vector<Description>& all, std::span<const std::byte> data, uint64_t alignment,
           std::string_view label) {
  for (Description& d : all) {
    const auto fail = [&](std::string_view message) {
      return bad_input(fmt::format("{}: tensor {}: {}", label, quote(d.tensor.name), message));
    };
    if (d.offset % alignment != 0)
      throw fail(fmt::format("offset: expected a multiple of the alignment {}, got {}", alignment, d.offset));
    if (d.offset > data.size() || d.bytes > data.size() - d.offset)
      throw fail(fmt::format("expected {} bytes at {} of the data, got a file with {} bytes of data", d.bytes,
                             d.offset, data.size()));
    d.tensor.bytes = data.subspan(d.offset, d.bytes);
  }
  std::ranges::sort(all, {}, &Description::offset);
  for (size_t i = 1; i < all.size(); ++i)
    if (all[i].offset < all[i - 1].offset + all[i - 1].bytes)
      throw bad_input(fmt::format("{}: tensor {}: offset: expected at least {} (the end of {}), got {}",
                                  label, quote(all[i].tensor.name), all[i - 1].offset + all[i - 1].bytes,
                                  quote(all[i - 1].tensor.name), all[i].offset));
}

}  // namespace

std::optional<uint32_t> ggml_type(Encoding encoding) noexcept {
  const auto known = std::ranges::find(kTypes, encoding, &TypeNumber::encoding);
  return known == kTypes.end() ? std::nullopt : std::optional(known->number);
}

bool GgufFile::is_gguf(std::span<const std::byte> bytes) noexcept {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

GgufFile::GgufFile(const std::filesystem::path& path) : GgufFile(MappedFile(path)) {}

GgufFile::GgufFile(MappedFile file)
    : file_(std::move(file)), bytes_(file_->bytes()), metadata_(file_->path().string()) {
  parse();
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string_view label)
    : bytes_(bytes), metadata_(std::string(label)) {
  parse();
}

void GgufFile::parse() {
  Cursor cursor(bytes_, metadata_.label());
  if (!is_gguf(bytes_)) throw cursor.fail("expected the bytes \"GGUF\" at the start, got others");
  cursor.take(kMagic.size(), "magic");
  const auto version = cursor.read<uint32_t>("version");
  if (version != kVersion) throw cursor.fail(fmt::format("version: expected {}, got {}", kVersion, version));
  const uint64_t tensors = bounded_count(cursor, "number of tensors", kMaxTensors, kLeastTensorBytes);
  const uint64_t pairs = bounded_count(cursor, "number of keys", kMaxPairs, kLeastPairBytes);

  for (uint64_t i = 0; i < pairs; ++i) {
    cursor.enter(fmt::format("key {} of {}", i + 1, pairs));
    const std::string_view key = cursor.text("name", kMaxKeyBytes);
    if (key.empty()) throw cursor.fail("name: expected one, got nothing");
    cursor.enter(fmt::format("key {}", quote(key)));
    if (!metadata_.add(key, read_value(cursor))) throw cursor.fail("expected once, got it twice");
  }
  std::vector<Description> all;
  for (uint64_t i = 0; i < tensors; ++i) {
    cursor.enter(fmt::format("tensor {} of {}", i + 1, tensors));
    all.push_back(read_description(cursor));
  }

  const uint64_t alignment = read_alignment(metadata_);
  const auto data_begin = checked_align(cursor.position(), alignment);
  cursor.enter("tensor data");
  if (!data_begin || (*data_begin > bytes_.size() && tensors > 0))
    throw cursor.fail(fmt::format("expected a start at byte {}, got a file of {}",
                                  data_begin.value_or(UINT64_MAX), bytes_.size()));
  place(all, bytes_.subspan(std::min<uint64_t>(*data_begin, bytes_.size())), alignment, label());
  for (Description& d : all) tensors_.push_back(std::move(d.tensor));
  std::ranges::sort(tensors_, {}, &GgufTensor::name);
  const auto twin = std::ranges::adjacent_find(tensors_, {}, &GgufTensor::name);
  if (twin != tensors_.end())
    throw bad_input(fmt::format("{}: tensor {}: expected once, got it twice", label(), quote(twin->name)));
}

const GgufTensor* GgufFile::find(std::string_view name) const noexcept {
  const auto at = std::ranges::lower_bound(tensors_, name, {},
                                           [](const GgufTensor& t) { return std::string_view(t.name); });
  return at != tensors_.end() && at->name == name ? &*at : nullptr;
}

}  // namespace facet
