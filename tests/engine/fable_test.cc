// The model that ships, against what transformers computes from its dequantised weights in float32: every
// activation of a text, and 200 greedy tokens after each of five prompts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "backend/cpu/isa.h"
#include "engine/trace.h"
#include "engine/validate.h"
#include "formats/checkpoint_tokenizer.h"
#include "formats/json.h"
#include "support/paths.h"
#include "support/sanitized.h"

namespace facet {
namespace {

constexpr size_t kCases = 5;

struct Case {
  std::string prompt;
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> greedy_ids;
  std::string greedy_text;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> read = [] {
    const Json expected = parse_json_file(testing::data_dir() / "fable" / "expected.json");
    std::vector<Case> result;
    for (const Json& item : expected.at("cases"))
      result.push_back(
          {item.at("prompt"), item.at("prompt_ids"), item.at("greedy_ids"), item.at("greedy_text")});
    return result;
  }();
  return read;
}

std::filesystem::path trace_file() {
  return testing::data_dir() / "fable" / "trace.safetensors";
}

Checkpoint open_fable() {
  return open_checkpoint((testing::models_dir() / "fable").string());
}

Engine load(const std::string& backend, const std::string& isa = "", int chunk = 512, int sequences = 1) {
  EngineOptions options;
  options.backend = backend;
  options.isa = isa;
  options.threads = 2;
  options.context = 1024;
  options.chunk = chunk;
  options.sequences = sequences;
  return {open_fable(), options};
}

TEST(Fable, HasEveryFeatureOfE2B) {
  const ModelSpec spec = open_fable().spec;
  EXPECT_EQ(spec.layer_count(), 10);
  EXPECT_EQ(spec.ple_dim, 64);
  EXPECT_EQ(spec.logit_softcap, 30);
  for (int l = 0; l < spec.layer_count(); ++l) {
    const LayerSpec& layer = spec.layers[static_cast<size_t>(l)];
    const bool full = l % 5 == 4;
    EXPECT_EQ(layer.head_dim, full ? 512 : 256) << l;
    EXPECT_EQ(layer.window, full ? 0 : 128) << l;
    EXPECT_EQ(layer.kv_heads, 1) << l;
    EXPECT_EQ(layer.kv_source, l < 5 ? l : (full ? 4 : 3)) << l;
    EXPECT_EQ(layer.ffn_dim, l < 5 ? 768 : 1536) << l;
    EXPECT_TRUE(layer.has_layer_scalar) << l;
  }
}

TEST(Fable, EveryActivationMatchesTransformers) {
  for (const int chunk : {512, 7}) {
    SCOPED_TRACE(chunk);
    Engine engine = load("reference", "", chunk);
    const ValidationResult result = validate_trace(engine, read_trace(trace_file()));
    EXPECT_TRUE(result.pass);
    for (const TensorResult& t : result.tensors) EXPECT_TRUE(t.pass) << t.name << " " << t.rel_rms;
    for (const std::string& name : result.missing) ADD_FAILURE() << "missing " << name;
    EXPECT_TRUE(result.not_compared.empty());
    EXPECT_TRUE(result.fast_prefill_match);
    EXPECT_EQ(result.token_mismatches, 0);
    EXPECT_GE(result.tensors.size(), static_cast<size_t>(engine.spec().layer_count()) + 3);
  }
}

TEST(Fable, EveryInstructionSetValidates) {
  for (const cpu::KernelTable* table : cpu::available_kernels()) {
    SCOPED_TRACE(table->name);
    Engine engine = load("cpu", table->name);
    const ValidationResult result = validate_trace(engine, read_trace(trace_file()));
    EXPECT_TRUE(result.pass);
    for (const TensorResult& t : result.tensors) EXPECT_TRUE(t.pass) << t.name << " " << t.rel_rms;
    EXPECT_TRUE(result.missing.empty());
    EXPECT_TRUE(result.fast_prefill_match);
    EXPECT_EQ(result.token_mismatches, 0);
  }
}

/// Log probabilities after every token of `ids`, [tokens, vocabulary].
std::vector<float> log_probabilities(Engine& engine, const std::vector<int32_t>& ids) {
  const int sequence = engine.cache().open();
  engine.step({sequence, ids, Want::kAll});
  std::vector<float> result;
  for (int row = 0; row < engine.outputs(); ++row) {
    const auto logits = engine.logits(row);
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float l : logits) sum += std::exp(l - top);
    for (const float l : logits) result.push_back(static_cast<float>(l - top - std::log(sum)));
  }
  engine.cache().close(sequence);
  return result;
}

// What 8-bit activations and a bf16 cache cost, over two stories: the divergence of the next token's
// distribution from the one that f32 gives with the same weights.
TEST(Fable, EightBitActivationsDivergeLittle) {
  FACET_SKIP_IF_SANITIZED();
  std::vector<std::vector<int32_t>> stories;
  std::vector<std::vector<float>> expected;
  size_t tokens = 0;
  Engine reference = load("reference");
  for (const Case& c : std::span(cases()).first(2)) {
    stories.push_back(c.prompt_ids);
    stories.back().insert(stories.back().end(), c.greedy_ids.begin(), c.greedy_ids.end());
    tokens += stories.back().size();
    expected.push_back(log_probabilities(reference, stories.back()));
  }
  ASSERT_GT(tokens, 400U);
  for (const cpu::KernelTable* table : cpu::available_kernels()) {
    SCOPED_TRACE(table->name);
    Engine engine = load("cpu", table->name);
    double divergence = 0;
    for (size_t story = 0; story < stories.size(); ++story) {
      const auto& p = expected[story];
      const auto q = log_probabilities(engine, stories[story]);
      ASSERT_EQ(q.size(), p.size());
      for (size_t i = 0; i < p.size(); ++i) divergence += std::exp(double{p[i]}) * (double{p[i]} - q[i]);
    }
    const double mean = divergence / static_cast<double>(tokens);
    RecordProperty(fmt::format("mean_kl_{}", table->name), fmt::format("{:.2e}", mean));
    EXPECT_GT(mean, 0);
    EXPECT_LE(mean, 1e-3);
  }
}

// No token is excused, although transformers' own choice leads the next by as little as 0.0013 in one place.
// The texts go on together: the reference decodes its weights once a step.
TEST(Fable, GreedyTextsAreTransformers) {
  ASSERT_EQ(cases().size(), kCases);
  const size_t length = testing::sanitized() ? 40 : 200;
  const text::Tokenizer tokenizer = open_tokenizer(open_fable()).value();
  Engine engine = load("reference", "", 512, static_cast<int>(kCases));
  std::vector<std::vector<int32_t>> fed(kCases);
  std::vector<std::vector<int32_t>> texts(kCases);
  std::vector<SequenceTokens> parts;
  for (size_t i = 0; i < kCases; ++i) {
    ASSERT_EQ(cases()[i].greedy_ids.size(), 200U);
    fed[i] = tokenizer.encode(cases()[i].prompt);
    parts.push_back({engine.cache().open(), fed[i], Want::kLast});
  }
  for (size_t step = 0; step < length; ++step) {
    engine.step(parts);
    for (size_t i = 0; i < kCases; ++i) {
      const auto logits = engine.logits(static_cast<int>(i));
      fed[i] = {static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
      texts[i].push_back(fed[i].front());
      parts[i].tokens = fed[i];
    }
  }
  for (size_t i = 0; i < kCases; ++i) {
    SCOPED_TRACE(cases()[i].prompt);
    const std::span expected = std::span(cases()[i].greedy_ids).first(length);
    EXPECT_EQ(texts[i], std::vector(expected.begin(), expected.end()));
    if (length == 200) {
      EXPECT_EQ(tokenizer.decode(texts[i]), cases()[i].greedy_text);
    }
  }
}

TEST(Fable, TokenizerAgreesAndGivesTextsBack) {
  ASSERT_EQ(cases().size(), kCases);
  const text::Tokenizer tokenizer = open_tokenizer(open_fable()).value();
  for (const Case& c : cases()) {
    EXPECT_EQ(tokenizer.encode(c.prompt), c.prompt_ids);
    EXPECT_EQ(tokenizer.decode(c.prompt_ids), "<bos>" + c.prompt);
    EXPECT_EQ(tokenizer.decode(c.greedy_ids), c.greedy_text);
  }
  for (const char* text : {"A tale\n\n\n  of 3 naïve \"foxes\"—and <turn|> a 狐 🦊", " ", "▁"}) {
    const auto ids = tokenizer.encode(text, {.add_bos = false});
    const std::string expected = std::string(text) == "▁" ? " " : text;  // Gemma's spelling of a space
    EXPECT_EQ(tokenizer.decode(ids), expected);
  }
}

}  // namespace
}  // namespace facet
