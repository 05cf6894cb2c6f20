// The program as its users and their scripts see it: exit codes, JSON shapes, one-line errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/golden.h"
#include "support/paths.h"
#include "support/process.h"

namespace facet {
namespace {

using testing::expect_error;
using ::testing::HasSubstr;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::run_facet;

std::string joined(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) {
    if (!text.empty()) text += ',';
    text += std::to_string(id);
  }
  return text;
}

class CliGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (testing::golden_names().empty()) GTEST_SKIP() << "the shared goldens are not there";
    golden_ = testing::load_golden("tiny-e2b");
  }
  [[nodiscard]] std::string model() const { return golden_.directory.string(); }

  testing::Golden golden_;
};

TEST_F(CliGoldenTest, RunGivesTheGreedyIdsAsJson) {
  const auto n = std::to_string(golden_.greedy_ids.size());
  const ProcessResult result =
      run_facet({"run", "-m", model(), "--ids", joined(golden_.prompt_ids), "--greedy", "--ignore-eos", "-n",
                 n, "--json", "--backend", "reference"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("ids").get<std::vector<int32_t>>(), golden_.greedy_ids);
  EXPECT_EQ(json.at("prompt_ids").get<std::vector<int32_t>>(), golden_.prompt_ids);
  EXPECT_EQ(json.at("stop_reason"), "length");
  EXPECT_TRUE(json.at("text").is_string());
  for (const char* key : {"prompt_tokens", "prompt_ms", "prompt_per_s", "generated_tokens", "generated_ms",
                          "generated_per_s", "load_ms"})
    EXPECT_TRUE(json.at("timings").at(key).is_number()) << key;
  EXPECT_EQ(json.at("timings").at("generated_tokens"), golden_.greedy_ids.size());
}

TEST_F(CliGoldenTest, RunStopsAtAStopIdUnlessToldNotTo) {
  const ProcessResult result = run_facet(
      {"run", "-m", model(), "--ids", joined(golden_.prompt_ids), "--greedy", "-n", "48", "--json"});
  const auto json = nlohmann::json::parse(result.out);
  const auto ids = json.at("ids").get<std::vector<int32_t>>();
  // This golden's greedy text reaches <eos> after 21 tokens.
  EXPECT_EQ(json.at("stop_reason"), "eos");
  EXPECT_EQ(ids, std::vector<int32_t>(golden_.greedy_ids.begin(), golden_.greedy_ids.begin() + 21));
}

TEST_F(CliGoldenTest, TheSameSeedGivesTheSameText) {
  const auto ids = [&](const char* seed) {
    return nlohmann::json::parse(run_facet({"run", "-m", model(), "--ids", "2,3,4", "-n", "20", "--seed",
                                            seed, "--ignore-eos", "--json"})
                                     .out)
        .at("ids");
  };
  EXPECT_EQ(ids("1"), ids("1"));
  EXPECT_NE(ids("1"), ids("2"));
}

TEST_F(CliGoldenTest, ValidatePassesOnItsTraceAndFailsOnAnothersWithTheRightCodes) {
  ProcessResult result =
      run_facet({"validate", model(), golden_.trace().string(), "--backend", "reference", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("pass"), true);
  EXPECT_EQ(json.at("backend"), "reference");
  EXPECT_TRUE(json.at("missing").empty());
  EXPECT_TRUE(json.at("not_compared").empty());
  EXPECT_EQ(json.at("token_mismatches"), 0);
  EXPECT_EQ(json.at("fast_prefill_match"), true);
  for (const char* key : {"name", "rel_rms", "max_abs", "pass"})
    EXPECT_TRUE(json.at("tensors").at(0).contains(key));

  const auto other = testing::load_golden("tiny-31b");
  result = run_facet({"validate", model(), other.trace().string()});
  EXPECT_EQ(result.exit_code, 3) << "another width";
  result =
      run_facet({"validate", testing::load_golden("tiny-e4b").directory.string(), golden_.trace().string()});
  EXPECT_NE(result.exit_code, 0);
  expect_error(run_facet({"validate", model(), "/no/such/trace"}), 3, "/no/such/trace");
}

TEST_F(CliGoldenTest, InspectShowsTheArchitecture) {
  const ProcessResult text = run_facet({"inspect", model()});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("KV from"));
  const auto json = nlohmann::json::parse(run_facet({"inspect", model(), "--tensors", "--json"}).out);
  EXPECT_EQ(json.at("layers").size(), 10U);
  EXPECT_EQ(json.at("layers").at(9).at("kv_source"), 4);
  EXPECT_EQ(json.at("layers").at(5).at("ffn_dim"), 192) << "double-wide in the shared layers";
  EXPECT_EQ(json.at("tensors").at(0).at("name"), "model.embed_tokens.weight");
}

TEST_F(CliGoldenTest, BadArgumentsAreOneLineAndTheRightCode) {
  expect_error(run_facet({"run", "-m", model()}), 2, "a prompt is missing");
  expect_error(run_facet({"run", "-m", model(), "text", "--ids", "1"}), 2, "exclude each other");
  expect_error(run_facet({"run", "-m", model(), "text"}), 3, "no tokenizer");
  expect_error(run_facet({"run", "-m", model(), "--ids", "1,two"}), 2, "--ids");
  expect_error(run_facet({"run", "-m", model(), "--ids", "512"}), 3, "expected 0 to 511");
  expect_error(run_facet({"run", "-m", model(), "--ids", "-1"}), 3, "-1");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2", "-n", "-5"}), 2, "--tokens");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2", "--top-p", "2"}), 2, "top_p");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2", "--temp", "nan"}), 2, "temp");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2", "--seed", "18446744073709551616"}), 2,
               "--seed");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2,3,4", "--ctx", "2"}), 3,
               "context of 2 has room for 2");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2", "--backend", "tpu"}), 2, "--backend");
  expect_error(run_facet({"run", "-m", model(), "--ids", "2", "--bogus"}), 2, "--bogus");
  expect_error(run_facet({"frobnicate"}), 2, "frobnicate");
}

TEST_F(CliGoldenTest, AContextExactlyFullIsFine) {
  const ProcessResult result =
      run_facet({"run", "-m", model(), "--ids", "2,3,4", "--ctx", "3", "--json", "--ignore-eos"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out).at("ids").size(), 1U);
}

TEST_F(CliGoldenTest, CtrlCEndsARunWithCode130) {
  ProcessOptions options;
  options.interrupt_after_ms = 300;
  const ProcessResult result = run_facet({"run", "-m", model(), "--ids", "2,3,4", "-n", "0", "--ctx", "2048",
                                          "--ignore-eos", "--backend", "reference"},
                                         options);
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_FALSE(result.out.empty()) << "what was generated stays";
}

TEST_F(CliGoldenTest, EnvironmentNamesTheModelAndFlagsWin) {
  ProcessOptions options;
  options.environment = {"FACET_MODEL=" + model()};
  EXPECT_EQ(run_facet({"run", "--ids", "2", "-n", "1"}, options).exit_code, 0);
  EXPECT_EQ(run_facet({"run", "--ids", "2", "-n", "1", "-m", "/nope"}, options).exit_code, 3);
}

TEST_F(CliGoldenTest, FindsAModelInTheHubCache) {
  testing::TemporaryDirectory hub;
  const auto snapshot = hub.path() / "models--tiny--e2b" / "snapshots" / "abc";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_directories(hub.path() / "models--tiny--e2b" / "refs");
  std::ofstream(hub.path() / "models--tiny--e2b" / "refs" / "main") << "abc";
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy_file(golden_.directory / file, snapshot / file);
  ProcessOptions options;
  options.environment = {"HF_HUB_CACHE=" + hub.path().string()};
  EXPECT_EQ(run_facet({"run", "-m", "tiny/e2b", "--ids", "2", "-n", "1"}, options).exit_code, 0);
  expect_error(run_facet({"run", "-m", "tiny/other", "--ids", "2", "-n", "1"}, options), 3, "tiny/other");
}

TEST_F(CliGoldenTest, BrokenModelsAreOneLineAndCode3) {
  testing::TemporaryDirectory copy;
  const auto weights = copy.path() / "model.safetensors";
  const auto reset = [&] {
    for (const char* file : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(golden_.directory / file, copy.path() / file,
                                 std::filesystem::copy_options::overwrite_existing);
    // The copy keeps the mode of a file that may be read-only.
    std::filesystem::permissions(weights, std::filesystem::perms::owner_all);
  };
  const auto run = [&] { return run_facet({"run", "-m", copy.path().string(), "--ids", "2", "-n", "1"}); };
  reset();
  ASSERT_EQ(run().exit_code, 0);
  std::filesystem::resize_file(weights, std::filesystem::file_size(weights) - 1);
  expect_error(run(), 3, "model.safetensors");
  std::filesystem::resize_file(weights, 7);
  expect_error(run(), 3, "model.safetensors");
  std::filesystem::resize_file(weights, 0);
  expect_error(run(), 3, "model.safetensors");
  reset();
  std::ofstream(weights, std::ios::app) << "trailing";
  expect_error(run(), 3, "model.safetensors");
  std::filesystem::remove(weights);
  std::filesystem::create_directory(weights);
  expect_error(run(), 3, "model.safetensors");
  std::filesystem::remove(weights);
  ASSERT_EQ(::mkfifo(weights.c_str(), 0600), 0);
  expect_error(run(), 3, "model.safetensors");
  std::filesystem::remove(weights);
  expect_error(run(), 3, "model.safetensors");
}

TEST(Cli, FailuresAreJsonWhenJsonWasAskedFor) {
  ProcessResult result = run_facet({"run", "-m", "/no/such", "--ids", "2", "--json"});
  EXPECT_EQ(result.exit_code, 3);
  auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("error").at("code"), 3);
  EXPECT_THAT(json.at("error").at("message"), HasSubstr("/no/such"));
  result = run_facet({"run", "--bogus", "--json"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(nlohmann::json::parse(result.out).at("error").at("code"), 2);
}

TEST(Cli, HelpAndVersionAnswerOnStdout) {
  const ProcessResult help = run_facet({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"run", "chat", "perplexity", "quantize", "inspect", "validate", "tokenize",
                              "doctor", "completions"}) {
    EXPECT_THAT(help.out, HasSubstr(std::string("  ") + command + " "));
    const ProcessResult own = run_facet({command, "--help"});
    EXPECT_EQ(own.exit_code, 0) << command;
    EXPECT_THAT(own.out, HasSubstr("Usage: facet " + std::string(command)));
  }
  EXPECT_THAT(run_facet({"--version"}).out, HasSubstr("0.1.0"));
  EXPECT_EQ(run_facet({}).exit_code, 2);
}

TEST(Cli, DoctorDescribesTheMachine) {
  const ProcessResult text = run_facet({"doctor"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("would use"));
  const auto json = nlohmann::json::parse(run_facet({"doctor", "--json"}).out);
  EXPECT_GE(json.at("cpu").at("cores"), 1);
  EXPECT_TRUE(json.at("pick").at("backend").is_string());
  EXPECT_GT(json.at("bandwidth_gbs"), 0);
  EXPECT_EQ(json.at("gpus").empty(), json.at("no_gpu").is_string());
}

TEST(Cli, UsageErrorsPointToTheCommandsOwnHelp) {
  expect_error(run_facet({"serve", "--port", "99999"}), 2,
               "--port: Value 99999 not in range 0 to 65535 (see facet serve --help)");
  expect_error(run_facet({"run", "x", "--bogus"}), 2, "not expected: --bogus (see facet run --help)");
  expect_error(run_facet({"frobnicate"}), 2, "unknown command 'frobnicate' (see facet --help)");
}

// Also where nothing of CUDA is installed: the program starts, and says why.
TEST(Cli, CudaRunsOrSaysWhyNot) {
  const ProcessResult doctor = run_facet({"doctor", "--json"});
  const ProcessResult result = run_facet({"run", "x", "-n", "1", "--backend", "cuda"});
  if (nlohmann::json::parse(doctor.out).at("gpus").empty()) {
    expect_error(result, 4, "cuda");
  } else {
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
}

TEST(Cli, CompletionsNameEveryCommandAndOption) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const ProcessResult result = run_facet({"completions", shell});
    EXPECT_EQ(result.exit_code, 0) << shell;
    for (const char* word : {"validate", "tokenize", "ignore-eos"})
      EXPECT_THAT(result.out, HasSubstr(word)) << shell;
  }
  EXPECT_EQ(run_facet({"completions", "tcsh"}).exit_code, 2);
}

TEST(Cli, AClosedPipeIsNoCrash) {
  // The reader of stdout goes away at once.
  const std::string command = std::string(FACET_BINARY) + " completions bash | head -c 1 > /dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(Cli, AFullDiskIsAFailure) {
  for (const char* arguments : {"run x -n 2", "run x -n 2 --json", "doctor", "inspect"}) {
    const std::string command = std::string(FACET_BINARY) + " " + arguments + " > /dev/full 2> /dev/null";
    const int status = std::system(command.c_str());
    EXPECT_EQ(WEXITSTATUS(status), 1) << arguments;
  }
}

}  // namespace
}  // namespace facet
