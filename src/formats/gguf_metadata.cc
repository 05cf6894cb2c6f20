#include "formats/gguf_metadata.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/quote.h"

namespace facet {
namespace {

template <typename T>
T load(std::span<const std::byte> bytes, uint64_t index) noexcept {
  T value{};
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

bool is_integer(GgufType type) noexcept {
  switch (type) {
    case GgufType::kF32:
    case GgufType::kF64:
    case GgufType::kBool:
    case GgufType::kString:
    case GgufType::kArray: return false;
    default: return true;
  }
}

/// Element `index` of an integer type; nothing when it is beyond int64.
std::optional<int64_t> load_integer(const GgufValue& value, uint64_t index) noexcept {
  switch (value.type) {
    case GgufType::kU8: return load<uint8_t>(value.bytes, index);
    case GgufType::kI8: return load<int8_t>(value.bytes, index);
    case GgufType::kU16: return load<uint16_t>(value.bytes, index);
    case GgufType::kI16: return load<int16_t>(value.bytes, index);
    case GgufType::kU32: return load<uint32_t>(value.bytes, index);
    case GgufType::kI32: return load<int32_t>(value.bytes, index);
    case GgufType::kI64: return load<int64_t>(value.bytes, index);
    default: {
      const auto wide = load<uint64_t>(value.bytes, index);
      if (wide > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<int64_t>(wide);
    }
  }
}

std::string kind(const GgufValue& value) {
  if (!value.is_array) return std::string(gguf_type_name(value.type));
  return fmt::format("an array of {} {}", value.count, gguf_type_name(value.type));
}

}  // namespace

std::string_view gguf_type_name(GgufType type) noexcept {
  switch (type) {
    case GgufType::kU8: return "u8";
    case GgufType::kI8: return "i8";
    case GgufType::kU16: return "u16";
    case GgufType::kI16: return "i16";
    case GgufType::kU32: return "u32";
    case GgufType::kI32: return "i32";
    case GgufType::kF32: return "f32";
    case GgufType::kBool: return "bool";
    case GgufType::kString: return "string";
    case GgufType::kArray: return "array";
    case GgufType::kU64: return "u64";
    case GgufType::kI64: return "i64";
    case GgufType::kF64: return "f64";
  }
  return "?";
}

size_t gguf_type_size(GgufType type) noexcept {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool: return 1;
    case GgufType::kU16:
    case GgufType::kI16: return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32: return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64: return 8;
    default: return 0;
  }
}

bool GgufMetadata::add(std::string_view key, GgufValue value) {
  return values_.try_emplace(std::string(key), value).second;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufValue* GgufMetadata::find_array(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value != nullptr && !value->is_array) throw unexpected(key, "an array", kind(*value));
  return value;
}

Error GgufMetadata::unexpected(std::string_view key, std::string_view expected, std::string_view got) const {
  return bad_input(fmt::format("{}: {}: expected {}, got {}", label_, key, expected, got));
}

std::optional<std::string_view> GgufMetadata::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || value->type != GgufType::kString) throw unexpected(key, "a string", kind(*value));
  const auto text = value->bytes.subspan(sizeof(uint64_t));
  return std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

int GgufMetadata::integer_at(std::string_view key, const GgufValue& value, uint64_t index, int64_t low,
                             int64_t high) const {
  if (!is_integer(value.type)) throw unexpected(key, "integers", kind(value));
  const auto number = load_integer(value, index);
  if (!number || *number < low || *number > high)
    throw unexpected(key, fmt::format("an integer from {} to {}", low, high),
                     number ? std::to_string(*number) : "more than 2^63");
  return static_cast<int>(*number);
}

std::optional<int> GgufMetadata::integer(std::string_view key, int64_t low, int64_t high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array) throw unexpected(key, "an integer", kind(*value));
  return integer_at(key, *value, 0, low, high);
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const bool is_float = value->type == GgufType::kF32 || value->type == GgufType::kF64;
  if (value->is_array || !is_float) throw unexpected(key, "f32 or f64", kind(*value));
  const double number =
      value->type == GgufType::kF32 ? load<float>(value->bytes, 0) : load<double>(value->bytes, 0);
  if (!std::isfinite(number)) throw unexpected(key, "a finite number", fmt::format("{}", number));
  return number;
}

std::optional<bool> GgufMetadata::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_array || value->type != GgufType::kBool) throw unexpected(key, "a bool", kind(*value));
  return value->bytes.front() != std::byte{0};
}

std::optional<std::vector<int>> GgufMetadata::integers(std::string_view key, size_t count, int64_t low,
                                                       int64_t high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array) return std::vector<int>(count, integer_at(key, *value, 0, low, high));
  if (value->count != count) throw unexpected(key, fmt::format("{} integers", count), kind(*value));
  std::vector<int> numbers;
  for (uint64_t i = 0; i < count; ++i) numbers.push_back(integer_at(key, *value, i, low, high));
  return numbers;
}

std::optional<std::vector<bool>> GgufMetadata::booleans(std::string_view key, size_t count) const {
  const GgufValue* value = find_array(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kBool || value->count != count)
    throw unexpected(key, fmt::format("{} bools", count), kind(*value));
  std::vector<bool> flags;
  for (const std::byte flag : value->bytes) flags.push_back(flag != std::byte{0});
  return flags;
}

std::optional<std::vector<float>> GgufMetadata::floats(std::string_view key, size_t count) const {
  const GgufValue* value = find_array(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kF32 || value->count != count)
    throw unexpected(key, fmt::format("{} f32", count), kind(*value));
  std::vector<float> numbers(count);
  if (!numbers.empty()) std::memcpy(numbers.data(), value->bytes.data(), value->bytes.size());
  return numbers;
}

bool GgufMetadata::is_array(std::string_view key) const {
  const GgufValue* value = find(key);
  return value != nullptr && value->is_array;
}

uint64_t GgufMetadata::array_size(std::string_view key) const {
  const GgufValue* value = find_array(key);
  return value == nullptr ? 0 : value->count;
}

void GgufMetadata::each_string(std::string_view key,
                               const std::function<void(size_t, std::string_view)>& visit) const {
  const GgufValue* value = find_array(key);
  if (value == nullptr) return;
  if (value->type != GgufType::kString) throw unexpected(key, "an array of strings", kind(*value));
  std::span<const std::byte> rest = value->bytes;  // its lengths were checked when the file was opened
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto length = load<uint64_t>(rest, 0);
    visit(i, {reinterpret_cast<const char*>(rest.data()) + sizeof length, length});
    rest = rest.subspan(sizeof length + length);
  }
}

}  // namespace facet
