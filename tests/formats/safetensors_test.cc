#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <numeric>

#include "base/error.h"
#include "formats/files.h"
#include "formats/safetensors_writer.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::bytes_of;
using ::testing::ElementsAre;
using testing::expect_bad_input;
using ::testing::HasSubstr;
using testing::safetensors;
using testing::TemporaryDirectory;
using testing::write_file;

TEST(Safetensors, ServesAGoldenTrace) {
  const SafetensorsFile trace(testing::golden("tiny-e2b") / "trace.safetensors");
  const StoredTensor* ids = trace.find("input_ids");
  ASSERT_NE(ids, nullptr);
  EXPECT_EQ(ids->dtype, DType::kI32);
  EXPECT_THAT(ids->shape, ElementsAre(48));
  int32_t first = 0;
  std::memcpy(&first, ids->bytes.data(), sizeof first);
  EXPECT_EQ(first, 2);  // <bos>
  const StoredTensor* logits = trace.find("logits");
  ASSERT_NE(logits, nullptr);
  EXPECT_EQ(logits->dtype, DType::kF32);
  EXPECT_THAT(logits->shape, ElementsAre(48, 512));
  EXPECT_EQ(logits->elements(), 48 * 512);
  EXPECT_EQ(trace.find("no such tensor"), nullptr);
  EXPECT_EQ(trace.file_bytes(), 2537488U);
}

TEST(Safetensors, ReadsEveryTypeFromMemory) {
  const std::string file = safetensors(
      R"({"__metadata__":{"format":"pt"},"c":{"dtype":"BOOL","shape":[],"data_offsets":[6,7]},)"
      R"("a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]},"e":{"dtype":"F64","shape":[0,3],"data_offsets":[4,4]},)"
      R"("b":{"dtype":"I8","shape":[2],"data_offsets":[4,6]}})",
      7);
  const SafetensorsFile tensors(bytes_of(file), "memory");
  ASSERT_EQ(tensors.tensors().size(), 4U);
  EXPECT_EQ(tensors.tensors()[0].name, "a");
  EXPECT_EQ(tensors.find("c")->elements(), 1);
  EXPECT_EQ(tensors.find("e")->elements(), 0);
  EXPECT_EQ(tensors.find("b")->bytes.data(), bytes_of(file).data() + file.size() - 3);
  EXPECT_EQ(tensors.metadata().at("format"), "pt");
}

TEST(Safetensors, TakesNullForNoMetadata) {
  const std::string file =
      safetensors(R"({"__metadata__":null,"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  const SafetensorsFile tensors(bytes_of(file), "memory");
  EXPECT_NE(tensors.find("a"), nullptr);
  EXPECT_TRUE(tensors.metadata().empty());
}

TEST(Safetensors, OpensWithoutReadingTheTensors) {
  // A terabyte that is all hole: reading it would take minutes and the memory of a data centre.
  const TemporaryDirectory directory;
  const auto path = directory / "sparse.safetensors";
  const std::string header =
      R"({"t":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}})";
  write_file(path, safetensors(header));
  std::filesystem::resize_file(path, 8 + header.size() + 1099511627776U);
  EXPECT_EQ(SafetensorsFile(path).find("t")->elements(), 1099511627776);
}

TEST(SafetensorsWriter, StreamsWhatTheReaderReads) {
  const TemporaryDirectory directory;
  const auto path = directory / "out.safetensors";
  std::vector<float> weights(6);
  std::iota(weights.begin(), weights.end(), 1.0F);
  {
    SafetensorsWriter writer(path,
                             {{.name = "w", .dtype = DType::kF32, .shape = {2, 3}},
                              {.name = "none", .dtype = DType::kF32, .shape = {0}},
                              {.name = "q", .dtype = DType::kU8, .shape = {3}}},
                             {{"format", "pt"}});
    writer.write("w", std::as_bytes(std::span(weights).first(2)));
    writer.write("w", std::as_bytes(std::span(weights).subspan(2)));
    writer.write("none", {});
    writer.write("q", bytes_of("abc"));
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.finish();
  }
  const SafetensorsFile file(path);
  EXPECT_THAT(file.find("w")->shape, ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(file.find("w")->bytes.data(), weights.data(), 24), 0);
  EXPECT_EQ(file.find("none")->elements(), 0);
  EXPECT_EQ(std::memcmp(file.find("q")->bytes.data(), "abc", 3), 0);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(SafetensorsWriter, RefusesWhatWasNotDeclaredAndLeavesNoFile) {
  const TemporaryDirectory directory;
  const auto path = directory / "out.safetensors";
  const std::vector<TensorDeclaration> two = {{.name = "a", .dtype = DType::kU8, .shape = {2}},
                                              {.name = "b", .dtype = DType::kU8, .shape = {1}}};
  const auto says = [](std::string_view part) {
    return ::testing::ThrowsMessage<Error>(HasSubstr(std::string(part)));
  };
  {
    SafetensorsWriter writer(path, two);
    EXPECT_THAT([&] { writer.write("b", bytes_of("x")); }, says("it is the turn of a"));
    EXPECT_THAT([&] { writer.write("a", bytes_of("xyz")); }, says("expected 2 more bytes, got 3"));
    writer.write("a", bytes_of("x"));
    EXPECT_THAT([&] { writer.finish(); }, says("expected 2 bytes, got 1"));
  }
  EXPECT_THAT([&] { SafetensorsWriter(path, {two[0], two[0]}); }, says("declared twice"));
  EXPECT_THAT(
      [&] { SafetensorsWriter(path, {{.name = "a", .dtype = DType::kF32, .shape = {int64_t{1} << 62}}}); },
      says("impossible shape"));
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(SafetensorsFileKind, RefusesWhatIsNoRegularFile) {
  const TemporaryDirectory directory;
  expect_bad_input([&] { SafetensorsFile{directory.path()}; }, {"expected a regular file, got a directory"});
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  expect_bad_input([&] { SafetensorsFile{directory / "fifo"}; }, {"expected a regular file, got a FIFO"});
  expect_bad_input([] { SafetensorsFile{"/dev/zero"}; },
                   {"/dev/zero", "expected a regular file, got a device"});
  expect_bad_input([&] { SafetensorsFile{directory / "absent"}; }, {"absent", "No such file"});
}

TEST(SafetensorsFileKind, AShrunkFileEndsTheProgramCleanly) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TemporaryDirectory directory;
  const auto path = directory / "shrinks.safetensors";
  write_file(path, safetensors(R"({"t":{"dtype":"U8","shape":[65536],"data_offsets":[0,65536]}})", 65536));
  EXPECT_EXIT(
      {
        exit_cleanly_on_shrunk_mapping();
        const SafetensorsFile file(path);
        std::filesystem::resize_file(path, 100);
        const volatile std::byte last = file.find("t")->bytes.back();
        static_cast<void>(last);
      },
      ::testing::ExitedWithCode(3), "became shorter");
}

}  // namespace
}  // namespace facet
