#include "formats/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/quote.h"

namespace facet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 255;

/// A single path component that leads nowhere else.
bool is_plain_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         std::ranges::none_of(name, [](char c) {
           return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

bool is_hub_component(std::string_view part) noexcept {
  return is_plain_name(part) && part.front() != '.' && part.front() != '-' &&
         std::ranges::all_of(part, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '_' || c == '.';
         });
}

std::optional<fs::path> environment_path(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

/// The revision that refs/main names, or nothing when there is no such file.
std::optional<std::string> main_revision(const fs::path& repository) {
  const fs::path ref = repository / "refs" / "main";
  std::error_code error;
  if (!fs::exists(ref, error)) return std::nullopt;
  const MappedFile file(ref);
  const std::string_view text = file.text().substr(0, kMaxNameBytes + 1);
  const std::string_view revision = text.substr(0, text.find_last_not_of(" \r\n\t") + 1);
  if (!is_plain_name(revision))
    throw bad_input(fmt::format("{}: expected a revision, got {}", ref.string(), quote(revision)));
  return std::string(revision);
}

/// The only directory in `snapshots`, or nothing.
std::optional<fs::path> only_snapshot(const fs::path& snapshots) {
  std::error_code error;
  std::optional<fs::path> only;
  for (const fs::directory_entry& entry : fs::directory_iterator(snapshots, error)) {
    if (!entry.is_directory(error)) continue;
    if (only) return std::nullopt;
    only = entry.path();
  }
  return only;
}

}  // namespace

bool is_hub_name(std::string_view text) noexcept {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && is_hub_component(text.substr(0, slash)) &&
         is_hub_component(text.substr(slash + 1));
}

fs::path hub_cache_directory() {
  if (auto cache = environment_path("HF_HUB_CACHE")) return *cache;
  if (auto home = environment_path("HF_HOME")) return *home / "hub";
  if (auto cache = environment_path("XDG_CACHE_HOME")) return *cache / "huggingface" / "hub";
  return environment_path("HOME").value_or("/") / ".cache" / "huggingface" / "hub";
}

fs::path hub_snapshot(const fs::path& cache, std::string_view name) {
  if (!is_hub_name(name)) throw bad_input(fmt::format("{}: expected a name like org/name", quote(name)));
  const size_t slash = name.find('/');
  const fs::path repository =
      cache / fmt::format("models--{}--{}", name.substr(0, slash), name.substr(slash + 1));
  const fs::path snapshots = repository / "snapshots";
  std::error_code error;
  if (!fs::is_directory(snapshots, error))
    throw bad_input(
        fmt::format("{}: no such file or directory, and not in the hub cache {} (download it there with "
                    "`hf download {}`)",
                    name, cache.string(), name));
  if (const auto revision = main_revision(repository)) {
    fs::path snapshot = snapshots / *revision;
    if (fs::is_directory(snapshot, error)) return snapshot;
    throw bad_input(
        fmt::format("{}: expected the snapshot that refs/main names, got none", snapshot.string()));
  }
  if (const auto only = only_snapshot(snapshots)) return *only;
  throw bad_input(fmt::format("{}: expected refs/main or one snapshot, got neither", repository.string()));
}

fs::path checkpoint_file(const fs::path& directory, std::string_view name, std::string_view where) {
  if (!is_plain_name(name))
    throw bad_input(fmt::format("{}: expected a file name without a path, got {}", where, quote(name)));
  std::error_code error;
  fs::path path = directory / name;
  const fs::path real = fs::canonical(path, error);
  if (error) throw bad_input(fmt::format("{}: {}: cannot open: {}", where, quote(name), error.message()));
  const fs::path root = fs::canonical(directory, error);
  if (!error && real.parent_path() == root) return path;
  if (!error && root.parent_path().filename() == "snapshots" &&
      real.parent_path() == root.parent_path().parent_path() / "blobs")
    return path;
  throw bad_input(fmt::format("{}: {}: expected a file inside {}, got a link out of it", where, quote(name),
                              directory.string()));
}

}  // namespace facet
