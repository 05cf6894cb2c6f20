#include "formats/ordered_json.h"

#include "formats/json_builder.h"

namespace facet {
namespace {

/// Hands the events of one member on to a builder.
class MemberReader final : public nlohmann::json_sax<OrderedJson> {
 public:
  MemberReader(LimitedBuilder<OrderedJson>& builder, std::span<const std::string_view> path)
      : builder_(builder), path_(path) {}

  bool null() override { return !begins(false) || builder_.null(); }
  bool boolean(bool v) override { return !begins(false) || builder_.boolean(v); }
  bool number_integer(number_integer_t v) override { return !begins(false) || builder_.number_integer(v); }
  bool number_unsigned(number_unsigned_t v) override { return !begins(false) || builder_.number_unsigned(v); }
  bool number_float(number_float_t v, const string_t& text) override {
    return !begins(false) || builder_.number_float(v, text);
  }
  bool string(string_t& v) override { return !begins(false) || builder_.string(v); }
  bool binary(binary_t& v) override { return builder_.binary(v); }
  bool start_object(size_t count) override { return !begins(true) || builder_.start_object(count); }
  bool end_object() override { return !ends() || builder_.end_object(); }
  bool start_array(size_t count) override { return !begins(true) || builder_.start_array(count); }
  bool end_array() override { return !ends() || builder_.end_array(); }

  bool key(string_t& name) override {
    if (inside_ > 0) return builder_.key(name);
    on_path_ = matched_ + 1 == open_ && name == path_[matched_];
    return true;
  }

  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    return builder_.parse_error(position, token, error);
  }

 private:
  /// Whether the value that begins belongs to the member.
  bool begins(bool container) {
    if (inside_ > 0) {
      if (container) ++inside_;
      return true;
    }
    const bool on_path = std::exchange(on_path_, false);
    if (on_path && matched_ + 1 == path_.size()) {
      if (container) inside_ = 1;
      return true;
    }
    if (!container) return false;
    if (on_path) ++matched_;
    ++open_;
    return false;
  }

  /// Whether the container that ends does.
  bool ends() {
    if (inside_ > 0) {
      --inside_;
      return true;
    }
    --open_;
    if (matched_ > 0 && matched_ >= open_) --matched_;
    return false;
  }

  LimitedBuilder<OrderedJson>& builder_;
  std::span<const std::string_view> path_;
  size_t open_ = 0;     // containers around the next value, the member's own excepted
  size_t matched_ = 0;  // keys of the path that lead to the innermost object on it
  size_t inside_ = 0;   // containers of the member that are open
  bool on_path_ = false;
};

}  // namespace

OrderedJson parse_ordered_member(std::string_view text, std::string_view source,
                                 std::span<const std::string_view> path, const JsonLimits& limits) {
  LimitedBuilder<OrderedJson> builder(source, limits);
  MemberReader reader(builder, path);
  OrderedJson::sax_parse(text.begin(), text.end(), &reader);
  return builder.take();
}

}  // namespace facet
