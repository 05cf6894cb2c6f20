#include "base/atomic_directory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"

namespace facet {

namespace fs = std::filesystem;

void require_absent(const fs::path& path) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(path, error)))
    throw Error(ErrorCode::kFailed, fmt::format("{}: exists already", path.string()));
}

AtomicDirectory::AtomicDirectory(fs::path path) : path_(std::move(path)) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // "out/"
  require_absent(path_);
  temporary_ = path_;
  temporary_ += fmt::format(".tmp-{}", ::getpid());
  std::error_code error;
  if (!fs::create_directory(temporary_, error))
    throw Error(ErrorCode::kFailed, fmt::format("{}: cannot make the directory: {}", path_.string(),
                                                error ? error.message() : "its temporary name is taken"));
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code error;
  if (!committed_) fs::remove_all(temporary_, error);
}

void AtomicDirectory::commit() {
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error)
    throw Error(ErrorCode::kFailed,
                fmt::format("{}: cannot rename into place: {}", path_.string(), error.message()));
  committed_ = true;
}

}  // namespace facet
