#include "formats/safetensors_shards.h"

#include <gtest/gtest.h>

#include "formats/files.h"
#include "support/errors.h"

namespace facet {
namespace {

using testing::expect_bad_input;
using testing::TemporaryDirectory;
using testing::write_file;

std::string file_with(std::string_view tensor) {
  return testing::safetensors(
      "{\"" + std::string(tensor) + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2);
}

class Shards : public ::testing::Test {
 protected:
  void index(std::string_view weight_map) {
    write_file(directory / "model.safetensors.index.json",
               R"({"metadata":{"total_size":4},"weight_map":)" + std::string(weight_map) + "}");
  }
  [[nodiscard]] auto opening() const {
    return [this] { return ShardedSafetensors::open(directory.path()); };
  }

  TemporaryDirectory directory;
};

TEST_F(Shards, ServesTensorsOfAllShards) {
  write_file(directory / "one.safetensors", file_with("a"));
  write_file(directory / "two.safetensors", file_with("b"));
  index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  const auto shards = ShardedSafetensors::open(directory.path());
  EXPECT_EQ(shards.files().size(), 2U);
  EXPECT_EQ(shards.find("a")->elements(), 2);
  EXPECT_EQ(shards.find("b")->elements(), 2);
  EXPECT_EQ(shards.find("c"), nullptr);
  EXPECT_EQ(shards.label_of("b"), directory / "two.safetensors");
}

TEST_F(Shards, PrefersTheSingleFile) {
  write_file(directory / "model.safetensors", file_with("a"));
  index(R"({"z":"absent.safetensors"})");
  EXPECT_EQ(ShardedSafetensors::open(directory.path()).files().size(), 1U);
}

TEST_F(Shards, RefusesNamesThatLeadOutOfTheDirectory) {
  for (const char* name :
       {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    index(std::string(R"({"a":")") + name + "\"}");
    expect_bad_input(opening(), {"index.json: weight_map: expected a file name without a path, got \""});
  }
}

TEST_F(Shards, RefusesLinksOutOfTheDirectory) {
  const TemporaryDirectory elsewhere;
  write_file(elsewhere / "one.safetensors", file_with("a"));
  std::filesystem::create_symlink(elsewhere / "one.safetensors", directory / "one.safetensors");
  index(R"({"a":"one.safetensors"})");
  expect_bad_input(opening(), {"\"one.safetensors\": expected a file inside", "got a link out of it"});
}

TEST_F(Shards, FollowsLinksWithinTheDirectory) {
  write_file(directory / "real.safetensors", file_with("a"));
  std::filesystem::create_symlink("real.safetensors", directory / "one.safetensors");
  index(R"({"a":"one.safetensors"})");
  EXPECT_NE(ShardedSafetensors::open(directory.path()).find("a"), nullptr);
}

TEST_F(Shards, RefusesMissingAndDuplicateParts) {
  index(R"({"a":"one.safetensors"})");
  expect_bad_input(opening(), {"weight_map: \"one.safetensors\": cannot open: No such file"});
  write_file(directory / "one.safetensors", file_with("b"));
  expect_bad_input(opening(), {"one.safetensors: expected tensor \"a\"", "got none"});
  write_file(directory / "one.safetensors", file_with("a"));
  write_file(directory / "two.safetensors", file_with("a"));
  index(R"({"a":"one.safetensors","a":"two.safetensors"})");
  expect_bad_input(opening(), {"duplicate key \"a\""});
  index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  expect_bad_input(opening(), {"two.safetensors: expected tensor \"b\""});
  // A tensor the index gives once may still stand in two shards.
  write_file(directory / "two.safetensors",
             testing::safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                  R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                  2));
  expect_bad_input(opening(), {"tensor \"a\": expected in one shard, got it in"});
  std::filesystem::remove(directory / "two.safetensors");
  std::filesystem::create_directory(directory / "two.safetensors");
  expect_bad_input(opening(), {"expected a regular file, got a directory"});
}

TEST_F(Shards, RefusesAnIndexOfAnotherForm) {
  for (const char* map : {"[]", "7", "\"one.safetensors\""}) {
    index(map);
    expect_bad_input(opening(), {"weight_map: expected an object, got"});
  }
  index("null");
  expect_bad_input(opening(), {"weight_map: expected a value, got null"});
  index("{}");
  expect_bad_input(opening(), {"weight_map: expected tensors, got none"});
  index(R"({"a\nb":7})");
  expect_bad_input(opening(), {"weight_map: \"a\\x0ab\": expected a shard's name"});
  write_file(directory / "model.safetensors.index.json", "{");
  expect_bad_input(opening(), {"index.json: bad JSON"});
}

}  // namespace
}  // namespace facet
