// Every way in which a GGUF container can lie, and the line that says so.
#include <gtest/gtest.h>

#include "formats/files.h"
#include "formats/gguf.h"
#include "formats/gguf_bytes.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;
using testing::gguf_header;
using testing::gguf_pair;
using testing::gguf_tensor;
using testing::gguf_text;
using testing::raw;
using testing::with_data;

constexpr uint32_t kU8 = 0, kU32 = 4, kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;
constexpr uint32_t kTensorF32 = 0, kTensorQ4_0 = 2, kTensorQ6K = 14;

struct BadFile {
  std::string name;
  std::string bytes;
  std::string says;
};

void PrintTo(const BadFile& bad, std::ostream* out) {
  *out << bad.name;
}

/// A file with one key and no tensor. Padding keeps the number of keys plausible for the bytes.
std::string one_pair(const std::string& pair) {
  return gguf_header(0, 1) + pair + std::string(16, '\0');
}

std::string aligned_by(uint32_t alignment) {
  return gguf_header(0, 1) + gguf_pair("general.alignment", kU32, raw(alignment));
}

std::string one_tensor(const std::string& description, size_t data) {
  return with_data(gguf_header(1, 0) + description, data);
}

std::string nested_arrays(int depth) {
  std::string value;
  for (int i = 0; i < depth; ++i) value += raw(kArray) + raw<uint64_t>(1);
  return gguf_text("deep") + raw(kArray) + value;
}

std::vector<BadFile> bad_files() {
  return {
      {"Empty", "", "header: expected the bytes \"GGUF\" at the start"},
      {"ThreeBytes", "GGU", "header: expected the bytes \"GGUF\" at the start"},
      {"BadMagic", "GGML" + std::string(32, '\0'), "header: expected the bytes \"GGUF\" at the start"},
      {"OnlyMagic", "GGUF", "header: version: expected 4 bytes, got the 0 to the end of the file"},
      {"Version1", gguf_header(0, 0, 1), "header: version: expected 3, got 1"},
      {"Version2", gguf_header(0, 0, 2), "header: version: expected 3, got 2"},
      {"Version99", gguf_header(0, 0, 99), "header: version: expected 3, got 99"},
      {"BigEndian", gguf_header(0, 0, 0x03000000), "header: version: expected 3, got 50331648"},
      {"TensorCountHuge", gguf_header(uint64_t{1} << 63, 0),
       "number of tensors: expected at most 0, got 9223372036854775808"},
      {"KeyCountHuge", gguf_header(0, UINT64_MAX),
       "number of keys: expected at most 0, got 18446744073709551615"},
      {"KeyCountBeyondTheBytes", gguf_header(0, 3) + std::string(38, '\0'),
       "number of keys: expected at most 2, got 3"},
      {"KeyLengthHuge", one_pair(raw(UINT64_MAX)),
       "key 1 of 1: name: expected at most 65535 bytes, got 18446744073709551615"},
      {"KeyEmpty", one_pair(gguf_pair("", kU8, "x")), "key 1 of 1: name: expected one, got nothing"},
      {"KeyTwice", gguf_header(0, 2) + gguf_pair("k", kU32, raw(1U)) + gguf_pair("k", kU32, raw(1U)),
       "key \"k\": expected once, got it twice"},
      {"TypeUnknown", one_pair(gguf_pair("k", 13, "")), "key \"k\": type: expected 0 to 12, got 13"},
      {"StringLengthHuge", one_pair(gguf_pair("k", kString, raw(UINT64_MAX))), "got 18446744073709551615"},
      {"StringPastTheEnd", one_pair(gguf_pair("k", kString, raw<uint64_t>(17))),
       "key \"k\": string: expected 17 bytes, got the 16 to the end of the file"},
      {"ArrayLengthHuge", one_pair(gguf_pair("k", kArray, raw(kU32) + raw(UINT64_MAX))),
       "key \"k\": array length: expected at most 4 elements in the bytes left, got 18446744073709551615"},
      {"ArrayOfWideTypeHuge", one_pair(gguf_pair("k", kArray, raw(kU64) + raw(uint64_t{1} << 61))),
       "array length: expected at most 2 elements"},
      {"ArrayOfStringsHuge", one_pair(gguf_pair("k", kArray, raw(kString) + raw(uint64_t{3}))),
       "array length: expected at most 2 elements"},
      {"ArrayOfUnknownType", one_pair(gguf_pair("k", kArray, raw(99U) + raw(uint64_t{0}))),
       "type: expected 0 to 12, got 99"},
      {"ArraysNested", gguf_header(0, 1) + nested_arrays(1000),
       "key \"deep\": type: expected an array of scalars or strings"},
      {"AlignmentZero", aligned_by(0),
       "general.alignment: expected a power of two of at most 1048576, got 0"},
      {"AlignmentThree", aligned_by(3),
       "general.alignment: expected a power of two of at most 1048576, got 3"},
      {"AlignmentHuge", aligned_by(1U << 31),
       "general.alignment: expected an integer from 0 to 2147483647, got 2147483648"},
      {"AlignmentTwoMebibytes", aligned_by(1U << 21),
       "general.alignment: expected a power of two of at most 1048576, got 2097152"},
      {"AlignmentIsString", gguf_header(0, 1) + gguf_pair("general.alignment", kString, gguf_text("32")),
       "general.alignment: expected integers, got string"},
      {"AlignmentIsArray",
       gguf_header(0, 1) + gguf_pair("general.alignment", kArray, raw(kU32) + raw(uint64_t{1}) + raw(32U)),
       "general.alignment: expected an integer, got an array of 1 u32"},
      {"TensorNameHuge", one_tensor(raw(UINT64_MAX), 64), "tensor 1 of 1: name: expected at most 256 bytes"},
      {"TensorNameEmpty", one_tensor(gguf_tensor("", {4}, kTensorF32, 0), 16),
       "tensor 1 of 1: name: expected one, got nothing"},
      {"NoDimensions", one_tensor(gguf_tensor("t", {}, kTensorF32, 0), 64),
       "tensor \"t\": dimensions: expected 1 to 4, got 0"},
      {"FiveDimensions", one_tensor(gguf_tensor("t", {1, 1, 1, 1, 1}, kTensorF32, 0), 64),
       "tensor \"t\": dimensions: expected 1 to 4, got 5"},
      {"DimensionsHuge", one_tensor(gguf_text("t") + raw(UINT32_MAX), 64),
       "dimensions: expected 1 to 4, got 4294967295"},
      {"DimensionZero", one_tensor(gguf_tensor("t", {0}, kTensorF32, 0), 64),
       "shape: expected dimensions from 1 to 2^63 - 1, got 0"},
      {"DimensionHuge", one_tensor(gguf_tensor("t", {UINT64_MAX}, kTensorF32, 0), 64),
       "got 18446744073709551615"},
      {"ShapeOverflows",
       one_tensor(gguf_tensor("t", {uint64_t{1} << 32, uint64_t{1} << 32}, kTensorF32, 0), 64),
       "has more bytes than 2^64"},
      {"BytesOverflow",
       one_tensor(gguf_tensor("t", {uint64_t{1} << 31, uint64_t{1} << 31}, kTensorF32, 0), 64),
       "has more bytes than 2^64"},
      {"TypeOfTensorUnknown", one_tensor(gguf_tensor("t", {32}, 4, 0), 64),
       "tensor \"t\": type: expected F32, F16"},
      {"TypeOfTensorUnsupported", one_tensor(gguf_tensor("t", {256}, 16, 0), 66), "or IQ4_XS, got number 16"},
      {"RowOfPartBlocks", one_tensor(gguf_tensor("t", {48, 2}, kTensorQ4_0, 0), 54),
       "shape: expected rows of a multiple of 32 elements for q4_0, got 48"},
      {"RowOfPartSuperBlocks", one_tensor(gguf_tensor("t", {128, 2}, kTensorQ6K, 0), 210),
       "shape: expected rows of a multiple of 256 elements for q6_k, got 128"},
      {"OffsetUnaligned", one_tensor(gguf_tensor("t", {4}, kTensorF32, 4), 64),
       "offset: expected a multiple of the alignment 32, got 4"},
      {"OffsetHuge", one_tensor(gguf_tensor("t", {4}, kTensorF32, UINT64_MAX - 31), 64),
       "expected 16 bytes at 18446744073709551584"},
      {"OneByteShort", one_tensor(gguf_tensor("t", {4}, kTensorF32, 0), 15),
       "tensor \"t\": expected 16 bytes at 0 of the data, got a file with 15"},
      {"NoData", gguf_header(1, 0) + gguf_tensor("t", {4}, kTensorF32, 0),
       "tensor data: expected a start at byte"},
      {"Overlap",
       with_data(
           gguf_header(2, 0) + gguf_tensor("a", {16}, kTensorF32, 0) + gguf_tensor("b", {4}, kTensorF32, 32),
           64),
       "tensor \"b\": offset: expected at least 64 (the end of \"a\"), got 32"},
      {"SameBytes",
       with_data(
           gguf_header(2, 0) + gguf_tensor("a", {4}, kTensorF32, 0) + gguf_tensor("b", {4}, kTensorF32, 0),
           64),
       "offset: expected at least 16"},
      {"TensorTwice",
       with_data(
           gguf_header(2, 0) + gguf_tensor("a", {4}, kTensorF32, 0) + gguf_tensor("a", {4}, kTensorF32, 32),
           64),
       "tensor \"a\": expected once, got it twice"},
  };
}

class GgufHostile : public ::testing::TestWithParam<BadFile> {};

TEST_P(GgufHostile, IsRefused) {
  const std::vector<char> exact(GetParam().bytes.begin(), GetParam().bytes.end());
  expect_bad_input([&] { return GgufFile(std::as_bytes(std::span(exact)), "bad.gguf"); },
                   {"bad.gguf: ", GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(All, GgufHostile, ::testing::ValuesIn(bad_files()),
                         [](const auto& bad) { return bad.param.name; });

TEST(GgufTruncated, AtEveryByteIsAnError) {
  const std::string whole = with_data(
      gguf_header(1, 4) + gguf_pair("u", kU32, raw(7U)) + gguf_pair("s", kString, gguf_text("text")) +
          gguf_pair("a", kArray, raw(kString) + raw(uint64_t{2}) + gguf_text("x") + gguf_text("yz")) +
          gguf_pair("f", kArray, raw(kF32) + raw(uint64_t{1}) + raw(1.0F)) +
          gguf_tensor("t", {4}, kTensorF32, 0),
      16);
  ASSERT_NO_THROW(GgufFile(testing::bytes_of(whole), "whole"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<char> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(GgufFile(std::as_bytes(std::span(part)), "part"), Error) << size;
  }
}

TEST(GgufMetadata, GettersNameKeyExpectedAndGot) {
  const std::string bytes =
      gguf_header(0, 9) + gguf_pair("u8", kU8, raw<uint8_t>(200)) + gguf_pair("i64", 11, raw<int64_t>(-5)) +
      gguf_pair("u64", kU64, raw(UINT64_MAX)) + gguf_pair("nan", kF32, raw(std::nanf(""))) +
      gguf_pair("f64", 12, raw(0.25)) + gguf_pair("yes", kBool, raw<uint8_t>(1)) +
      gguf_pair("text", kString, gguf_text("abc")) +
      gguf_pair("list", kArray, raw(kU32) + raw(uint64_t{2}) + raw(3U) + raw(4U)) +
      gguf_pair("bools", kArray, raw(kBool) + raw(uint64_t{2}) + raw<uint8_t>(0) + raw<uint8_t>(1));
  const GgufFile file(testing::bytes_of(bytes), "f.gguf");
  const GgufMetadata& m = file.metadata();
  EXPECT_EQ(m.integer("u8", 0, 255), 200);
  EXPECT_EQ(m.integer("i64", -5, 5), -5);
  EXPECT_EQ(m.integer("absent", 0, 1), std::nullopt);
  EXPECT_EQ(m.number("f64"), 0.25);
  EXPECT_EQ(m.boolean("yes"), true);
  EXPECT_EQ(m.string("text"), "abc");
  EXPECT_EQ(m.integers("list", 2, 0, 9), (std::vector<int>{3, 4}));
  EXPECT_EQ(m.integers("u8", 3, 0, 255), (std::vector<int>{200, 200, 200}));
  EXPECT_EQ(m.booleans("bools", 2), (std::vector<bool>{false, true}));
  EXPECT_EQ(m.array_size("list"), 2U);
  expect_bad_input([&] { return m.integer("u8", 0, 100); },
                   {"f.gguf: u8: expected an integer from 0 to 100, got 200"});
  expect_bad_input([&] { return m.integer("u64", 0, 100); },
                   {"u64: expected an integer from 0 to 100, got more than 2^63"});
  expect_bad_input([&] { return m.integer("text", 0, 100); }, {"text: expected integers, got string"});
  expect_bad_input([&] { return m.integer("list", 0, 100); },
                   {"list: expected an integer, got an array of 2 u32"});
  expect_bad_input([&] { return m.integers("list", 3, 0, 9); },
                   {"list: expected 3 integers, got an array of 2 u32"});
  expect_bad_input([&] { return m.integers("list", 2, 0, 3); },
                   {"list: expected an integer from 0 to 3, got 4"});
  expect_bad_input([&] { return m.number("nan"); }, {"nan: expected a finite number, got nan"});
  expect_bad_input([&] { return m.number("u8"); }, {"u8: expected f32 or f64, got u8"});
  expect_bad_input([&] { return m.boolean("text"); }, {"text: expected a bool, got string"});
  expect_bad_input([&] { return m.string("yes"); }, {"yes: expected a string, got bool"});
  expect_bad_input([&] { return m.booleans("list", 2); }, {"list: expected 2 bools, got an array of 2 u32"});
  expect_bad_input([&] { return m.floats("list", 2); }, {"list: expected 2 f32, got an array of 2 u32"});
  expect_bad_input([&] { return m.array_size("u8"); }, {"u8: expected an array, got u8"});
  expect_bad_input([&] { m.each_string("list", [](size_t, std::string_view) {}); },
                   {"list: expected an array of strings, got an array of 2 u32"});
}

}  // namespace
}  // namespace facet
