// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace facet {

/// Writes to a temporary name beside `path`; commit() syncs and renames it into place. Without commit()
/// (an exception, a full disk) the temporary file is removed and `path` is as it was.
class AtomicFile {
 public:
  /// Throws Error{kFailed} when the temporary file cannot be made.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws Error{kFailed} when the disk is full or the write fails.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Makes the file durable and visible under its name. Throws Error{kFailed}.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int fd_ = -1;
};

}  // namespace facet
