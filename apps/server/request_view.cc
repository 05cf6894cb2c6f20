#include "server/request_view.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "base/quote.h"
#include "formats/json.h"

namespace facet::server {
namespace {

/// What a value is, without its text.
std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return fmt::format("an array of {}", value.size());
    case Json::value_t::string: return "a string";
    case Json::value_t::boolean: return value.get<bool>() ? "true" : "false";
    case Json::value_t::number_unsigned: return fmt::format("{}", value.get<uint64_t>());
    case Json::value_t::number_integer: return fmt::format("{}", value.get<int64_t>());
    default: return fmt::format("{}", value.get<double>());
  }
}

}  // namespace

std::optional<RequestView> RequestView::find(std::string_view key) const {
  const Json& members = object();
  const auto found = members.find(key);
  if (found == members.end() || found->is_null()) return std::nullopt;
  return RequestView(*found, path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key));
}

RequestView RequestView::at(std::string_view key) const {
  if (auto found = find(key)) return *std::move(found);
  const std::string path = path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  throw ApiError(400, fmt::format("{}: this field is required", path), path);
}

RequestView RequestView::element(size_t index) const {
  return RequestView((*value_)[index], fmt::format("{}[{}]", path_, index));
}

size_t RequestView::array(size_t least, size_t most) const {
  if (!value_->is_array() || value_->size() < least || value_->size() > most)
    throw unexpected(fmt::format("an array of {} to {}", least, most));
  return value_->size();
}

const Json& RequestView::object() const {
  if (!value_->is_object()) throw unexpected("an object");
  return *value_;
}

int64_t RequestView::integer(int64_t low, int64_t high) const {
  const bool fits = value_->is_number_integer() &&
                    (!value_->is_number_unsigned() || value_->get<uint64_t>() <= uint64_t{INT64_MAX});
  if (!fits || value_->get<int64_t>() < low || value_->get<int64_t>() > high)
    throw unexpected(fmt::format("an integer from {} to {}", low, high));
  return value_->get<int64_t>();
}

float RequestView::number(double low, double high) const {
  const double number = value_->is_number() ? value_->get<double>() : std::nan("");
  if (!(number >= low && number <= high)) throw unexpected(fmt::format("a number from {} to {}", low, high));
  return static_cast<float>(number);
}

bool RequestView::boolean() const {
  if (!value_->is_boolean()) throw unexpected("true or false");
  return value_->get<bool>();
}

const std::string& RequestView::string() const {
  if (!value_->is_string()) throw unexpected("a string");
  return value_->get_ref<const std::string&>();
}

ApiError RequestView::unexpected(std::string_view expected) const {
  return error(fmt::format("expected {}, got {}", expected, describe(*value_)));
}

ApiError RequestView::error(std::string_view message) const {
  const std::string_view what = path_.empty() ? std::string_view("the request") : std::string_view(path_);
  return {400, fmt::format("{}: {}", what, message), path_};
}

Json parse_request(std::string_view body) {
  Json json;
  try {
    json = parse_json(body, "the request");
  } catch (const Error& error) {
    // The parser's message goes on to quote the text near the fault.
    std::string message = error.what();
    message.resize(std::min(message.find("; last read"), message.size()));
    throw ApiError(400, message);
  }
  if (!json.is_object()) throw ApiError(400, "the request: expected a JSON object");
  return json;
}

}  // namespace facet::server
