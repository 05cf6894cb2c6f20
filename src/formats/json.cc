#include "formats/json.h"

#include <fmt/format.h>

#include <cmath>

#include "base/mapped_file.h"
#include "base/quote.h"
#include "formats/json_builder.h"

namespace facet {
namespace {

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return fmt::format("an array of {}", value.size());
    case Json::value_t::string: return quote(value.get_ref<const std::string&>(), 40);
    case Json::value_t::boolean: return value.get<bool>() ? "true" : "false";
    case Json::value_t::number_unsigned: return fmt::format("{}", value.get<uint64_t>());
    case Json::value_t::number_integer: return fmt::format("{}", value.get<int64_t>());
    default: return fmt::format("{}", value.get<double>());
  }
}

}  // namespace

Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    throw bad_input(fmt::format("{}: bad JSON: expected at most {} bytes, got {}", source, limits.max_bytes,
                                text.size()));
  LimitedBuilder<Json> builder(source, limits);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

Json parse_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  const MappedFile file(path);
  return parse_json(file.text(), path.string(), limits);
}

std::string JsonView::where() const {
  return path_.empty() ? source_ : fmt::format("{}: {}", source_, path_);
}

Error JsonView::unexpected(std::string_view expected) const {
  return bad_input(fmt::format("{}: expected {}, got {}", where(), expected, describe(*value_)));
}

const Json& JsonView::object() const {
  if (!value_->is_object()) throw unexpected("an object");
  return *value_;
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  const Json& members = object();
  const auto found = members.find(key);
  if (found == members.end() || found->is_null()) return std::nullopt;
  return JsonView(*found, source_, path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key));
}

JsonView JsonView::at(std::string_view key) const {
  if (auto found = find(key)) return *std::move(found);
  const std::string_view got = value_->contains(key) ? "null" : "nothing";
  throw bad_input(fmt::format("{}: {}{}{}: expected a value, got {}", source_, path_,
                              path_.empty() ? "" : ".", key, got));
}

JsonView JsonView::at(size_t index) const {
  return JsonView(value_->at(index), source_, fmt::format("{}[{}]", path_, index));
}

size_t JsonView::array_size() const {
  if (!value_->is_array()) throw unexpected("an array");
  return value_->size();
}

int JsonView::integer(int64_t low, int64_t high) const {
  const bool fits =
      value_->is_number_unsigned()
          ? value_->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
          : value_->is_number_integer();
  if (fits) {
    const auto v = value_->get<int64_t>();
    if (v >= low && v <= high) return static_cast<int>(v);
  }
  throw unexpected(fmt::format("an integer from {} to {}", low, high));
}

double JsonView::number() const {
  if (!value_->is_number() || !std::isfinite(value_->get<double>())) throw unexpected("a finite number");
  return value_->get<double>();
}

double JsonView::positive_number() const {
  if (!value_->is_number() || !std::isfinite(value_->get<double>()) || value_->get<double>() <= 0)
    throw unexpected("a positive finite number");
  return value_->get<double>();
}

bool JsonView::boolean() const {
  if (!value_->is_boolean()) throw unexpected("true or false");
  return value_->get<bool>();
}

const std::string& JsonView::string() const {
  if (!value_->is_string()) throw unexpected("a string");
  return value_->get_ref<const std::string&>();
}

int JsonView::integer_or(std::string_view key, int fallback, int64_t low, int64_t high) const {
  const auto found = find(key);
  return found ? found->integer(low, high) : fallback;
}

double JsonView::number_or(std::string_view key, double fallback) const {
  const auto found = find(key);
  return found ? found->number() : fallback;
}

bool JsonView::boolean_or(std::string_view key, bool fallback) const {
  const auto found = find(key);
  return found ? found->boolean() : fallback;
}

std::string JsonView::string_or(std::string_view key, std::string_view fallback) const {
  const auto found = find(key);
  return found ? found->string() : std::string(fallback);
}

}  // namespace facet
