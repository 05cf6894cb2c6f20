#include "formats/mlx_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>

#include "formats/checkpoint_tokenizer.h"
#include "formats/files.h"
#include "formats/golden_gguf.h"
#include "formats/hf_config.h"
#include "formats/hf_config_export.h"
#include "formats/safetensors.h"
#include "formats/same_model.h"
#include "quant/dequantize.h"
#include "support/errors.h"
#include "support/tiny_model.h"

namespace facet {
namespace {

namespace fs = std::filesystem;
using testing::golden;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

MlxWriteOptions uniform(int bits, int group_size = 64) {
  MlxWriteOptions options;
  options.bits = options.ple_bits = options.head_bits = bits;
  options.group_size = group_size;
  return options;
}

std::vector<float> decoded(const MatrixView& view) {
  std::vector<float> values(static_cast<size_t>(view.rows * view.cols));
  for (int64_t r = 0; r < view.rows; ++r) dequantize_row(view, r, values.data() + r * view.cols);
  return values;
}

double relative_error(const MatrixView& a, const MatrixView& b) {
  const std::vector<float> x = decoded(a);
  const std::vector<float> y = decoded(b);
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
    norm += std::pow(static_cast<double>(y[i]), 2);
  }
  return std::sqrt(error / norm);
}

/// Nothing beside the files that were there before.
std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

template <class Action>
void expect_failure(Action action, ErrorCode code, const std::string& says) {
  try {
    action();
    ADD_FAILURE() << "expected an error: " << says;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(says));
  }
}

// --- config.json ------------------------------------------------------------------------------------------

class HfConfigExport : public ::testing::TestWithParam<const char*> {};

TEST_P(HfConfigExport, ReadsBackAsTheSameModel) {
  const Checkpoint original = open_checkpoint(golden(GetParam()).string());
  const Json json = hf_config(original.spec);
  testing::expect_same_spec(hf_model_spec(JsonView(json, "written")), original.spec);
}

INSTANTIATE_TEST_SUITE_P(Goldens, HfConfigExport,
                         ::testing::Values("tiny-e2b", "tiny-e4b", "tiny-31b", "tiny-26b-a4b", "real-heads"),
                         [](const auto& name) {
                           std::string text = name.param;
                           std::ranges::replace(text, '-', '_');
                           return text;
                         });

TEST(HfConfigExport, WritesGemma3WithScaledPositions) {
  const Json config = Json::parse(R"({"model_type": "gemma3_text", "vocab_size": 1024, "hidden_size": 640,
    "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 128,
    "intermediate_size": 2048, "sliding_window": 512, "max_position_embeddings": 32768,
    "query_pre_attn_scalar": 168, "rope_theta": 1000000, "rope_local_base_freq": 10000,
    "rope_scaling": {"rope_type": "linear", "factor": 8}})");
  const ModelSpec spec = hf_model_spec(JsonView(config, "original"));
  const Json written = hf_config(spec);
  testing::expect_same_spec(hf_model_spec(JsonView(written, "written")), spec);
  EXPECT_EQ(written.at("query_pre_attn_scalar"), 168);
  EXPECT_TRUE(written.at("query_pre_attn_scalar").is_number_integer()) << "transformers wants an integer";
  EXPECT_EQ(written.at("sliding_window_pattern"), 6);
}

TEST(HfConfigExport, RefusesWhatAConfigCannotSay) {
  Checkpoint model = open_checkpoint(golden("tiny-e2b").string());
  model.spec.layers[2].ffn_dim *= 3;
  expect_failure([&] { (void)hf_config(model.spec); }, ErrorCode::kFailed, "cannot be described");
  model.spec.architecture = "llama";
  expect_failure([&] { (void)hf_config(model.spec); }, ErrorCode::kFailed, "got llama");
}

// --- weights ----------------------------------------------------------------------------------------------

class MlxWriterGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(MlxWriterGolden, SixteenBitsAreTheSameModel) {
  const Checkpoint original = open_checkpoint(golden(GetParam()).string());
  const TemporaryDirectory directory;
  write_mlx(original, directory / "out", uniform(16));
  const Checkpoint written = open_checkpoint((directory / "out").string());
  EXPECT_EQ(written.format, "Hugging Face bf16");
  testing::expect_same_spec(written.spec, original.spec);
  testing::expect_same_weights(written, original);
  EXPECT_EQ(written.generation.eos_ids, original.generation.eos_ids);
  EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"out"});
}

INSTANTIATE_TEST_SUITE_P(Goldens, MlxWriterGolden,
                         ::testing::Values("tiny-e2b", "tiny-e4b", "tiny-31b", "real-heads"),
                         [](const auto& name) {
                           std::string text = name.param;
                           std::ranges::replace(text, '-', '_');
                           return text;
                         });

TEST(MlxWriter, BitsGoWhereTheyWereAskedFor) {
  const Checkpoint original = open_checkpoint(golden("real-heads").string());
  const TemporaryDirectory directory;
  MlxWriteOptions options;
  options.bits = 4;
  options.group_size = 32;
  options.ple_bits = 8;
  options.head_bits = 16;
  write_mlx(original, directory / "out", options);
  const Checkpoint written = open_checkpoint((directory / "out").string());
  EXPECT_EQ(written.format, "MLX 4-bit group 32");
  const auto encoding = [&](const char* name) { return written.weights->matrix(name)->encoding; };
  EXPECT_EQ(encoding("model.embed_tokens.weight"), Encoding::kBF16);
  EXPECT_EQ(encoding("model.embed_tokens_per_layer.weight"), Encoding::kAffine8);
  EXPECT_EQ(encoding("model.layers.0.mlp.down_proj.weight"), Encoding::kAffine4);
  for (const WeightRow& row : weight_table(original.spec)) {
    if (testing::is_vector(row)) {
      EXPECT_EQ(written.weights->vector(row.name), original.weights->vector(row.name));
      continue;
    }
    const MatrixView view = written.weights->matrix(row.name).value();
    const double error = relative_error(view, original.weights->matrix(row.name).value());
    const double limit = view.encoding == Encoding::kAffine4 ? 0.12 : view.is_affine() ? 0.01 : 0;
    EXPECT_LE(error, limit) << row.name;
  }
}

TEST(MlxWriter, RowsThatAGroupDoesNotDivideGetASmallerOneOrNone) {
  const Checkpoint original = open_checkpoint(golden("tiny-e2b").string());  // hidden 64, per-layer 16
  const TemporaryDirectory directory;
  write_mlx(original, directory / "out", uniform(8, 128));
  const Checkpoint written = open_checkpoint((directory / "out").string());
  EXPECT_EQ(written.weights->matrix("model.layers.0.self_attn.q_proj.weight")->group_size, 64);
  EXPECT_EQ(written.weights->matrix("model.layers.0.per_layer_projection.weight")->encoding, Encoding::kBF16);
  EXPECT_EQ(written.weights->matrix("model.layers.0.mlp.down_proj.weight")->group_size, 32);
}

TEST(MlxWriter, TheSearchIsNearerToTheOriginal) {
  const Checkpoint original = open_checkpoint(golden("real-heads").string());
  const TemporaryDirectory directory;
  MlxWriteOptions options = uniform(4);
  write_mlx(original, directory / "nearest", options);
  options.method = AffineMethod::kSearch;
  write_mlx(original, directory / "search", options);
  const Checkpoint nearest = open_checkpoint((directory / "nearest").string());
  const Checkpoint search = open_checkpoint((directory / "search").string());
  for (const WeightRow& row : weight_table(original.spec)) {
    if (testing::is_vector(row) || row.cols % 32 != 0) continue;  // those stay bf16
    const MatrixView exact = original.weights->matrix(row.name).value();
    EXPECT_LT(relative_error(search.weights->matrix(row.name).value(), exact),
              0.95 * relative_error(nearest.weights->matrix(row.name).value(), exact))
        << row.name;
  }
}

TEST(MlxWriter, ThreadsChangeNothing) {
  const Checkpoint original = open_checkpoint(golden("tiny-e2b").string());
  const TemporaryDirectory directory;
  MlxWriteOptions options = uniform(4, 32);
  options.method = AffineMethod::kSearch;
  for (const int threads : {1, 3}) {
    options.threads = threads;
    write_mlx(original, directory / std::to_string(threads), options);
  }
  EXPECT_EQ(testing::read_file(directory / "1" / "model.safetensors"),
            testing::read_file(directory / "3" / "model.safetensors"));
}

TEST(MlxWriter, EveryTensorIsAlignedToItsType) {
  const Checkpoint original = open_checkpoint(golden("tiny-e2b").string());
  const TemporaryDirectory directory;
  write_mlx(original, directory / "out", uniform(4, 32));
  const SafetensorsFile file(directory / "out" / "model.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "mlx");
  for (const StoredTensor& tensor : file.tensors())
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes.data()) % dtype_size(tensor.dtype), 0U) << tensor.name;
}

TEST(MlxWriter, ReadsGgufAndMakesItsTokenizerAFile) {
  const Checkpoint original = open_checkpoint((testing::models_dir() / "fable").string());
  const TemporaryDirectory directory;
  GgufPairs pairs;
  add_vocabulary(open_vocabulary(original).value(), pairs);
  pairs.add("tokenizer.chat_template", "{{ template }}");
  // Matrices of the golden would not fit Fable's vocabulary; its own are quantized, which GGUF cannot hold.
  write_mlx(original, directory / "bf16", uniform(16));
  testing::write_gguf(open_checkpoint((directory / "bf16").string()), directory / "m.gguf", std::move(pairs));
  write_mlx(open_checkpoint((directory / "m.gguf").string()), directory / "out", uniform(16));
  const Checkpoint written = open_checkpoint((directory / "out").string());
  testing::expect_same_spec(written.spec, original.spec);
  testing::expect_same_weights(written, open_checkpoint((directory / "bf16").string()));
  const std::string text = "Once upon a time,\n\n  there was a fox 🦊.<|turn>";
  EXPECT_EQ(open_tokenizer(written)->encode(text), open_tokenizer(original)->encode(text));
  EXPECT_EQ(testing::read_file(directory / "out" / "chat_template.jinja"), "{{ template }}");
  // Copied as it is where there is a file.
  EXPECT_EQ(testing::read_file(directory / "bf16" / "tokenizer.json"),
            testing::read_file(testing::models_dir() / "fable" / "tokenizer.json"));
}

// --- what goes wrong --------------------------------------------------------------------------------------

TEST(MlxWriter, LeavesWhatIsThereAlone) {
  const Checkpoint original = open_checkpoint(golden("tiny-e2b").string());
  const TemporaryDirectory directory;
  fs::create_directory(directory / "there");
  testing::write_file(directory / "there" / "file", "precious");
  for (const char* name : {"there", "there/"})
    expect_failure([&] { write_mlx(original, directory.path() / name, uniform(8)); }, ErrorCode::kFailed,
                   "exists already");
  EXPECT_EQ(names_in(directory / "there"), std::vector<std::string>{"file"});
  expect_failure([&] { write_mlx(original, directory / "no/such/place", uniform(8)); }, ErrorCode::kFailed,
                 "cannot make the directory");
}

TEST(MlxWriter, RefusesExperts) {
  const Checkpoint original = open_checkpoint(golden("tiny-26b-a4b").string());
  const TemporaryDirectory directory;
  expect_failure([&] { write_mlx(original, directory / "out", uniform(8)); }, ErrorCode::kFailed,
                 "mixture of experts");
  EXPECT_TRUE(names_in(directory.path()).empty());
}

/// The golden with one bf16 number of its last tensor by name changed.
fs::path spoilt_golden(const TemporaryDirectory& directory, std::string_view tensor, uint16_t bits) {
  const fs::path copy = directory / "spoilt";
  fs::create_directory(copy);
  fs::copy_file(golden("tiny-e2b") / "config.json", copy / "config.json");
  std::string bytes = testing::read_file(golden("tiny-e2b") / "model.safetensors");
  const SafetensorsFile file(testing::bytes_of(bytes), "golden");
  const size_t at = static_cast<size_t>(file.find(tensor)->bytes.data() -
                                        reinterpret_cast<const std::byte*>(bytes.data())) +
                    10;
  std::memcpy(bytes.data() + at, &bits, sizeof bits);
  testing::write_file(copy / "model.safetensors", bytes);
  return copy;
}

TEST(MlxWriter, NamesTheNumberThatIsNone) {
  for (const uint16_t bits : {uint16_t{0x7FC0}, uint16_t{0xFF80}, uint16_t{0x7F7F}}) {  // NaN, -inf, 3.39e38
    const TemporaryDirectory directory;
    const fs::path spoilt = spoilt_golden(directory, "model.layers.3.mlp.up_proj.weight", bits);
    testing::expect_bad_input(
        [&] {
          write_mlx(open_checkpoint(spoilt.string()), directory / "out", uniform(4, 32));
          return 0;
        },
        {"model.layers.3.mlp.up_proj.weight", "[0, 5]"});
    EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{"spoilt"});
  }
}

TEST(MlxWriter, AStopLeavesNothing) {
  const Checkpoint original = open_checkpoint(golden("real-heads").string());
  const TemporaryDirectory directory;
  MlxWriteOptions options = uniform(4);
  int calls = 0;
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    if (++calls == 5) throw Error(ErrorCode::kInterrupted, "interrupted");
  };
  expect_failure([&] { write_mlx(original, directory / "out", options); }, ErrorCode::kInterrupted,
                 "interrupted");
  EXPECT_TRUE(names_in(directory.path()).empty());
}

/// While alive, no file may grow over `bytes`: a disk that is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    previous_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit limit{bytes, previous_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    std::signal(SIGXFSZ, previous_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit previous_{};
  void (*previous_handler_)(int);
};

TEST(MlxWriter, AFullDiskLeavesNothing) {
  const Checkpoint original = open_checkpoint(golden("real-heads").string());
  const TemporaryDirectory directory;
  {
    const FileSizeLimit limit(200'000);
    expect_failure([&] { write_mlx(original, directory / "out", uniform(8)); }, ErrorCode::kFailed,
                   "cannot write");
  }
  EXPECT_TRUE(names_in(directory.path()).empty());
}

}  // namespace
}  // namespace facet
