// Directories that appear whole or not at all.
#pragma once

#include <filesystem>

namespace facet {

/// Throws Error{kFailed} when there is something at `path`, a dangling link included.
void require_absent(const std::filesystem::path& path);

/// Makes a directory under a temporary name beside `path`, to be filled by the caller; commit() renames it.
/// Without commit() (an exception, a full disk) it is removed with all that is in it.
class AtomicDirectory {
 public:
  /// Throws Error{kFailed} when `path` exists or the temporary directory cannot be made.
  explicit AtomicDirectory(std::filesystem::path path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  /// Where to write meanwhile.
  [[nodiscard]] const std::filesystem::path& temporary() const noexcept { return temporary_; }

  /// Makes the directory visible under its name. Throws Error{kFailed}.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace facet
