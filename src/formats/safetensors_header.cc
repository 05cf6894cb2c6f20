// The header of a safetensors file, read event by event: nothing is built that the format does not hold, so
// a header that lies costs no more memory than its own text.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/quote.h"
#include "formats/safetensors.h"

namespace facet {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 8;
constexpr size_t kMaxNameBytes = 1024;

constexpr std::array<std::pair<std::string_view, DType>, 13> kDTypes = {{
    {"F32", DType::kF32},
    {"F16", DType::kF16},
    {"BF16", DType::kBF16},
    {"F64", DType::kF64},
    {"I64", DType::kI64},
    {"I32", DType::kI32},
    {"I16", DType::kI16},
    {"I8", DType::kI8},
    {"U64", DType::kU64},
    {"U32", DType::kU32},
    {"U16", DType::kU16},
    {"U8", DType::kU8},
    {"BOOL", DType::kBool},
}};

/// One entry of the header as it was written, before its extents are checked.
struct Entry {
  std::string name;
  std::optional<DType> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

/// A state machine over the only shape a header may have:
///   {"__metadata__": {string: string}, NAME: {"dtype": string, "shape": [n…], "data_offsets": [b, e]}, …}
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view label) : label_(label) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override {
    if (state_ != State::kMetadataObject) unexpected("null");
    state_ = State::kTop;  // MLX writes "__metadata__":null
    return true;
  }
  bool boolean(bool v) override { unexpected(v ? "true" : "false"); }
  bool number_integer(number_integer_t v) override { unexpected(fmt::format("{}", v)); }
  bool number_float(number_float_t /*v*/, const string_t& text) override { unexpected(quote(text, 40)); }
  bool binary(binary_t& /*v*/) override { unexpected("binary"); }

  bool number_unsigned(number_unsigned_t v) override {
    if (state_ == State::kDimensions) {
      if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) unexpected(fmt::format("{}", v));
      if (entry_.shape->size() == kMaxRank)
        throw at_tensor(fmt::format("shape: expected at most {} dimensions, got more", kMaxRank));
      entry_.shape->push_back(static_cast<int64_t>(v));
      return true;
    }
    if (state_ != State::kOffsetPair) unexpected(fmt::format("{}", v));
    if (entry_.offsets->size() == 2) throw at_tensor("data_offsets: expected 2 numbers, got more");
    entry_.offsets->push_back(v);
    return true;
  }

  bool string(string_t& v) override {
    if (state_ == State::kMetadataValue) {
      metadata_slot_->second = std::move(v);
      state_ = State::kMetadata;
      return true;
    }
    if (state_ != State::kDType) unexpected(quote(v, 40));
    const auto known = std::ranges::find(kDTypes, v, [](const auto& p) { return std::string_view(p.first); });
    if (known == kDTypes.end())
      throw at_tensor(
          fmt::format("dtype: expected one of F32, F16, BF16, F64, I64 … U8, BOOL, got {}", quote(v, 40)));
    entry_.dtype = known->second;
    state_ = State::kFields;
    return true;
  }

  bool start_object(size_t /*count*/) override {
    switch (state_) {
      case State::kRoot: state_ = State::kTop; return true;
      case State::kEntry: state_ = State::kFields; return true;
      case State::kMetadataObject: state_ = State::kMetadata; return true;
      default: unexpected("an object");
    }
  }

  bool start_array(size_t /*count*/) override {
    if (state_ == State::kShape) {
      entry_.shape.emplace();
      state_ = State::kDimensions;
    } else if (state_ == State::kOffsets) {
      entry_.offsets.emplace();
      state_ = State::kOffsetPair;
    } else {
      unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    state_ = State::kFields;
    return true;
  }

  bool end_object() override {
    if (state_ == State::kFields) finish_entry();
    state_ = state_ == State::kTop ? State::kDone : State::kTop;
    return true;
  }

  bool key(string_t& name) override {
    if (state_ == State::kTop)
      start_member(name);
    else if (state_ == State::kMetadata)
      start_metadata(name);
    else
      start_field(name);
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    throw bad_input(fmt::format("{}: header: bad JSON near byte {}", label_, position));
  }

 private:
  enum class State : uint8_t {
    kRoot,            // before the first brace
    kTop,             // between members
    kMetadataObject,  // after the key __metadata__
    kMetadata,        // inside it
    kMetadataValue,   // after one of its keys
    kEntry,           // after a tensor's name
    kFields,          // inside its object
    kDType,
    kShape,
    kDimensions,
    kOffsets,
    kOffsetPair,
    kDone,
  };

  [[nodiscard]] Error at_tensor(std::string_view message) const {
    return bad_input(fmt::format("{}: tensor {}: {}", label_, quote(entry_.name), message));
  }

  [[noreturn]] void unexpected(std::string_view got) const {
    switch (state_) {
      case State::kRoot:
        throw bad_input(fmt::format("{}: header: expected a JSON object, got {}", label_, got));
      case State::kMetadataObject:
      case State::kMetadata:
        throw bad_input(fmt::format("{}: header: __metadata__: expected an object, got {}", label_, got));
      case State::kMetadataValue:
        throw bad_input(fmt::format("{}: header: __metadata__: {}: expected a string, got {}", label_,
                                    quote(metadata_slot_->first), got));
      case State::kDType: throw at_tensor(fmt::format("dtype: expected a string, got {}", got));
      case State::kShape: throw at_tensor(fmt::format("shape: expected an array, got {}", got));
      case State::kOffsets: throw at_tensor(fmt::format("data_offsets: expected an array, got {}", got));
      case State::kDimensions:
        throw at_tensor(fmt::format("shape: expected integers from 0 to 2^63 - 1, got {}", got));
      case State::kOffsetPair:
        throw at_tensor(fmt::format("data_offsets: expected integers of at least 0, got {}", got));
      default: throw at_tensor(fmt::format("expected an object, got {}", got));
    }
  }

  void start_member(string_t& name) {
    if (name == "__metadata__") {
      if (std::exchange(metadata_seen_, true))
        throw bad_input(fmt::format("{}: header: duplicate key \"__metadata__\"", label_));
      state_ = State::kMetadataObject;
      return;
    }
    entry_ = Entry{.name = std::move(name), .dtype = {}, .shape = {}, .offsets = {}};
    const std::string& n = entry_.name;
    if (n.empty() || n.size() > kMaxNameBytes)
      throw at_tensor(fmt::format("expected a name of 1 to {} bytes, got {}", kMaxNameBytes, n.size()));
    if (std::ranges::any_of(n, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
      throw at_tensor("expected a name without control characters");
    state_ = State::kEntry;
  }

  void start_metadata(string_t& name) {
    const auto [slot, inserted] = metadata.try_emplace(std::move(name));
    if (!inserted)
      throw bad_input(fmt::format("{}: header: __metadata__: duplicate key {}", label_, quote(slot->first)));
    metadata_slot_ = &*slot;
    state_ = State::kMetadataValue;
  }

  void start_field(string_t& name) {
    if (name == "dtype")
      state_ = State::kDType;
    else if (name == "shape")
      state_ = State::kShape;
    else if (name == "data_offsets")
      state_ = State::kOffsets;
    else
      throw at_tensor(fmt::format("expected dtype, shape and data_offsets, got {}", quote(name)));
    const bool seen = (state_ == State::kDType && entry_.dtype) ||
                      (state_ == State::kShape && entry_.shape) ||
                      (state_ == State::kOffsets && entry_.offsets);
    if (seen) throw at_tensor(fmt::format("duplicate key {}", quote(name)));
  }

  void finish_entry() {
    if (!entry_.dtype) throw at_tensor("dtype: expected a value, got nothing");
    if (!entry_.shape) throw at_tensor("shape: expected a value, got nothing");
    if (!entry_.offsets || entry_.offsets->size() != 2)
      throw at_tensor(fmt::format("data_offsets: expected 2 numbers, got {}",
                                  entry_.offsets ? entry_.offsets->size() : 0));
    entries.push_back(std::move(entry_));
  }

  std::string_view label_;
  State state_ = State::kRoot;
  Entry entry_;
  std::pair<const std::string, std::string>* metadata_slot_ = nullptr;
  bool metadata_seen_ = false;
};

/// Checks one entry against the data section and makes its view.
StoredTensor place(Entry&& entry, std::span<const std::byte> data, std::string_view label) {
  const auto fail = [&](std::string_view message) {
    return bad_input(fmt::format("{}: tensor {}: {}", label, quote(entry.name), message));
  };
  const uint64_t begin = (*entry.offsets)[0];
  const uint64_t end = (*entry.offsets)[1];
  if (end < begin)
    throw fail(fmt::format("data_offsets: expected an end of at least {}, got {}", begin, end));
  if (end > data.size())
    throw fail(fmt::format("data_offsets: expected an end of at most {} (the data in the file), got {}",
                           data.size(), end));
  std::optional<uint64_t> bytes = dtype_size(*entry.dtype);
  for (const int64_t dim : *entry.shape) {
    if (bytes) bytes = checked_mul(*bytes, static_cast<uint64_t>(dim));
  }
  if (!bytes) throw fail(fmt::format("shape: {} has more bytes than 2^64", shape_text(*entry.shape)));
  if (*bytes != end - begin)
    throw fail(fmt::format("data_offsets: expected {} bytes for {} {}, got {}", *bytes,
                           dtype_name(*entry.dtype), shape_text(*entry.shape), end - begin));
  return {std::move(entry.name), *entry.dtype, *std::move(entry.shape), data.subspan(begin, end - begin)};
}

/// In order of offset the tensors must follow one another from 0 to the end of the data.
void check_coverage(std::vector<StoredTensor>& tensors, std::span<const std::byte> data,
                    std::string_view label) {
  std::ranges::sort(tensors, {},
                    [](const StoredTensor& t) { return std::pair(t.bytes.data(), t.bytes.size()); });
  const std::byte* at = data.data();
  for (const StoredTensor& tensor : tensors) {
    const std::byte* begin = tensor.bytes.data();
    if (begin != at)
      throw bad_input(fmt::format("{}: tensor {}: data_offsets: expected a start at {} (no {}), got {}",
                                  label, quote(tensor.name), at - data.data(),
                                  begin < at ? "overlap" : "hole", begin - data.data()));
    at += tensor.bytes.size();
  }
  const auto covered = static_cast<uint64_t>(at - data.data());
  if (covered != data.size())
    throw bad_input(fmt::format("{}: expected {} bytes of tensors after the header, got {}", label, covered,
                                data.size()));
}

std::string_view header_text(std::span<const std::byte> file, std::string_view label) {
  if (file.size() < kLengthBytes)
    throw bad_input(fmt::format("{}: expected at least 8 bytes of safetensors, got {}", label, file.size()));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes)
    throw bad_input(
        fmt::format("{}: header: expected at most {} bytes, got {}", label, kMaxHeaderBytes, length));
  if (length > file.size() - kLengthBytes)
    throw bad_input(fmt::format("{}: header: expected at most the {} bytes that follow its length, got {}",
                                label, file.size() - kLengthBytes, length));
  return {reinterpret_cast<const char*>(file.data()) + kLengthBytes, length};
}

}  // namespace

std::string shape_text(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, std::string_view label) {
  const std::string_view text = header_text(file, label);
  if (text.empty() || text.front() != '{')
    throw bad_input(fmt::format("{}: header: expected a JSON object, got {}", label,
                                text.empty() ? "nothing" : quote(text.substr(0, 16))));
  HeaderReader reader(label);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);

  const std::span<const std::byte> data = file.subspan(kLengthBytes + text.size());
  SafetensorsHeader header;
  header.metadata = std::move(reader.metadata);
  header.tensors.reserve(reader.entries.size());
  // Each extent alone first: its message says more than "hole" or "overlap".
  for (Entry& entry : reader.entries) header.tensors.push_back(place(std::move(entry), data, label));
  check_coverage(header.tensors, data, label);
  std::ranges::sort(header.tensors, {}, &StoredTensor::name);
  const auto twin = std::ranges::adjacent_find(header.tensors, {}, &StoredTensor::name);
  if (twin != header.tensors.end())
    throw bad_input(fmt::format("{}: header: duplicate key {}", label, quote(twin->name)));
  return header;
}

}  // namespace facet
