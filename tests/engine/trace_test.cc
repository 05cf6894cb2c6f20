#include "engine/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "base/error.h"
#include "engine/validate.h"
#include "formats/safetensors_writer.h"
#include "support/golden.h"
#include "support/paths.h"

namespace facet {
namespace {

using ::testing::HasSubstr;

struct Entry {
  TensorDeclaration declaration;
  std::vector<std::byte> bytes;
};

template <class T>
Entry entry(const std::string& name, DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  Entry e{{name, dtype, std::move(shape)}, std::vector<std::byte>(values.size() * sizeof(T))};
  std::ranges::copy(std::as_bytes(std::span(values)), e.bytes.begin());
  return e;
}

class TraceFileTest : public ::testing::Test {
 protected:
  Trace read(const std::vector<Entry>& entries) {
    const auto path = directory_.path() / "trace.safetensors";
    std::vector<TensorDeclaration> declarations;
    for (const Entry& e : entries) declarations.push_back(e.declaration);
    SafetensorsWriter writer(path, declarations);
    for (const Entry& e : entries) writer.write(e.declaration.name, e.bytes);
    writer.finish();
    return read_trace(path);
  }

  std::string error(const std::vector<Entry>& entries) {
    try {
      (void)read(entries);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kBadInput);
      return e.what();
    }
    return "no error";
  }

  const Entry ids_ = entry<int32_t>("input_ids", DType::kI32, {2}, {5, 6});
  testing::TemporaryDirectory directory_;
};

TEST_F(TraceFileTest, ReadsFacetsOwnLayout) {
  const Trace trace = read({ids_, entry<float>("model.layers.0", DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6}),
                            entry<uint16_t>("logits", DType::kBF16, {2, 1}, {0x3f80, 0x4000})});
  EXPECT_EQ(trace.input_ids, (std::vector<int32_t>{5, 6}));
  EXPECT_EQ(trace.activations.at("model.layers.0").width, 3);
  EXPECT_EQ(trace.activations.at("logits").values, (std::vector<float>{1, 2}));
}

TEST_F(TraceFileTest, ReadsLalamosLayoutUnderOurNames) {
  const std::string layer = "activation_trace.layer_results.1.";
  const std::vector<float> two = {1, 2};
  const Trace trace = read({entry<int64_t>("activation_trace.token_ids", DType::kI64, {1, 2}, {5, 6}),
                            entry("activation_trace.output_norm", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "outputs", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.inputs", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.pre_mixer_norm", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.mixer", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.post_mixer_norm", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.mlp_inputs", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.pre_mlp_norm", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.mlp", DType::kF32, {1, 2, 1}, two),
                            entry(layer + "activation_trace.post_mlp_norm", DType::kF32, {1, 2, 1}, two),
                            entry("logits", DType::kF32, {1, 2, 1}, two)});
  std::vector<std::string> names;
  for (const auto& [name, activation] : trace.activations) names.push_back(name);
  EXPECT_THAT(names, ::testing::UnorderedElementsAre(
                         "logits", "model.norm", "model.layers.1", "model.layers.1.inputs",
                         "model.layers.1.input_layernorm", "model.layers.1.self_attn",
                         "model.layers.1.post_attention_layernorm", "model.layers.1.mlp_inputs",
                         "model.layers.1.pre_feedforward_layernorm", "model.layers.1.mlp",
                         "model.layers.1.post_feedforward_layernorm"));
  EXPECT_THAT(trace.activations.at("model.layers.1.mlp_inputs").derived_from,
              ::testing::ElementsAre("model.layers.0", "model.layers.1.post_attention_layernorm"));
}

TEST_F(TraceFileTest, KeepsAnUnknownLalamoNameSoThatItIsReported) {
  const Trace trace = read({entry<int32_t>("activation_trace.token_ids", DType::kI32, {2}, {5, 6}),
                            entry<float>("activation_trace.surprise", DType::kF32, {2, 1}, {1, 2})});
  EXPECT_TRUE(trace.activations.contains("activation_trace.surprise"));
}

TEST_F(TraceFileTest, RefusesWhatIsNoTrace) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(error({entry<float>("logits", DType::kF32, {2, 1}, {1, 2})}), HasSubstr("input_ids"));
  EXPECT_THAT(error({entry<float>("input_ids", DType::kF32, {2}, {1, 2})}),
              HasSubstr("expected i32 or i64, got f32"));
  EXPECT_THAT(error({entry<int32_t>("input_ids", DType::kI32, {0}, {})}), HasSubstr("no tokens"));
  EXPECT_THAT(error({entry<int32_t>("input_ids", DType::kI32, {2, 2}, {1, 2, 3, 4})}), HasSubstr("[2, 2]"));
  EXPECT_THAT(error({entry<int32_t>("input_ids", DType::kI32, {1}, {-1})}), HasSubstr("-1"));
  EXPECT_THAT(error({entry<int64_t>("input_ids", DType::kI64, {1}, {int64_t{1} << 40})}),
              HasSubstr("out of range"));
  EXPECT_THAT(error({ids_, entry<int32_t>("logits", DType::kI32, {2, 1}, {1, 2})}), HasSubstr("got i32"));
  EXPECT_THAT(error({ids_, entry<float>("logits", DType::kF32, {3, 1}, {1, 2, 3})}), HasSubstr("[3, 1]"));
  EXPECT_THAT(error({ids_, entry<float>("logits", DType::kF32, {2}, {1, 2})}), HasSubstr("[2]"));
  EXPECT_THAT(error({ids_, entry<float>("logits", DType::kF32, {2, 1}, {1, nan})}),
              HasSubstr("NaN at element 1"));
}

// validate must be able to fail: each of these is a wrong trace of the right model.
class ValidateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (testing::golden_names().empty()) GTEST_SKIP() << "the shared goldens are not there";
    golden_ = testing::load_golden("tiny-e2b");
    trace_ = read_trace(golden_.trace());
  }

  ValidationResult run() {
    EngineOptions options;
    options.backend = "reference";
    Engine engine(open_checkpoint(golden_.directory.string()), options);
    return validate_trace(engine, trace_);
  }

  testing::Golden golden_;
  Trace trace_;
};

TEST_F(ValidateTest, NoticesOneWrongActivation) {
  trace_.activations.at("model.layers.3.self_attn.q_norm").values[17] += 0.01F;
  const ValidationResult result = run();
  EXPECT_FALSE(result.pass);
  for (const TensorResult& t : result.tensors)
    EXPECT_EQ(t.pass, t.name != "model.layers.3.self_attn.q_norm") << t.name;
}

TEST_F(ValidateTest, NoticesAWrongLayerOutputHereAndInWhatReadsIt) {
  for (float& value : trace_.activations.at("model.layers.2").values) value *= 1.01F;
  EXPECT_FALSE(run().pass);
}

TEST_F(ValidateTest, NoticesWrongTokens) {
  std::swap(trace_.input_ids[5], trace_.input_ids[6]);
  EXPECT_FALSE(run().pass);
}

TEST_F(ValidateTest, NoticesLogitsThatPreferAnotherToken) {
  Activation& logits = trace_.activations.at("logits");
  const auto row = logits.values.begin() + 3 * logits.width;
  std::iter_swap(std::max_element(row, row + logits.width), row + 11);
  EXPECT_FALSE(run().pass);
}

TEST_F(ValidateTest, ReportsWhatNeitherSideMayLack) {
  trace_.activations.erase("model.layers.4");
  Activation surprise = trace_.activations.at("model.layers.5");
  trace_.activations.emplace("model.layers.5.surprise", std::move(surprise));
  const ValidationResult result = run();
  EXPECT_FALSE(result.pass);
  EXPECT_THAT(result.missing, ::testing::UnorderedElementsAre("model.layers.4", "model.layers.5.surprise"));
}

TEST_F(ValidateTest, RefusesATraceOfAnotherModel) {
  trace_.input_ids[3] = 100000;
  EXPECT_THROW((void)run(), Error);
  trace_ = read_trace(testing::load_golden("tiny-31b").trace());
  EXPECT_THROW((void)run(), Error);
}

// lalamo's layout of a golden: the same numbers under its names, all of which must be compared and agree.
TEST_F(ValidateTest, ComparesLalamosNames) {
  Trace lalamo;
  lalamo.input_ids = trace_.input_ids;
  const auto take = [&](const std::string& name) { lalamo.activations[name] = trace_.activations.at(name); };
  for (const char* name : {"logits", "model.norm"}) take(name);
  for (int l = 0; l < 10; ++l) {
    const std::string layer = "model.layers." + std::to_string(l);
    take(layer);
    for (const char* module : {".self_attn", ".mlp", ".input_layernorm", ".post_attention_layernorm"})
      take(layer + module);
    const std::string input = l == 0 ? "model.embed_tokens" : "model.layers." + std::to_string(l - 1);
    Activation mlp_inputs = trace_.activations.at(input);
    const Activation& attention = trace_.activations.at(layer + ".post_attention_layernorm");
    for (size_t i = 0; i < mlp_inputs.values.size(); ++i) mlp_inputs.values[i] += attention.values[i];
    mlp_inputs.derived_from = {input, layer + ".post_attention_layernorm"};
    lalamo.activations.emplace(layer + ".mlp_inputs", std::move(mlp_inputs));
  }
  const size_t count = lalamo.activations.size();
  trace_ = std::move(lalamo);
  const ValidationResult result = run();
  EXPECT_TRUE(result.pass);
  EXPECT_EQ(result.tensors.size(), count);
}

}  // namespace
}  // namespace facet
