#include "text/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/quote.h"

namespace facet::text {
namespace {

using Json = nlohmann::ordered_json;
using Shape = JsonSchema::Shape;
using Index = JsonSchema::Index;

constexpr int64_t kMaxLength = INT32_MAX;

/// Whether `keyword` only tells of the value, or holds schemas for others to refer to.
bool is_annotation(std::string_view keyword) {
  constexpr std::array kAnnotations = {"title",    "description", "default", "examples",
                                       "example",  "deprecated",  "$schema", "$comment",
                                       "readOnly", "writeOnly",   "$defs",   "definitions"};
  return std::find(kAnnotations.begin(), kAnnotations.end(), keyword) != kAnnotations.end();
}

constexpr uint8_t bit(Shape::Type type) noexcept {
  return static_cast<uint8_t>(1U << static_cast<unsigned>(type));
}

/// The types whose values a keyword speaks of; 0 for a keyword that is none of these.
uint8_t types_of(std::string_view keyword) {
  if (keyword == "properties" || keyword == "required" || keyword == "additionalProperties")
    return bit(Shape::Type::kObject);
  if (keyword == "items" || keyword == "minItems" || keyword == "maxItems") return bit(Shape::Type::kArray);
  if (keyword == "minLength" || keyword == "maxLength") return bit(Shape::Type::kString);
  return 0;
}

/// A type by its name in schemas; those with few values are literals.
struct TypeName {
  std::string_view name;
  Shape::Type type;
  std::vector<std::string> literals;
  bool (*holds)(const Json&);
};

bool is_whole(const Json& value) {
  return value.is_number_integer();
}

const std::vector<TypeName>& type_names() {
  static const std::vector<TypeName> kNames = {
      {"string", Shape::Type::kString, {}, [](const Json& v) { return v.is_string(); }},
      {"number", Shape::Type::kNumber, {}, [](const Json& v) { return v.is_number(); }},
      {"integer", Shape::Type::kInteger, {}, is_whole},
      {"object", Shape::Type::kObject, {}, [](const Json& v) { return v.is_object(); }},
      {"array", Shape::Type::kArray, {}, [](const Json& v) { return v.is_array(); }},
      {"boolean", Shape::Type::kLiteral, {"true", "false"}, [](const Json& v) { return v.is_boolean(); }},
      {"null", Shape::Type::kLiteral, {"null"}, [](const Json& v) { return v.is_null(); }}};
  return kNames;
}

/// A key's JSON without its opening quotation mark.
std::string key_text(const std::string& name) {
  return Json(name).dump().substr(1);
}

}  // namespace

/// Compiles breadth first, so that no schema makes it recurse.
class JsonSchema::Compiler {
 public:
  Compiler(const Json& root, JsonSchema& result) : root_(root), result_(result) {}

  void run() {
    (void)value_of(root_, "");
    while (!pending_.empty()) {
      const Pending next = std::move(pending_.front());
      pending_.pop_front();
      compile(next);
    }
    for (size_t i = 0; i < result_.values_.size(); ++i) flatten(i);
    find_depths();
    if (result_.values_[kRoot].depth > kMaxDepth)
      throw fail("", fmt::format("no value of at most {} levels satisfies it", kMaxDepth));
  }

 private:
  struct Pending {
    const Json* schema;
    Index index;
    std::string path;  // "properties.a.items", empty at the root
  };

  static Error fail(std::string_view path, std::string_view message) {
    return bad_input(fmt::format("{}{}{}", path, path.empty() ? "" : ": ", message));
  }
  static std::string join(const std::string& path, std::string_view key) {
    return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
  }

  Index new_value(const std::string& path) {
    if (result_.values_.size() == kMaxValues)
      throw fail(path, fmt::format("more than {} schemas", kMaxValues));
    result_.values_.emplace_back();
    aliases_.emplace_back();
    return static_cast<Index>(result_.values_.size() - 1);
  }

  Index add_shape(Shape shape) {
    std::sort(shape.literals.begin(), shape.literals.end());
    shape.literals.erase(std::unique(shape.literals.begin(), shape.literals.end()), shape.literals.end());
    result_.shapes_.push_back(std::move(shape));  // at most six a value
    return static_cast<Index>(result_.shapes_.size() - 1);
  }

  /// What `schema` stands for, compiled later if it has not been met before.
  Index value_of(const Json& schema, std::string path) {
    if (schema.is_boolean()) return schema.get<bool>() ? any(path) : new_value(path);
    if (!schema.is_object()) throw fail(path, "expected a schema: an object, true or false");
    const auto [slot, is_new] = known_.try_emplace(&schema, kNone);
    if (is_new) {
      slot->second = new_value(path);
      pending_.push_back({&schema, slot->second, std::move(path)});
    }
    return slot->second;
  }

  /// Any value at all.
  Index any(const std::string& path) {
    if (any_ != kNone) return any_;
    any_ = new_value(path);
    std::vector<Index> shapes;
    for (const Shape::Type type :
         {Shape::Type::kString, Shape::Type::kNumber, Shape::Type::kObject, Shape::Type::kArray}) {
      Shape shape;
      shape.type = type;
      shape.rest = any_;
      shapes.push_back(add_shape(std::move(shape)));
    }
    Shape literals;
    literals.literals = {"false", "null", "true"};
    shapes.push_back(add_shape(std::move(literals)));
    result_.values_[any_].shapes = std::move(shapes);
    return any_;
  }

  void compile(const Pending& at) {
    std::string reference;  // the keyword that makes this value another
    std::string assertion;  // the last keyword that says something itself
    uint8_t spoken_of = 0;
    for (const auto& [key, argument] : at.schema->items()) {
      if (is_annotation(key) || (key == "$id" && at.path.empty())) continue;
      if (key == "$ref" || key == "anyOf" || key == "allOf") {
        if (!reference.empty()) assertion = key;
        reference = key;
      } else if (key == "type" || key == "enum" || key == "const" || types_of(key) != 0) {
        assertion = key;
        spoken_of |= types_of(key);
      } else {
        throw fail(join(at.path, quote(key)), "this keyword is not supported");
      }
    }
    if (!reference.empty() && !assertion.empty())
      throw fail(join(at.path, assertion), fmt::format("not supported next to {}", reference));
    if (!reference.empty()) return refer(at, reference);
    if (at.schema->contains("enum") || at.schema->contains("const")) return add_literals(at, spoken_of);
    add_types(at, spoken_of);
  }

  void refer(const Pending& at, const std::string& keyword) {
    const Json& argument = at.schema->at(keyword);
    const std::string path = join(at.path, keyword);
    if (keyword == "$ref") {
      const Index target = value_of(resolve(argument, path), path);
      aliases_[at.index].push_back(target);
      return;
    }
    if (!argument.is_array() || argument.empty()) throw fail(path, "expected an array of schemas");
    if (keyword == "allOf" && argument.size() != 1) throw fail(path, "supported with one schema only");
    if (argument.size() > kMaxAlternatives)
      throw fail(path, fmt::format("expected at most {} schemas, got {}", kMaxAlternatives, argument.size()));
    for (size_t i = 0; i < argument.size(); ++i) {
      const Index target = value_of(argument[i], fmt::format("{}[{}]", path, i));
      aliases_[at.index].push_back(target);
    }
  }

  const Json& resolve(const Json& argument, const std::string& path) const {
    const std::string* text = argument.get_ptr<const std::string*>();
    if (text == nullptr || text->empty() || text->front() != '#' || text->find('%') != std::string::npos)
      throw fail(path, "expected a pointer into the same schema: \"#/$defs/NAME\"");
    try {
      const Json::json_pointer pointer(text->substr(1));
      if (root_.contains(pointer)) return root_.at(pointer);
    } catch (const Json::exception&) {  // not a pointer: fall through
    }
    throw fail(path, fmt::format("{} leads nowhere", quote(*text)));
  }

  /// The types that `type` lists, or that the other keywords suggest.
  std::vector<const TypeName*> types_named(const Pending& at, uint8_t spoken_of) const {
    std::vector<const TypeName*> types;
    const auto type = at.schema->find("type");
    if (type == at.schema->end()) {
      // Keywords for objects alone mean an object.
      const bool single = spoken_of != 0 && (spoken_of & (spoken_of - 1)) == 0;
      for (const TypeName& name : type_names())
        if (!single || bit(name.type) == spoken_of) types.push_back(&name);
    } else {
      const std::string path = join(at.path, "type");
      const auto add = [&](const Json& one) {
        const std::string* text = one.get_ptr<const std::string*>();
        const auto found = std::find_if(type_names().begin(), type_names().end(), [&](const TypeName& name) {
          return text != nullptr && name.name == *text;
        });
        if (found == type_names().end())
          throw fail(path, "expected string, number, integer, object, array, boolean or null");
        if (std::find(types.begin(), types.end(), &*found) == types.end()) types.push_back(&*found);
      };
      if (type->is_array()) {
        for (const Json& one : *type) add(one);
      } else {
        add(*type);
      }
    }
    // A number may be whole anyway.
    const auto is = [](Shape::Type wanted) {
      return [wanted](const TypeName* name) { return name->type == wanted; };
    };
    if (std::any_of(types.begin(), types.end(), is(Shape::Type::kNumber)))
      std::erase_if(types, is(Shape::Type::kInteger));
    return types;
  }

  /// enum and const: the values themselves, as far as `type` allows them.
  void add_literals(const Pending& at, uint8_t spoken_of) {
    if (spoken_of != 0) throw fail(at.path, "enum and const are supported next to type only");
    const auto types = types_named(at, 0);
    Shape shape;
    const auto add = [&](const Json& value) {
      const bool fits =
          std::any_of(types.begin(), types.end(), [&](const TypeName* type) { return type->holds(value); });
      if (fits) shape.literals.push_back(value.dump());
    };
    if (const auto one = at.schema->find("const"); one != at.schema->end()) {
      if (at.schema->contains("enum")) throw fail(at.path, "enum and const exclude each other");
      add(*one);
    } else {
      const Json& list = at.schema->at("enum");
      if (!list.is_array() || list.empty() || list.size() > kMaxItems)
        throw fail(join(at.path, "enum"), fmt::format("expected an array of 1 to {} values", kMaxItems));
      for (const Json& value : list) add(value);
    }
    if (!shape.literals.empty()) result_.values_[at.index].shapes.push_back(add_shape(std::move(shape)));
  }

  void add_types(const Pending& at, uint8_t spoken_of) {
    Shape literals;
    for (const TypeName* type : types_named(at, spoken_of)) {
      if (!type->literals.empty()) {
        literals.literals.insert(literals.literals.end(), type->literals.begin(), type->literals.end());
        continue;
      }
      Shape shape;
      shape.type = type->type;
      if (shape.type == Shape::Type::kString) read_bounds(at, "minLength", "maxLength", kMaxLength, shape);
      if (shape.type == Shape::Type::kArray) {
        read_bounds(at, "minItems", "maxItems", kMaxItems, shape);
        shape.rest = member_value(at, "items", /*otherwise=*/true);
      }
      if (shape.type == Shape::Type::kObject) read_object(at, shape);
      const Index index = add_shape(std::move(shape));
      result_.values_[at.index].shapes.push_back(index);
    }
    if (literals.literals.empty()) return;
    const Index index = add_shape(std::move(literals));
    result_.values_[at.index].shapes.push_back(index);
  }

  static void read_bounds(const Pending& at, const char* least, const char* most, int64_t limit,
                          Shape& shape) {
    const auto read = [&](const char* key, uint32_t& bound) {
      const auto found = at.schema->find(key);
      if (found == at.schema->end()) return;
      const int64_t value = found->is_number_integer() ? found->get<int64_t>() : -1;
      if (value < 0 || value > limit)
        throw fail(join(at.path, key), fmt::format("expected an integer from 0 to {}", limit));
      bound = static_cast<uint32_t>(value);
    };
    read(least, shape.least);
    read(most, shape.most);
  }

  /// The schema under `keyword`; without it any value, or none.
  Index member_value(const Pending& at, const char* keyword, bool otherwise) {
    const auto found = at.schema->find(keyword);
    if (found == at.schema->end()) return otherwise ? any(at.path) : kNone;
    if (found->is_boolean() && !found->get<bool>()) return kNone;
    return value_of(*found, join(at.path, keyword));
  }

  void read_object(const Pending& at, Shape& shape) {
    const auto properties = at.schema->find("properties");
    const bool names_some = properties != at.schema->end();
    shape.rest = member_value(at, "additionalProperties", /*otherwise=*/!names_some);
    std::map<std::string, size_t> places;
    const auto add = [&](const std::string& name, Index value) {
      if (shape.properties.size() == kMaxProperties)
        throw fail(at.path, fmt::format("more than {} properties", kMaxProperties));
      places[name] = shape.properties.size();
      shape.properties.push_back({key_text(name), value, false});
    };
    if (names_some) {
      const std::string path = join(at.path, "properties");
      if (!properties->is_object()) throw fail(path, "expected an object");
      for (const auto& [name, schema] : properties->items())
        add(name, value_of(schema, join(path, quote(name))));
    }
    const auto required = at.schema->find("required");
    if (required == at.schema->end()) return;
    const std::string path = join(at.path, "required");
    if (!required->is_array()) throw fail(path, "expected an array of names");
    for (const Json& name : *required) {
      const std::string* text = name.get_ptr<const std::string*>();
      if (text == nullptr) throw fail(path, "expected an array of names");
      if (!places.contains(*text)) add(*text, shape.rest == kNone ? new_value(path) : shape.rest);
      const size_t place = places[*text];
      shape.properties[place].required = true;
      shape.least = std::max(shape.least, static_cast<uint32_t>(place) + 1);
    }
  }

  /// Gathers the shapes of the values that `index` stands for.
  void flatten(size_t index) {
    if (aliases_[index].empty()) return;
    std::set<Index> seen;
    std::vector<Index> shapes;
    std::vector<Index> open = {static_cast<Index>(index)};
    while (!open.empty()) {
      const Index at = open.back();
      open.pop_back();
      if (!seen.insert(at).second) continue;
      open.insert(open.end(), aliases_[at].rbegin(), aliases_[at].rend());
      if (!aliases_[at].empty()) continue;
      const std::vector<Index>& more = result_.values_[at].shapes;
      shapes.insert(shapes.end(), more.begin(), more.end());
    }
    if (shapes.size() > kMaxAlternatives)
      throw fail("", fmt::format("more than {} forms of one value", kMaxAlternatives));
    result_.values_[index].shapes = std::move(shapes);
  }

  /// The least levels of each value. What asks for itself without end stays at kNever.
  void find_depths() {
    bool changed = true;
    while (changed) {  // each round settles one more level, at most kMaxDepth of them
      changed = false;
      for (Shape& shape : result_.shapes_) {
        const uint8_t depth = shape_depth(shape);
        changed |= depth < shape.depth;
        shape.depth = std::min(shape.depth, depth);
      }
      for (Value& value : result_.values_)
        for (const Index shape : value.shapes)
          value.depth = std::min(value.depth, result_.shapes_[shape].depth);
    }
  }

  [[nodiscard]] uint8_t shape_depth(const Shape& shape) const {
    if (shape.least > shape.most) return kNever;
    if (shape.type != Shape::Type::kObject && shape.type != Shape::Type::kArray) return 0;
    uint8_t inner = 0;
    const auto need = [&](Index value) {
      inner = std::max(inner, value == kNone ? kNever : result_.values_[value].depth);
    };
    if (shape.type == Shape::Type::kArray && shape.least > 0) need(shape.rest);
    for (const Property& property : shape.properties)
      if (property.required) need(property.value);
    return inner >= kMaxDepth ? kNever : static_cast<uint8_t>(inner + 1);
  }

  const Json& root_;
  JsonSchema& result_;
  std::map<const Json*, Index> known_;
  std::deque<Pending> pending_;
  std::vector<std::vector<Index>> aliases_;  // [values] the values that each stands for
  Index any_ = kNone;
};

JsonSchema::JsonSchema(const Json& schema) {
  Compiler(schema, *this).run();
}

JsonSchema JsonSchema::any_object() {
  return JsonSchema(Json{{"type", "object"}});
}

}  // namespace facet::text
