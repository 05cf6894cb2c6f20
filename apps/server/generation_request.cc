#include <fmt/format.h>

#include <array>
#include <charconv>
#include <random>

#include "base/error.h"
#include "formats/ordered_json.h"
#include "server/api_request.h"

namespace facet::server {
namespace {

constexpr int64_t kIntMax = INT32_MAX;
constexpr size_t kMaxSchemaValues = size_t{1} << 16;

std::vector<std::string> read_stops(const RequestView& stop) {
  std::vector<std::string> stops;
  const auto add = [&](const RequestView& text) {
    if (text.string().empty() || text.string().size() > kMaxStopBytes)
      throw text.error(fmt::format("expected a string of 1 to {} bytes", kMaxStopBytes));
    stops.push_back(text.string());
  };
  if (stop.is_string()) {
    add(stop);
    return stops;
  }
  const size_t count = stop.array(0, kMaxStops);
  for (size_t i = 0; i < count; ++i) add(stop.element(i));
  return stops;
}

std::vector<std::pair<int32_t, float>> read_logit_bias(const RequestView& bias, int vocab_size) {
  const Json& members = bias.object();
  if (members.size() > kMaxLogitBias)
    throw bias.error(fmt::format("at most {} tokens are accepted", kMaxLogitBias));
  std::vector<std::pair<int32_t, float>> biases;
  for (const auto& [key, value] : members.items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc{} || end != key.data() + key.size() || id < 0 || id >= vocab_size)
      throw bias.error(fmt::format("keys are token ids from 0 to {}", vocab_size - 1));
    biases.emplace_back(id, RequestView(value, fmt::format("{}.{}", bias.path(), id)).number(-100, 100));
  }
  return biases;
}

uint64_t read_seed(const RequestView& seed) {
  const Json& value = seed.json();
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_number_integer()) return static_cast<uint64_t>(value.get<int64_t>());
  throw seed.unexpected("an integer of 64 bits");
}

uint64_t random_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

void read_sampling(const RequestView& request, int vocab_size, SamplingParams& sampling) {
  if (const auto v = request.find("temperature")) sampling.temperature = v->number(0, 100);
  if (const auto v = request.find("top_k"))
    sampling.top_k = static_cast<int>(std::max<int64_t>(0, v->integer(-1, kIntMax)));
  if (const auto v = request.find("top_p")) {
    sampling.top_p = v->number(0, 1);
    if (sampling.top_p <= 0) throw v->error("expected a number above 0, at most 1");
  }
  if (const auto v = request.find("min_p")) sampling.min_p = v->number(0, 1);
  if (const auto v = request.find("frequency_penalty")) sampling.frequency_penalty = v->number(-2, 2);
  if (const auto v = request.find("presence_penalty")) sampling.presence_penalty = v->number(-2, 2);
  if (const auto v = request.find("repetition_penalty")) sampling.repeat_penalty = v->number(0.01, 100);
  if (const auto v = request.find("logit_bias")) sampling.logit_bias = read_logit_bias(*v, vocab_size);
  const auto seed = request.find("seed");
  sampling.seed = seed ? read_seed(*seed) : random_seed();
}

AnswerFormat read_response_format(const RequestView& format) {
  const RequestView type = format.at("type");
  if (type.string() == "text") return AnswerFormat::kText;
  if (type.string() == "json_object") return AnswerFormat::kJsonObject;
  if (type.string() != "json_schema")
    throw type.error("expected \"text\", \"json_object\" or \"json_schema\"");
  const RequestView wrapper = format.at("json_schema");
  if (const auto name = wrapper.find("name")) (void)name->string();
  if (const auto strict = wrapper.find("strict")) (void)strict->boolean();  // it is held to in any case
  (void)wrapper.at("schema").object();
  return AnswerFormat::kJsonSchema;
}

}  // namespace

GenerationRequest read_generation_request(const RequestView& request, const RequestDefaults& defaults) {
  GenerationRequest generation;
  generation.sampling = defaults.sampling;
  if (const auto v = request.find("model")) (void)v->string();  // there is one; any name gets it
  read_sampling(request, defaults.vocab_size, generation.sampling);
  for (const char* key : {"max_tokens", "max_completion_tokens"})  // the newer name counts
    if (const auto v = request.find(key)) generation.max_tokens = static_cast<int>(v->integer(1, kIntMax));
  if (const auto v = request.find("n")) generation.choices = static_cast<int>(v->integer(1, kMaxChoices));
  if (const auto v = request.find("stop")) generation.stop = read_stops(*v);
  if (const auto v = request.find("stream")) generation.stream = v->boolean();
  if (const auto v = request.find("stream_options")) {
    (void)v->object();
    if (const auto usage = v->find("include_usage")) generation.include_usage = usage->boolean();
  }
  if (const auto v = request.find("ignore_eos")) generation.ignore_eos = v->boolean();
  if (const auto v = request.find("response_format")) generation.format = read_response_format(*v);
  return generation;
}

std::shared_ptr<const text::JsonSchema> read_answer_schema(AnswerFormat format, std::string_view body) {
  static const auto kAnyObject = std::make_shared<const text::JsonSchema>(text::JsonSchema::any_object());
  if (format == AnswerFormat::kJsonObject) return kAnyObject;
  constexpr std::array<std::string_view, 3> kPath = {"response_format", "json_schema", "schema"};
  constexpr std::string_view kField = "response_format.json_schema.schema";
  JsonLimits limits;
  limits.max_values = kMaxSchemaValues;
  limits.max_members = text::JsonSchema::kMaxProperties;
  try {
    return std::make_shared<const text::JsonSchema>(parse_ordered_member(body, kField, kPath, limits));
  } catch (const Error& error) {
    const std::string_view message = error.what();
    throw ApiError(
        400, message.starts_with(kField) ? std::string(message) : fmt::format("{}: {}", kField, message),
        std::string(kField));
  }
}

}  // namespace facet::server
