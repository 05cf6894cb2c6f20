// A regular file mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace facet {

/// Owns a read-only, shared mapping of a whole file. Movable; views into it die with it.
class MappedFile {
 public:
  /// Maps `path`. Throws Error{kBadInput} when it is missing, unreadable or not a regular file
  /// (a directory, FIFO or device is refused before it is opened).
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The same as text.
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(data_), size_};
  }
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// Asks the kernel to read the pages of `range` (part of bytes()) ahead.
  void will_need(std::span<const std::byte> range) const noexcept;

  /// Lets the whole pages inside `range` leave this process's memory; they are read again from the file when
  /// touched. A range that is not part of bytes() is left alone.
  void release(std::span<const std::byte> range) const noexcept;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Turns the SIGBUS of a mapped file that was shortened while in use into one line on stderr and exit
/// code 3. For programs; a library user decides about signals alone.
void exit_cleanly_on_shrunk_mapping();

}  // namespace facet
