#include "formats/hub_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "formats/checkpoint.h"
#include "formats/files.h"
#include "support/errors.h"

namespace facet {
namespace {

namespace fs = std::filesystem;
using testing::expect_bad_input;
using testing::golden;
using testing::TemporaryDirectory;
using testing::write_file;

/// Sets variables for one test and puts them back.
class Environment {
 public:
  explicit Environment(const std::map<std::string, std::optional<std::string>>& values) {
    for (const auto& [name, value] : values) {
      const char* old = std::getenv(name.c_str());
      before_[name] = old == nullptr ? std::nullopt : std::optional<std::string>(old);
      set(name, value);
    }
  }
  ~Environment() {
    for (const auto& [name, value] : before_) set(name, value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  static void set(const std::string& name, const std::optional<std::string>& value) {
    if (value)
      ::setenv(name.c_str(), value->c_str(), 1);
    else
      ::unsetenv(name.c_str());
  }

  std::map<std::string, std::optional<std::string>> before_;
};

TEST(HubName, IsAnOrganisationAndAName) {
  for (const char* name : {"google/gemma-4-E2B-it", "mlx-community/gemma-4.0_x", "a/b"})
    EXPECT_TRUE(is_hub_name(name)) << name;
  for (const char* name :
       {"", "gemma", "a/b/c", "../b", "a/..", "/b", "a/", "a/.b", "-a/b", "a b/c", "a/b\n"})
    EXPECT_FALSE(is_hub_name(name)) << name;
}

TEST(HubCacheDirectory, FollowsTheEnvironment) {
  const std::optional<std::string> unset;
  {
    const Environment e({{"HF_HUB_CACHE", "/c"}, {"HF_HOME", "/h"}});
    EXPECT_EQ(hub_cache_directory(), "/c");
  }
  {
    const Environment e({{"HF_HUB_CACHE", ""}, {"HF_HOME", "/h"}});
    EXPECT_EQ(hub_cache_directory(), "/h/hub");
  }
  {
    const Environment e(
        {{"HF_HUB_CACHE", unset}, {"HF_HOME", unset}, {"XDG_CACHE_HOME", unset}, {"HOME", "/u"}});
    EXPECT_EQ(hub_cache_directory(), "/u/.cache/huggingface/hub");
  }
}

/// A cache that holds org/name at revision "abc", its files links into blobs as the hub's client makes them.
class HubCache : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(repository / "refs");
    fs::create_directories(repository / "blobs");
    fs::create_directories(snapshot);
    write_file(repository / "refs" / "main", "abc\n");
    add("config.json", testing::read_file(golden("tiny-e2b") / "config.json"));
    add("shard.safetensors", testing::read_file(golden("tiny-e2b") / "model.safetensors"));
    add("model.safetensors.index.json", R"({"weight_map":{"model.norm.weight":"shard.safetensors"}})");
  }
  void add(const std::string& name, std::string_view content) {
    write_file(repository / "blobs" / ("blob-" + name), content);
    fs::create_symlink("../../blobs/blob-" + name, snapshot / name);
  }

  TemporaryDirectory cache;
  fs::path repository = cache / "models--org--name";
  fs::path snapshot = repository / "snapshots" / "abc";
};

TEST_F(HubCache, FindsTheSnapshotOfMain) {
  fs::create_directories(repository / "snapshots" / "other");
  EXPECT_EQ(hub_snapshot(cache.path(), "org/name"), snapshot);
}

TEST_F(HubCache, FindsTheOnlySnapshotWithoutRefs) {
  fs::remove_all(repository / "refs");
  EXPECT_EQ(hub_snapshot(cache.path(), "org/name"), snapshot);
  fs::create_directories(repository / "snapshots" / "other");
  expect_bad_input([&] { return hub_snapshot(cache.path(), "org/name"); },
                   {"expected refs/main or one snapshot, got neither"});
}

TEST_F(HubCache, RefusesABadReference) {
  expect_bad_input(
      [&] { return hub_snapshot(cache.path(), "org/absent"); },
      {"org/absent: no such file or directory, and not in the hub cache", "hf download org/absent"});
  write_file(repository / "refs" / "main", "../../../etc");
  expect_bad_input([&] { return hub_snapshot(cache.path(), "org/name"); },
                   {"refs/main: expected a revision, got"});
  write_file(repository / "refs" / "main", "gone");
  expect_bad_input([&] { return hub_snapshot(cache.path(), "org/name"); },
                   {"snapshots/gone: expected the snapshot"});
  write_file(repository / "refs" / "main", "");
  expect_bad_input([&] { return hub_snapshot(cache.path(), "org/name"); }, {"expected a revision, got \"\""});
}

TEST_F(HubCache, OpensACheckpointByName) {
  const Environment e({{"HF_HUB_CACHE", cache.path().string()}});
  add("tokenizer.json", "{}");
  add("generation_config.json", R"({"temperature":1.0,"top_k":64,"eos_token_id":[1,106]})");
  const Checkpoint c = open_checkpoint("org/name");
  EXPECT_EQ(c.spec.layer_count(), 10);
  EXPECT_EQ(c.tokenizer_file, snapshot / "tokenizer.json");
  EXPECT_EQ(c.generation.top_k, 64);
  EXPECT_EQ(c.spec.eos_ids, (std::vector<int>{1, 106}));
}

TEST_F(HubCache, RefusesALinkOutOfTheBlobs) {
  write_file(cache / "outside.safetensors", testing::read_file(golden("tiny-e2b") / "model.safetensors"));
  fs::remove(snapshot / "shard.safetensors");
  fs::create_symlink(cache / "outside.safetensors", snapshot / "shard.safetensors");
  expect_bad_input([&] { return open_checkpoint(snapshot.string()); }, {"got a link out of it"});
}

TEST_F(HubCache, RefusesEosOutsideTheVocabulary) {
  add("generation_config.json", R"({"eos_token_id":[1,262143]})");
  expect_bad_input([&] { return open_checkpoint(snapshot.string()); },
                   {"eos_token_id: expected a token id below 512, got 262143"});
}

}  // namespace
}  // namespace facet
