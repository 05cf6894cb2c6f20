// Every way in which a safetensors file can lie, and the line that says so.
#include <gtest/gtest.h>

#include "formats/files.h"
#include "formats/safetensors.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::bytes_of;
using testing::expect_bad_input;
using testing::length_bytes;
using testing::safetensors;

struct BadFile {
  std::string name;
  std::string bytes;
  std::string says;
};

void PrintTo(const BadFile& bad, std::ostream* out) {
  *out << bad.name;
}

/// A file of one tensor "t" with this entry and two bytes of data.
std::string one(std::string_view entry, size_t data_bytes = 2) {
  return safetensors("{\"t\":" + std::string(entry) + "}", data_bytes);
}

std::string shape(std::string_view shape) {
  return one(R"({"dtype":"U8","shape":)" + std::string(shape) + R"(,"data_offsets":[0,2]})");
}

std::string offsets(std::string_view offsets) {
  return one(R"({"dtype":"U8","shape":[2],"data_offsets":)" + std::string(offsets) + "}");
}

std::string named(std::string_view name) {
  return safetensors("{\"" + std::string(name) + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2);
}

/// Two tensors of two bytes each at these offsets.
std::string two(std::string_view first, std::string_view second, std::string_view second_name = "b") {
  return safetensors(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + std::string(first) + "},\"" +
                         std::string(second_name) + R"(":{"dtype":"U8","shape":[2],"data_offsets":)" +
                         std::string(second) + "}}",
                     4);
}

std::string nested(size_t depth) {
  std::string text;
  for (size_t i = 0; i < depth; ++i) text += "{\"a\":";
  return text;
}

const std::string kGood = R"({"dtype":"U8","shape":[2],"data_offsets":[0,2]})";

std::vector<BadFile> bad_files() {
  return {
      {"Empty", "", "expected at least 8 bytes of safetensors, got 0"},
      {"SevenBytes", "\x01\x02\x03\x04\x05\x06\x07", "expected at least 8 bytes of safetensors, got 7"},
      {"HeaderOfNothing", length_bytes(0), "header: expected a JSON object, got nothing"},
      {"HeaderLengthAllOnes", length_bytes(UINT64_MAX) + "{}",
       "at most 100000000 bytes, got 18446744073709551615"},
      {"HeaderPastTheFile", length_bytes(3) + "{}", "at most the 2 bytes that follow its length, got 3"},
      {"HeaderTooLong", length_bytes(100'000'001), "at most 100000000 bytes, got 100000001"},
      {"BadUtf8", safetensors("{\"\xff\xfe\":1}"), "bad JSON near byte"},
      {"TruncatedJson", safetensors(R"({"t":{"dtype":"U8","shape":[2)"), "bad JSON near byte"},
      {"ArrayRoot", safetensors("[]"), "header: expected a JSON object, got \"[]\""},
      {"NumberRoot", safetensors("7"), "header: expected a JSON object, got \"7\""},
      {"NestedObjects", safetensors(nested(100'000)), "expected dtype, shape and data_offsets, got \"a\""},
      {"NestedArrays", shape(std::string(100'000, '[')),
       "shape: expected integers from 0 to 2^63 - 1, got an array"},
      {"TextAfterTheObject", safetensors("{} x"), "bad JSON near byte"},
      {"TrailingBytes", one(kGood, 3), "expected 2 bytes of tensors after the header, got 3"},
      {"OneByteShort", one(kGood, 1), "expected an end of at most 1 (the data in the file), got 2"},
      {"DataWithoutTensors", safetensors("{}", 1), "expected 0 bytes of tensors after the header, got 1"},
      {"DuplicateTensor", two("[0,2]", "[2,4]", "a"), "duplicate key \"a\""},
      {"DuplicateField", one(R"({"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]})"),
       "tensor \"t\": duplicate key \"dtype\""},
      {"DuplicateMetadata", safetensors(R"({"__metadata__":{},"__metadata__":{}})"),
       "duplicate key \"__metadata__\""},
      {"DuplicateMetadataKey", safetensors(R"({"__metadata__":{"a":"1","a":"2"}})"), "duplicate key \"a\""},
      {"EmptyEntry", one("{}"), "tensor \"t\": dtype: expected a value, got nothing"},
      {"NoShape", one(R"({"dtype":"U8","data_offsets":[0,2]})"), "shape: expected a value, got nothing"},
      {"NoOffsets", one(R"({"dtype":"U8","shape":[2]})"), "data_offsets: expected 2 numbers, got 0"},
      {"EntryIsNull", one("null"), "tensor \"t\": expected an object, got null"},
      {"EntryIsNumber", one("5"), "tensor \"t\": expected an object, got 5"},
      {"EntryIsArray", one("[]"), "tensor \"t\": expected an object, got an array"},
      {"UnknownDType", one(R"({"dtype":"F7","shape":[2],"data_offsets":[0,2]})"), "got \"F7\""},
      {"DTypeIsNumber", one(R"({"dtype":3,"shape":[2],"data_offsets":[0,2]})"),
       "dtype: expected a string, got 3"},
      {"UnknownField", one(R"({"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1})"), "got \"x\""},
      {"NegativeDimension", shape("[-2]"), "shape: expected integers from 0 to 2^63 - 1, got -2"},
      {"FloatDimension", shape("[2.0]"), "shape: expected integers from 0 to 2^63 - 1, got \"2.0\""},
      {"StringDimension", shape("[\"2\"]"), "shape: expected integers from 0 to 2^63 - 1, got \"2\""},
      {"HugeFloatDimension", shape("[1e400]"), "bad JSON near byte"},
      {"ShapeIsNumber", shape("2"), "shape: expected an array, got 2"},
      {"ProductOverflows", shape("[2,9223372036854775807,9]"), "has more bytes than 2^64"},
      {"ProductTooLarge", shape("[2,9223372036854775807]"), "expected 18446744073709551614 bytes"},
      {"ZeroTimesAllOnes", shape("[0,18446744073709551615]"), "got 18446744073709551615"},
      {"RankNine", shape("[2,1,1,1,1,1,1,1,1]"), "shape: expected at most 8 dimensions"},
      {"ShapeOfOtherSize", shape("[3]"), "expected 3 bytes for u8 [3], got 2"},
      {"EndBeforeBegin", offsets("[2,0]"), "data_offsets: expected an end of at least 2, got 0"},
      {"WrappingEnd", offsets("[18446744073709551615,1]"),
       "expected an end of at least 18446744073709551615, got 1"},
      {"EndPastTheFile", offsets("[0,18446744073709551615]"), "expected an end of at most 2"},
      {"NegativeOffset", offsets("[-1,1]"), "data_offsets: expected integers of at least 0, got -1"},
      {"OneOffset", offsets("[0]"), "data_offsets: expected 2 numbers, got 1"},
      {"ThreeOffsets", offsets("[0,2,2]"), "data_offsets: expected 2 numbers, got more"},
      {"OffsetsAreAnObject", offsets("{}"), "data_offsets: expected an array, got an object"},
      {"Overlap", two("[0,2]", "[1,3]"),
       "tensor \"b\": data_offsets: expected a start at 2 (no overlap), got 1"},
      {"SameBytes", two("[0,2]", "[0,2]"), "(no overlap)"},
      {"Hole",
       safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                   R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                   4),
       "tensor \"b\": data_offsets: expected a start at 1 (no hole), got 2"},
      {"HoleAtTheStart", offsets("[1,3]"), "expected an end of at most 2"},
      {"EmptyName", named(""), "expected a name of 1 to 1024 bytes, got 0"},
      {"NulInName", named("a\\u0000b"), "tensor \"a\\x00b\": expected a name without control characters"},
      {"NewlineInName", named("a\\nb"), "tensor \"a\\x0ab\": expected a name without control characters"},
      {"NameOfAMebibyte", named(std::string(1 << 20, 'n')),
       "expected a name of 1 to 1024 bytes, got 1048576"},
      {"MetadataIsNumber", safetensors(R"({"__metadata__":1})"), "__metadata__: expected an object, got 1"},
      {"MetadataTwiceNull", safetensors(R"({"__metadata__":null,"__metadata__":null})"), "duplicate key"},
      {"MetadataValueIsNull", safetensors(R"({"__metadata__":{"k":null}})"),
       "__metadata__: \"k\": expected a string, got null"},
      {"MetadataValueIsNumber", safetensors(R"({"__metadata__":{"k":1}})"),
       "__metadata__: \"k\": expected a string, got 1"},
      {"MetadataValueIsObject", safetensors(R"({"__metadata__":{"k":{}}})"),
       "__metadata__: \"k\": expected a string, got an object"},
  };
}

class SafetensorsHostile : public ::testing::TestWithParam<BadFile> {};

TEST_P(SafetensorsHostile, IsRefused) {
  // From a heap block of the exact size, so that a read past it is seen under the address sanitizer.
  const std::vector<char> exact(GetParam().bytes.begin(), GetParam().bytes.end());
  expect_bad_input([&] { SafetensorsFile(std::as_bytes(std::span(exact)), "bad.safetensors"); },
                   {"bad.safetensors: ", GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsHostile, ::testing::ValuesIn(bad_files()),
                         [](const auto& bad) { return bad.param.name; });

TEST(SafetensorsTruncated, AtEveryByteIsAnError) {
  const std::string whole = two("[0,2]", "[2,4]");
  ASSERT_NO_THROW(SafetensorsFile(bytes_of(whole), "whole"));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<char> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THROW(SafetensorsFile(std::as_bytes(std::span(part)), "part"), Error) << size;
  }
}

}  // namespace
}  // namespace facet
