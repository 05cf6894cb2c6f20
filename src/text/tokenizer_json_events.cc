#include "text/tokenizer_json_events.h"

#include <fmt/format.h>

#include <limits>

#include "base/error.h"
#include "base/quote.h"

namespace facet::text {
namespace {

using nlohmann::json;

constexpr size_t kMaxJsonDepth = 64;
constexpr size_t kVocabDepth = 3;  // inside {"model": {"vocab": { … }}}
constexpr size_t kMergeDepth = 4;  // inside {"model": {"merges": [[ … ]]}}

/// Receives the parser's events. model.vocab and model.merges go straight into vectors, the rest into a
/// small tree.
class Events final : public nlohmann::json_sax<json> {
 public:
  explicit Events(std::string_view source) : source_(source) {}

  TokenizerJson take() { return std::move(result_); }

  bool null() override { return value(nullptr); }
  bool boolean(bool v) override { return value(v); }
  bool number_float(number_float_t v, const string_t& /*text*/) override { return value(v); }
  bool binary(binary_t& /*v*/) override { return false; }  // not in JSON text

  bool number_integer(number_integer_t v) override {
    if (section_ != Section::kVocab) return value(v);
    result_.vocab.emplace_back(std::move(piece_), v);
    return true;
  }

  bool number_unsigned(number_unsigned_t v) override {
    if (section_ != Section::kVocab) return value(v);
    constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    result_.vocab.emplace_back(std::move(piece_), static_cast<int64_t>(std::min(v, kMax)));
    return true;
  }

  bool string(string_t& v) override {
    if (section_ != Section::kMerges) return value(std::move(v));
    if (depth_ == kMergeDepth) {
      if (pair_size_ < 2) result_.merges.back()[pair_size_] = std::move(v);
      ++pair_size_;
      return true;
    }
    const size_t space = v.find(' ');
    if (space == std::string::npos || v.find(' ', space + 1) != std::string::npos)
      refuse(
          fmt::format("merge {} is {}; expected two pieces and one space", result_.merges.size(), quote(v)));
    result_.merges.push_back({v.substr(0, space), v.substr(space + 1)});
    return true;
  }

  bool key(string_t& v) override {
    if (section_ == Section::kVocab) {
      piece_ = std::move(v);
      return true;
    }
    json& object = *open_.back();
    if (object.contains(v)) refuse(fmt::format("duplicate key {}", quote(v)));
    if (depth_ == 1) top_level_key_ = v;
    key_ = std::move(v);
    return true;
  }

  bool start_object(std::size_t /*size*/) override {
    descend();
    if (section_ == Section::kNone && in_model("vocab")) {
      (*open_.back())[key_] = json::object();  // marks the key as seen
      section_ = Section::kVocab;
      return true;
    }
    return open(json::object());
  }

  bool end_object() override {
    --depth_;
    if (section_ == Section::kVocab) {
      section_ = Section::kNone;
      return true;
    }
    open_.pop_back();
    return true;
  }

  bool start_array(std::size_t /*size*/) override {
    descend();
    if (section_ == Section::kNone && in_model("merges")) {
      (*open_.back())[key_] = json::array();
      section_ = Section::kMerges;
      return true;
    }
    if (section_ == Section::kMerges && depth_ == kMergeDepth) {
      result_.merges.emplace_back();
      pair_size_ = 0;
      return true;
    }
    return open(json::array());
  }

  bool end_array() override {
    --depth_;
    if (section_ != Section::kMerges) {
      open_.pop_back();
    } else if (depth_ + 1 < kMergeDepth) {
      section_ = Section::kNone;
    } else if (pair_size_ != 2) {
      refuse(fmt::format("merge {} has {} pieces; expected 2", result_.merges.size() - 1, pair_size_));
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    refuse(fmt::format("malformed JSON at byte {}", position));
  }

 private:
  enum class Section { kNone, kVocab, kMerges };

  [[noreturn]] void refuse(const std::string& what) const {
    throw bad_input(fmt::format("{}: {}", source_, what));
  }

  void descend() {
    if (++depth_ > kMaxJsonDepth) refuse(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
  }

  /// Whether the value that just began (depth_ counts it) is the model's member of that name.
  [[nodiscard]] bool in_model(std::string_view name) const {
    return depth_ == kVocabDepth && top_level_key_ == "model" && key_ == name && open_.back()->is_object();
  }

  bool open(json container) {
    place(std::move(container));
    return true;
  }

  bool value(json v) {
    place(std::move(v));
    return true;
  }

  void place(json v) {
    if (section_ == Section::kVocab)
      refuse(fmt::format("model.vocab: the id of {} is not an integer", quote(piece_)));
    if (section_ == Section::kMerges)
      refuse(fmt::format("merge {} is neither a string nor a pair of strings",
                         result_.merges.size() - (depth_ >= kMergeDepth ? 1 : 0)));
    json* placed = nullptr;
    if (open_.empty()) {
      if (!v.is_object()) refuse("expected a JSON object");
      result_.head = std::move(v);
      placed = &result_.head;
    } else if (open_.back()->is_object()) {
      placed = &(*open_.back())[key_];
      *placed = std::move(v);
    } else {
      open_.back()->push_back(std::move(v));
      placed = &open_.back()->back();
    }
    // An element that is added later may move this one, but only after it was closed.
    if (placed->is_structured()) open_.push_back(placed);
  }

  std::string_view source_;
  TokenizerJson result_;
  std::vector<json*> open_;  // the containers around the current value, in result_.head
  std::string top_level_key_;
  std::string key_;    // of the value to come, where open_.back() is an object
  std::string piece_;  // of the id to come
  size_t depth_ = 0;
  size_t pair_size_ = 0;
  Section section_ = Section::kNone;
};

}  // namespace

TokenizerJson parse_tokenizer_json(std::string_view bytes, std::string_view source) {
  Events events(source);
  if (!json::sax_parse(bytes, &events)) throw bad_input(fmt::format("{}: malformed JSON", source));
  return events.take();
}

}  // namespace facet::text
