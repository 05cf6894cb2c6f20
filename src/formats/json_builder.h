// How documents are built under limits: for the readers in this directory.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/quote.h"
#include "formats/json.h"

namespace facet {

/// nlohmann's message without its "[json.exception.parse_error.101] " and without the document's own text
/// beyond a line's worth.
inline std::string parser_message(const nlohmann::detail::exception& error) {
  std::string message = error.what();
  if (const size_t bracket = message.find("] "); bracket != std::string::npos) message.erase(0, bracket + 2);
  for (char& c : message)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  if (message.size() > 200) message = message.substr(0, 200) + "…";
  return message;
}

/// Builds the document while it counts depth and values, so that a limit is met before the memory is spent.
template <class Document>
class LimitedBuilder final : public nlohmann::json_sax<Document> {
 public:
  using Sax = nlohmann::json_sax<Document>;
  using typename Sax::binary_t;
  using typename Sax::number_float_t;
  using typename Sax::number_integer_t;
  using typename Sax::number_unsigned_t;
  using typename Sax::string_t;

  LimitedBuilder(std::string_view source, const JsonLimits& limits) : source_(source), limits_(limits) {}

  Document take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool v) override { return add(v); }
  bool number_integer(number_integer_t v) override { return add(v); }
  bool number_unsigned(number_unsigned_t v) override { return add(v); }
  bool number_float(number_float_t v, const string_t& /*text*/) override { return add(v); }
  bool string(string_t& v) override { return add(std::move(v)); }
  bool binary(binary_t& /*v*/) override {
    throw bad_input(fmt::format("{}: bad JSON: binary value", source_));
  }
  bool start_object(size_t /*count*/) override { return open(Document::object()); }
  bool end_object() override { return close(); }
  bool start_array(size_t /*count*/) override { return open(Document::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    auto& members = stack_.back()->template get_ref<typename Document::object_t&>();
    if (members.size() >= limits_.max_members)
      throw bad_input(
          fmt::format("{}: bad JSON: an object of more than {} members", source_, limits_.max_members));
    const auto [slot, inserted] = members.emplace(name, nullptr);
    if (!inserted && limits_.unique_keys)
      throw bad_input(fmt::format("{}: bad JSON: duplicate key {}", source_, quote(name)));
    member_ = &slot->second;
    return true;
  }

  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    throw bad_input(fmt::format("{}: bad JSON: {}", source_, parser_message(error)));
  }

 private:
  Document* place(Document&& value) {
    if (++values_ > limits_.max_values)
      throw bad_input(fmt::format("{}: bad JSON: more than {} values", source_, limits_.max_values));
    if (stack_.empty()) return &(root_ = std::move(value));
    if (stack_.back()->is_array())
      return &stack_.back()->template get_ref<typename Document::array_t&>().emplace_back(std::move(value));
    return &(*std::exchange(member_, nullptr) = std::move(value));
  }

  bool add(Document&& value) {
    place(std::move(value));
    return true;
  }

  bool open(Document&& container) {
    if (static_cast<int>(stack_.size()) >= limits_.max_depth)
      throw bad_input(fmt::format("{}: bad JSON: nested deeper than {}", source_, limits_.max_depth));
    stack_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view source_;
  const JsonLimits& limits_;
  Document root_;
  std::vector<Document*> stack_;  // open containers; a parent does not move while its child is open
  Document* member_ = nullptr;    // where the value after a key goes
  size_t values_ = 0;
};

}  // namespace facet
