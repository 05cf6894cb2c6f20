// facet quantize and facet perplexity as users and scripts see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/golden.h"
#include "support/paths.h"
#include "support/process.h"
#include "support/sanitized.h"

namespace facet {
namespace {

using testing::expect_error;
using ::testing::HasSubstr;
using testing::ProcessResult;
using testing::run_facet;

std::string fable() {
  return (testing::models_dir() / "fable").string();
}

class QuantizeCli : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(text()) << "Once upon a time there was a poor woodcutter who lived near a great forest.\n";
  }
  [[nodiscard]] std::string text() const { return (directory_ / "text.txt").string(); }
  [[nodiscard]] std::string out(std::string_view name) const { return (directory_ / name).string(); }
  [[nodiscard]] size_t entries() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory_.path()), {}));
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(QuantizeCli, WritesBothFormatsAndPerplexityComparesThem) {
  ProcessResult result = run_facet({"quantize", fable(), out("q8"), "--bits", "8", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("format"), "MLX 8-bit group 64");
  EXPECT_GT(json.at("bytes_out"), 1'000'000);
  result = run_facet({"quantize", fable(), out("q8.gguf"), "--type", "q8_0"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("GGUF q8_0"));

  for (const char* name : {"q8", "q8.gguf"}) {
    result = run_facet({"perplexity", text(), "-m", out(name), "--reference", fable(), "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    json = nlohmann::json::parse(result.out);
    EXPECT_GT(json.at("perplexity"), 1);
    EXPECT_GT(json.at("tokens"), 10);
    EXPECT_GT(json.at("bits_per_byte"), 0);
    EXPECT_GT(json.at("mean_kl"), 0);
    EXPECT_LT(json.at("mean_kl"), 0.01);
    EXPECT_GT(json.at("same_top"), 0.8);
  }
  result = run_facet({"perplexity", text(), "-m", fable(), "--json"});
  json = nlohmann::json::parse(result.out);
  EXPECT_TRUE(json.at("mean_kl").is_null());
  EXPECT_TRUE(json.at("same_top").is_null());
  EXPECT_THAT(run_facet({"perplexity", text(), "-m", fable()}).out, HasSubstr("bits per byte"));
}

TEST_F(QuantizeCli, CalibratesOnAText) {
  FACET_SKIP_IF_SANITIZED();
  const ProcessResult result = run_facet(
      {"quantize", fable(), out("c"), "--method", "search", "--calibration", text(), "--group-size", "128"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("MLX 4-bit group 128"));
  EXPECT_EQ(run_facet({"run", "-m", out("c"), "Once upon", "-n", "3"}).exit_code, 0);
}

TEST_F(QuantizeCli, TheSearchCalibratesOnWhatTheModelWrites) {
  FACET_SKIP_IF_SANITIZED();
  const auto weights = [&](const char* name, const char* tokens) {
    const ProcessResult result = run_facet(
        {"quantize", fable(), out(name), "--group-size", "128", "--method", "search", "--own-text", tokens});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::ifstream file(out(name) + "/model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string own = weights("own", "300");
  EXPECT_FALSE(own.empty());
  EXPECT_FALSE(own == weights("none", "0"));
  EXPECT_EQ(run_facet({"run", "-m", out("own"), "Once upon", "-n", "3"}).exit_code, 0);
}

TEST_F(QuantizeCli, BadArgumentsAreOneLineAndTheRightCode) {
  expect_error(run_facet({"quantize", fable()}), 2, "OUT");
  expect_error(run_facet({"quantize", "/no/such", out("x")}), 3, "/no/such");
  expect_error(run_facet({"quantize", fable(), out("x"), "--bits", "3"}), 2, "--bits");
  expect_error(run_facet({"quantize", fable(), out("x"), "--group-size", "48"}), 2, "--group-size");
  expect_error(run_facet({"quantize", fable(), out("x"), "--method", "magic"}), 2, "--method");
  expect_error(run_facet({"quantize", fable(), out("x"), "--type", "q8_0"}), 2, "--type is for GGUF");
  expect_error(run_facet({"quantize", fable(), out("x.gguf"), "--type", "q2_k"}), 2, "--type");
  expect_error(run_facet({"quantize", fable(), out("x.gguf"), "--bits", "4"}), 2, "--bits is for MLX");
  expect_error(run_facet({"quantize", fable(), out("x"), "--calibration", text()}), 2, "--method search");
  expect_error(run_facet({"quantize", fable(), out("x"), "--own-text", "9"}), 2, "--method search");
  expect_error(run_facet({"quantize", fable(), out("x"), "--method", "search", "--own-text", "-1"}), 2,
               "--own-text");
  expect_error(
      run_facet({"quantize", fable(), out("x"), "--method", "search", "--calibration", "/no/such/text"}), 3,
      "/no/such/text");
  expect_error(run_facet({"quantize", fable(), out("text.txt")}), 1, "exists already");
  expect_error(run_facet({"quantize", fable(), out("no/such/place/x")}), 1, "no/such/place");
  expect_error(run_facet({"perplexity"}), 2, "FILE");
  expect_error(run_facet({"perplexity", "/no/such", "-m", fable()}), 3, "/no/such");
  std::ofstream(out("empty")).close();
  expect_error(run_facet({"perplexity", out("empty"), "-m", fable()}), 3, "at least 1 tokens, got 0");
  expect_error(run_facet({"perplexity", text(), "-m", fable(), "--reference", "/no/such"}), 3, "/no/such");
  EXPECT_EQ(entries(), 2U) << "the texts alone";
}

TEST_F(QuantizeCli, ModelsThatDoNotFitAreRefused) {
  if (testing::golden_names().empty()) GTEST_SKIP() << "the shared goldens are not there";
  const std::string other = testing::load_golden("tiny-e2b").directory.string();
  expect_error(run_facet({"perplexity", text(), "-m", other}), 3, "no tokenizer");
  expect_error(run_facet({"perplexity", text(), "-m", fable(), "--reference", other}), 3, "vocabulary");
  expect_error(run_facet({"quantize", other, out("x"), "--method", "search", "--calibration", text()}), 3,
               "no tokenizer");
}

TEST_F(QuantizeCli, CtrlCLeavesNothing) {
  testing::ProcessOptions options;
  options.interrupt_after_ms = 300;
  const ProcessResult result =
      run_facet({"quantize", fable(), out("x"), "--method", "search", "--threads", "1"}, options);
  EXPECT_EQ(result.exit_code, 130) << result.err;
  EXPECT_EQ(entries(), 1U);
}

}  // namespace
}  // namespace facet
