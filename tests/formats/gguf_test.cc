#include "formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "formats/checkpoint.h"
#include "formats/files.h"
#include "formats/gguf_bytes.h"
#include "formats/gguf_config.h"
#include "formats/golden_gguf.h"
#include "formats/same_model.h"
#include "support/errors.h"

namespace facet {
namespace {

using ::testing::ElementsAre;
using testing::golden;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;

class GgufGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufGolden, IsTheSameModelAsTheCheckpointItCameFrom) {
  const Checkpoint original = open_checkpoint(golden(GetParam()).string());
  const TemporaryDirectory directory;
  testing::write_gguf(original, directory / "model.gguf");
  const Checkpoint gguf = open_checkpoint((directory / "model.gguf").string());
  EXPECT_EQ(gguf.format, "GGUF bf16");
  EXPECT_EQ(gguf.tokenizer_file, std::nullopt);
  testing::expect_same_spec(gguf.spec, original.spec);
  testing::expect_same_weights(gguf, original);
  // A directory with nothing else opens, too.
  EXPECT_EQ(open_checkpoint(directory.path().string()).spec.layer_count(), original.spec.layer_count());
}

INSTANTIATE_TEST_SUITE_P(All, GgufGolden,
                         ::testing::Values("tiny-e2b", "tiny-e4b", "tiny-31b", "tiny-26b-a4b", "real-heads"),
                         [](const auto& name) {
                           std::string text = name.param;
                           std::ranges::replace(text, '-', '_');
                           return text;
                         });

TEST(GgufFile, OpensWithoutReadingTheTensors) {
  const TemporaryDirectory directory;
  const auto path = directory / "sparse.gguf";
  GgufPairs pairs;
  pairs.add("general.architecture", "gemma4");
  {
    // Only the declaration matters; the data is a hole.
    const std::string head = testing::with_data(
        testing::gguf_header(1, 0) + testing::gguf_tensor("t", {1024, uint64_t{1} << 28}, 0, 0), 0);
    testing::write_file(path, head);
    std::filesystem::resize_file(path, head.size() + (uint64_t{1} << 40));
  }
  EXPECT_THAT(GgufFile(path).find("t")->shape, ElementsAre(1 << 28, 1024));
}

TEST(GgufWriter, RefusesWhatGgufCannotHold) {
  const TemporaryDirectory directory;
  const auto writing = [&](GgufDeclaration tensor) {
    return [&, tensor] { GgufWriter(directory / "x.gguf", {}, {tensor}); };
  };
  const auto says = [](std::string_view part) {
    return ::testing::ThrowsMessage<Error>(HasSubstr(std::string(part)));
  };
  EXPECT_THAT(writing({"t", Encoding::kAffine4, {32}}), says("impossible shape [32] of affine4"));
  EXPECT_THAT(writing({"t", Encoding::kQ4_0, {2, 33}}), says("impossible shape"));
  EXPECT_THAT(writing({"t", Encoding::kF32, {}}), says("impossible shape"));
  EXPECT_THAT(writing({"t", Encoding::kF32, {0}}), says("impossible shape"));
  GgufWriter writer(directory / "x.gguf", {}, {{"a", Encoding::kF32, {1}}, {"b", Encoding::kF32, {1}}});
  EXPECT_THAT([&] { writer.write("b", testing::bytes_of("1234")); }, says("it is the turn of a"));
  EXPECT_THAT([&] { writer.write("a", testing::bytes_of("12345")); }, says("expected 4 more bytes, got 5"));
  EXPECT_THAT([&] { writer.finish(); }, says("expected 4 bytes, got 0"));
  EXPECT_FALSE(std::filesystem::exists(directory / "x.gguf"));
}

}  // namespace
}  // namespace facet
