// GGUF files built byte by byte, to lie in every way.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace facet::testing {

/// Little-endian bytes of a number.
template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_text(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

inline std::string gguf_header(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(pairs);
}

/// A key with a value of type number `type`.
inline std::string gguf_pair(std::string_view key, uint32_t type, std::string_view value) {
  return gguf_text(key) + raw(type) + std::string(value);
}

/// A description; `dims` innermost first.
inline std::string gguf_tensor(std::string_view name, std::initializer_list<uint64_t> dims, uint32_t type,
                               uint64_t offset) {
  std::string bytes = gguf_text(name) + raw(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) bytes += raw(dim);
  return bytes + raw(type) + raw(offset);
}

/// Pads to the data section and adds `data` zero bytes.
inline std::string with_data(std::string head, size_t data, size_t alignment = 32) {
  head.resize((head.size() + alignment - 1) / alignment * alignment, '\0');
  return head + std::string(data, '\0');
}

}  // namespace facet::testing
